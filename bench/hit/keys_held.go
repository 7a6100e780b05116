package hit

import (
	"math/bits"

	"github.com/puzpuzpuz/xsync/v4"

	"freshet.dev/bench/internal/measure"
)

// heldKey is a key that its caller made once of whatever it is for, such as the front of a SHA-256.
type heldKey [2]uint64

// nthHeld is the nth of many keys, spread as a hash spreads them: by the finalizer of SplitMix64.
func nthHeld(n int) heldKey {
	x := uint64(n+1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return heldKey{x, bits.Reverse64(x)}
}

func hotHeld(size int) []heldKey {
	var some []heldKey
	for _, n := range hot(size) {
		some = append(some, nthHeld(n))
	}
	return some
}

func heldCopied() measure.Sized {
	return measure.Sized{
		Name: "copy-on-write map", Role: measure.Peer, Note: "an atomic pointer to a map, which every change would copy",
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			c := new(copied[heldKey])
			bytes, err := weighed(size, func() error {
				m := make(map[heldKey]*entry, size)
				for n := range size {
					m[nthHeld(n)] = newEntry()
				}
				c.replace(m)
				return nil
			})
			asked := hotHeld(size)
			return keyRound(s, bytes, func(n int) (hits int, err error) {
				for k := range n {
					if e := c.load(asked[k*7%len(asked)]); e != nil && e.lives() {
						hits++
					}
				}
				return hits, nil
			}), err
		},
	}
}

func heldShards() measure.Sized {
	return measure.Sized{
		Name: "64 maps with a lock each", Role: measure.Peer, Note: "sync.RWMutex, chosen by bits of the key",
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			m := new(shards[heldKey])
			bytes, err := weighed(size, func() error {
				for n := range size {
					k := nthHeld(n)
					m.store(k, k[0], newEntry())
				}
				return nil
			})
			asked := hotHeld(size)
			return keyRound(s, bytes, func(n int) (hits int, err error) {
				for i := range n {
					k := asked[i*7%len(asked)]
					if e := m.load(k, k[0]); e != nil && e.lives() {
						hits++
					}
				}
				return hits, nil
			}), err
		},
	}
}

var xsyncModule = []string{"github.com/puzpuzpuz/xsync/v4"}

func heldXsync() measure.Sized {
	return measure.Sized{
		Name: "xsync Map", Role: measure.Peer, Modules: xsyncModule, Note: "xsync.Map.Load",
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			var m *xsync.Map[heldKey, *entry]
			bytes, err := weighed(size, func() error {
				m = xsync.NewMap[heldKey, *entry](xsync.WithPresize(size))
				for n := range size {
					m.Store(nthHeld(n), newEntry())
				}
				return nil
			})
			asked := hotHeld(size)
			return keyRound(s, bytes, func(n int) (hits int, err error) {
				for k := range n {
					if e, ok := m.Load(asked[k*7%len(asked)]); ok && e.lives() {
						hits++
					}
				}
				return hits, nil
			}), err
		},
	}
}
