package broker

import "freshet.dev/freshet"

// Unblock forgets the failures that keep an identity, and the issuers it asks, from being retrieved: see
// [freshet.Identity.Unblock]. It is for who oversees the broker, since an issuer's word that it is asked too much holds for
// everybody. It is recorded, and refused where that cannot be.
func (b *Broker) Unblock(c Caller, name string) error {
	w := b.world.Load()
	if !b.Oversees(c) {
		if _, err := b.lookup(w, c, name); err != nil {
			return err
		}
		b.audit.deny(c, name, "unblock")
		return freshet.Errorf(freshet.Denied, "identity %s: only the daemon's own user and root may unblock it", name).
			WithHint("wait: freshet status says for how long it is blocked")
	}
	e := w.entries[name]
	if e == nil {
		return b.unknown(w, c, name)
	}
	if err := b.audit.unblock(c, name); err != nil {
		return err
	}
	b.log.Info("unblocked", "identity", name, "caller", c.name())
	for e != nil { // what it is made from is as much in its way
		e.Identity.Unblock()
		e.last.forgive()
		e = w.entries[e.from]
	}
	return nil
}
