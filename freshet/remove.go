package freshet

// Remove takes an identity out of its cache, with all that it serves. Callers who wait for one of its retrievals get their
// answer; everybody who asks later gets an error of kind [Invalid], whoever is made from it among them. Removing it again does
// nothing. It takes O(keys of the identity).
func (c *Cache) Remove(id *Identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id.cache != c || id.removed {
		return
	}
	id.removed = true
	for i, other := range c.identities {
		if other == id {
			c.identities = append(c.identities[:i:i], c.identities[i+1:]...)
			break
		}
	}
	for len(id.ring.slots) > 0 {
		s := id.ring.slots[len(id.ring.slots)-1]
		s.mu.Lock()
		if f := s.flight; f != nil && f.held {
			s.turnAwayLocked(f)
			go c.leave(id, f.permit)
		}
		s.gone = true
		s.cur.Store(nil)
		s.mu.Unlock()
		c.removeLocked(s)
	}
}

func (c *Cache) removed(id *Identity) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return id.removed
}

// errRemoved is what a removed identity answers.
func (id *Identity) errRemoved() error {
	return &Error{Kind: Invalid, Identity: id.name, Source: id.kind, Why: "is no longer configured", Hint: "ask again, if it was configured anew"}
}
