package hit

import (
	"time"

	"freshet.dev/bench/internal/measure"
)

const million = 1_000_000

func heldKeys() measure.Case {
	return measure.Case{
		Name:  "hit/held-keys",
		Title: "A hit among a million keys that the caller holds",
		About: "A million entries share one token, and 1,024 of them are asked for in turn, with a look at the clock each. The caller " +
			"holds what it asks with: for freshet a Handle, for maps that a program keeps by itself a key of 128 bits. " + bytesAbout,
		Columns:  keyColumns(),
		Subjects: sized(keysHandle(), heldCopied(), heldShards(), heldXsync()),
	}
}

func stringKeys() measure.Case {
	return measure.Case{
		Name:  "hit/string-keys",
		Title: "A hit among a million keys of strings",
		About: "A million entries share one token, and 1,024 of them are asked for in turn, with a look at the clock each, by four " +
			"strings: identity, tenant, scope and audience. Freshet is asked with a request of them, the others with a struct that " +
			"is their key. " + bytesAbout,
		Columns:  keyColumns(),
		Subjects: sized(keysStrings(), stringShards(), stringXsync(), stringSyncMap(), stringOtter()),
	}
}

const bytesAbout = "*bytes* is what the heap grew by for an entry, its key included and the token not, when the cache was filled; it is " +
	"measured once."

func keyColumns() []measure.Column {
	return append(measure.LoopColumns(), measure.Column{Name: "bytes", Unit: measure.Bytes, Compare: true})
}

// sized puts subjects to a million keys.
func sized(all ...measure.Sized) []measure.Subject {
	var subjects []measure.Subject
	for _, of := range all {
		subjects = append(subjects, measure.Subject{
			Name: of.Name, Role: of.Role, Modules: of.Modules, Note: of.Note,
			Start: func(s *measure.Setup) (measure.Round, error) { return of.Start(s, s.Size(million, 2*most)) },
		})
	}
	return subjects
}

// token is what all entries share.
const token = "the token of all entries"

// weighed is what the heap grew by, for each of n, while f ran.
func weighed(n int, f func() error) (float64, error) {
	before := measure.Heap()
	err := f()
	return float64(measure.Heap()-before) / float64(n), err
}

// keyRound is a round of hits, which must all be of what was filled in, with the bytes of an entry.
func keyRound(s *measure.Setup, bytes float64, f func(n int) (hits int, err error)) measure.Round {
	round := loop(s, func(n int) error {
		hits, err := f(n)
		if err == nil && hits != n {
			err = wrong("%d hits of %d", hits, n)
		}
		return err
	}, nil)
	return func() ([]float64, error) {
		values, err := round()
		return append(values, bytes), err
	}
}

// entry is what a map keeps of a token.
type entry struct {
	token   string
	expires int64 // nanoseconds since 1970
}

func newEntry() *entry { return &entry{token, time.Now().Add(24 * time.Hour).UnixNano()} }

func (e *entry) lives() bool { return time.Now().UnixNano() < e.expires }
