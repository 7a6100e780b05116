package freshet

// fifo is a queue whose pop is O(1) amortised.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) push(item T) { q.items = append(q.items, item) }

func (q *fifo[T]) pop() T {
	var none T
	item := q.items[q.head]
	q.items[q.head] = none
	if q.head++; 2*q.head >= len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return item
}

// ticket is a flight's place in the line for a limit.
type ticket struct {
	turn    chan struct{} // closed when it is its turn
	granted bool
	left    bool
}

// line is the tickets of one tenant.
type line struct {
	tenant  string
	tickets fifo[*ticket]
	waiting int // those who have not left
}

// turns gives tenants their turns: one each, round and round, and every other turn to one that had not been waiting. So a tenant
// with ten thousand tickets delays another's one by a single turn, and a thousand tenants that appear at once cannot keep those
// who wait from theirs. Every step is O(1) amortised.
type turns struct {
	lines   map[string]*line // tenant → line
	fresh   fifo[*line]      // had no turn since they came
	old     fifo[*line]
	toOld   bool // whose turn is next, if both have some
	waiting int
}

func (t *turns) push(tenant string) *ticket {
	l := t.lines[tenant]
	if l == nil {
		l = &line{tenant: tenant}
		if t.lines == nil {
			t.lines = make(map[string]*line)
		}
		t.lines[tenant] = l
		t.fresh.push(l)
	}
	k := &ticket{turn: make(chan struct{})}
	l.tickets.push(k)
	l.waiting++
	t.waiting++
	return k
}

// leave is for a ticket that was not granted.
func (t *turns) leave(tenant string, k *ticket) {
	k.left = true
	t.lines[tenant].waiting--
	if t.waiting--; t.waiting == 0 {
		t.lines, t.fresh, t.old = nil, fifo[*line]{}, fifo[*line]{} // a line that does not move keeps nobody's ticket
	}
}

// ahead is how many turns a tenant's next ticket would wait for.
func (t *turns) ahead(tenant string) int {
	own := 0
	if l := t.lines[tenant]; l != nil {
		own = l.waiting
	}
	return min(t.waiting, (own+1)*max(1, len(t.lines)))
}

// pop returns the ticket whose turn it is; nil if nobody waits.
func (t *turns) pop() *ticket {
	for t.fresh.len()+t.old.len() > 0 {
		from := &t.fresh
		if t.fresh.len() == 0 || t.toOld && t.old.len() > 0 {
			from = &t.old
		}
		t.toOld = from == &t.fresh
		l := from.pop()
		var k *ticket
		for l.tickets.len() > 0 && k == nil {
			if first := l.tickets.pop(); !first.left {
				k = first
			}
		}
		if l.waiting > 0 && k != nil {
			l.waiting--
			t.waiting--
		}
		if l.waiting > 0 {
			t.old.push(l)
		} else {
			delete(t.lines, l.tenant)
		}
		if k != nil {
			k.granted = true
			close(k.turn)
			return k
		}
	}
	return nil
}
