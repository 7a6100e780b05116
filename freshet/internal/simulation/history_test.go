package simulation

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"time"
)

// history is what happened, in order.
type history struct {
	keys   []*key
	events []event
}

// event is one thing that happened. There are hundreds of thousands a day: it has no pointers.
type event struct {
	at   time.Duration
	a, b int64 // depend on what happened
	key  int32 // its number; −1: none
	what happening
}

type happening uint8

const (
	began    happening = iota // a fault: its number
	retrieve                  // version of the configuration, number of the retrieval
	granted                   // the same
	failed                    // status, Retry-After
	served                    // lifetime, how long the caller waited
	told                      // how long the caller waited, when to come again
)

var happenings = [...]string{began: "begins", retrieve: "retrieve", granted: "granted", failed: "failed", served: "served", told: "told"}

func (w *world) note(what happening, k *key, a, b int64) {
	e := event{at: w.now(), what: what, a: a, b: b, key: -1}
	if k != nil {
		e.key = int32(k.number)
	}
	w.history.events = append(w.history.events, e)
}

// settle puts what happened at one moment into one order: there is none among goroutines.
func (h *history) settle() {
	slices.SortFunc(h.events, func(x, y event) int {
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.what, y.what), cmp.Compare(x.key, y.key), cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b))
	})
}

// of is what happened to a key, up to a time.
func (h *history) of(k *key, until time.Duration) []string {
	h.settle()
	var list []string
	for _, e := range h.events {
		if e.key == int32(k.number) && e.at <= until {
			list = append(list, h.line(e))
		}
	}
	return list
}

func (h *history) line(e event) string {
	name := ""
	if e.key >= 0 {
		name = h.keys[e.key].String()
	}
	switch d := time.Duration(e.a); e.what {
	case failed:
		return fmt.Sprintf("%v %s failed: status %d, Retry-After %v", e.at, name, e.a, time.Duration(e.b))
	case served:
		return fmt.Sprintf("%v %s served what lives for %v, after %v", e.at, name, d, time.Duration(e.b))
	case told:
		return fmt.Sprintf("%v %s told an error after %v, to come again in %v", e.at, name, d, time.Duration(e.b))
	case began:
		return fmt.Sprintf("%v fault %d begins", e.at, e.a)
	}
	return fmt.Sprintf("%v %s %s %d, version %d", e.at, name, happenings[e.what], e.b, e.a)
}

// write puts a history into a file, a line an event.
func (h *history) write(path string) error {
	h.settle()
	var b strings.Builder
	for _, e := range h.events {
		fmt.Fprintln(&b, h.line(e))
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// String names a history: equal histories have equal names.
func (h *history) String() string {
	h.settle()
	sum := fnv.New64a()
	var b []byte
	for _, e := range h.events {
		b = b[:0]
		for _, n := range []int64{int64(e.at), e.a, e.b, int64(e.key), int64(e.what)} {
			b = binary.LittleEndian.AppendUint64(b, uint64(n))
		}
		sum.Write(b)
	}
	return fmt.Sprintf("%d events, %016x", len(h.events), sum.Sum64())
}
