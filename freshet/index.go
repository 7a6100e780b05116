package freshet

import "sync/atomic"

// index maps keys to slots. Lookups take no lock and allocate nothing: they walk an open-addressing table of atomic pointers
// that only grows by being replaced whole. Changes are made under the cache's mutex.
//
// A lookup that races a change may miss an entry, which costs its caller the locked path and nothing else. A lookup takes
// O(1) expected steps, a change O(1) amortised; the table takes 16 to 64 bytes an entry.
type index struct {
	table atomic.Pointer[[]atomic.Pointer[slot]] // its length is a power of two, at most half of it in use
	used  int                                    // places taken, by slots and tombstones
	live  int
}

// tombstone marks a place whose slot was removed, so that probes walk on.
var tombstone = new(slot)

const minTable = 64

func (x *index) init() {
	t := make([]atomic.Pointer[slot], minTable)
	x.table.Store(&t)
}

// find returns the slot of an identity's key, or nil.
func (x *index) find(id *Identity, hash uint32, key []byte) *slot {
	t := *x.table.Load()
	mask := uint64(len(t) - 1)
	for i := uint64(hash) & mask; ; i = (i + 1) & mask {
		s := t[i].Load()
		if s == nil {
			return nil
		}
		if s.hash == hash && s.id == id && s.key == string(key) {
			return s
		}
	}
}

// put adds a slot whose key is not there. The cache's mutex is held.
func (x *index) put(s *slot) {
	if t := *x.table.Load(); 2*(x.used+1) > len(t) {
		x.rebuild()
	}
	x.live++
	if place(*x.table.Load(), s) {
		x.used++
	}
}

// remove takes a slot out. The cache's mutex is held.
func (x *index) remove(s *slot) {
	t := *x.table.Load()
	mask := uint64(len(t) - 1)
	for i := uint64(s.hash) & mask; ; i = (i + 1) & mask {
		switch t[i].Load() {
		case s:
			t[i].Store(tombstone)
			x.live--
			return
		case nil:
			return
		}
	}
}

// rebuild replaces the table by one without tombstones, with room for half as many again as live at least.
func (x *index) rebuild() {
	n := minTable
	for n < 3*(x.live+1) {
		n *= 2
	}
	old, t := *x.table.Load(), make([]atomic.Pointer[slot], n)
	x.used = 0
	for i := range old {
		if s := old[i].Load(); s != nil && s != tombstone {
			place(t, s)
			x.used++
		}
	}
	x.table.Store(&t)
}

// place puts s into the first free place of its probe sequence, and reports whether that place was unused before.
func place(t []atomic.Pointer[slot], s *slot) bool {
	mask := uint64(len(t) - 1)
	for i := uint64(s.hash) & mask; ; i = (i + 1) & mask {
		switch t[i].Load() {
		case nil:
			t[i].Store(s)
			return true
		case tombstone:
			t[i].Store(s)
			return false
		}
	}
}
