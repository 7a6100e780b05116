package freshet

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestIndexHoldsWhatAMapWould changes an index and a map alike, with hashes that collide, while readers look up what is never
// removed.
func TestIndexHoldsWhatAMapWould(t *testing.T) {
	var x index
	x.init()
	const keys, constant = 600, 50
	ids := [2]*Identity{{name: "a"}, {name: "b"}} // with the same keys
	slots := make([]*slot, keys)
	for i := range slots {
		slots[i] = &slot{id: ids[i%2], key: fmt.Sprint("key-", i/2), hash: uint32(i % 97 * 1024)} // a handful of keys per hash, few low bits
	}
	type whose struct {
		id  *Identity
		key string
	}
	want := make(map[whose]*slot)
	for _, s := range slots[:constant] {
		x.put(s)
		want[whose{s.id, s.key}] = s
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				s := slots[i%constant]
				if got := x.find(s.id, s.hash, []byte(s.key)); got != s {
					t.Errorf("a reader found %v for %s, which is there", got, s.key)
					return
				}
				if i%constant == 0 {
					runtime.Gosched() // on few processors they would have it all
				}
			}
		})
	}
	for step := range 6_000 {
		s := slots[constant+rand.IntN(keys-constant)]
		if want[whose{s.id, s.key}] == nil {
			x.put(s)
			want[whose{s.id, s.key}] = s
		} else {
			x.remove(s)
			delete(want, whose{s.id, s.key})
		}
		if step%500 == 0 || x.live != len(want) {
			if x.live != len(want) {
				t.Fatalf("step %d: %d live, want %d", step, x.live, len(want))
			}
			for _, s := range slots {
				if got := x.find(s.id, s.hash, []byte(s.key)); got != want[whose{s.id, s.key}] {
					t.Fatalf("step %d: found %v for %s, want %v", step, got, s.key, want[whose{s.id, s.key}])
				}
			}
		}
		if n := len(*x.table.Load()); 2*x.used > n || n > 16*(len(want)+minTable) {
			t.Fatalf("step %d: %d of %d places taken for %d keys", step, x.used, n, len(want))
		}
	}
	stop.Store(true)
	wg.Wait()
	if x.find(ids[0], 0, nil) != nil || x.find(ids[0], 0, []byte("")) != nil {
		t.Error("an empty key found something")
	}
}
