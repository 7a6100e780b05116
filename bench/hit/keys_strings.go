package hit

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/puzpuzpuz/xsync/v4"

	"freshet.dev/bench/internal/measure"
)

func hotStrings(size int) []stringKey {
	var some []stringKey
	for _, n := range hot(size) {
		some = append(some, nth(n))
	}
	return some
}

func stringShards() measure.Sized {
	return measure.Sized{
		Name: "64 maps with a lock each", Role: measure.Peer, Note: "sync.RWMutex, chosen by maphash.Comparable of the key",
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			m, seed := new(shards[stringKey]), maphash.MakeSeed()
			bytes, err := weighed(size, func() error {
				for n := range size {
					k := nth(n)
					m.store(k, maphash.Comparable(seed, k), newEntry())
				}
				return nil
			})
			asked := hotStrings(size)
			return keyRound(s, bytes, func(n int) (hits int, err error) {
				for i := range n {
					k := &asked[i*7%len(asked)]
					if e := m.load(*k, maphash.Comparable(seed, *k)); e != nil && e.lives() {
						hits++
					}
				}
				return hits, nil
			}), err
		},
	}
}

func stringXsync() measure.Sized {
	return measure.Sized{
		Name: "xsync Map", Role: measure.Peer, Modules: xsyncModule, Note: "xsync.Map.Load",
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			var m *xsync.Map[stringKey, *entry]
			bytes, err := weighed(size, func() error {
				m = xsync.NewMap[stringKey, *entry](xsync.WithPresize(size))
				for n := range size {
					m.Store(nth(n), newEntry())
				}
				return nil
			})
			asked := hotStrings(size)
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

func stringSyncMap() measure.Sized {
	return measure.Sized{
		Name: "sync.Map", Role: measure.Peer, Note: "sync.Map.Load of the standard library",
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			m := new(sync.Map) // stringKey → *entry
			bytes, err := weighed(size, func() error {
				for n := range size {
					m.Store(nth(n), newEntry())
				}
				return nil
			})
			asked := hotStrings(size)
			return keyRound(s, bytes, func(n int) (hits int, err error) {
				for k := range n {
					if e, ok := m.Load(asked[k*7%len(asked)]); ok && e.(*entry).lives() {
						hits++
					}
				}
				return hits, nil
			}), err
		},
	}
}

func stringOtter() measure.Sized {
	return measure.Sized{
		Name: "otter", Role: measure.Peer, Modules: []string{"github.com/maypok86/otter/v2"},
		Note: "Cache.GetIfPresent of one with a bound and an expiry, which it looks after itself",
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			var c *otter.Cache[stringKey, string]
			bytes, err := weighed(size, func() (err error) {
				c, err = otter.New(&otter.Options[stringKey, string]{
					MaximumSize: 2 * size, InitialCapacity: size, ExpiryCalculator: otter.ExpiryWriting[stringKey, string](24 * time.Hour),
				})
				if err != nil {
					return err
				}
				for n := range size {
					c.Set(nth(n), token)
				}
				c.CleanUp() // does what it has put off
				return nil
			})
			if err != nil {
				return nil, err
			}
			s.Cleanup(func() { c.StopAllGoroutines() })
			asked := hotStrings(size)
			return keyRound(s, bytes, func(n int) (hits int, err error) {
				for k := range n {
					if _, ok := c.GetIfPresent(asked[k*7%len(asked)]); ok {
						hits++
					}
				}
				return hits, nil
			}), nil
		},
	}
}
