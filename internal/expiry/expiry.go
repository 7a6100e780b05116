// Package expiry works out the expiry that a dialect tells its clients, and reads the one that az tells in local time.
package expiry

import (
	"time"

	"freshet.dev/freshet"
)

// staticLife is what a credential that does not expire is said to live from now: clients come back for a rotated one.
const staticLife = time.Hour

// Margin is how much earlier than the truth a credential's end is told to clients that use no margin of their own: a tenth of
// its life, at most 2 minutes. A client that signs with its previous credential while it fetches the next (as the JavaScript
// SDK does) would else sign with one that ends on the way.
func Margin(c *freshet.Credential) time.Duration { return min(2*time.Minute, c.Lifetime()/10) }

// Early reports whether Advertised is early by the margin. In the last part of a credential's life that would be past.
func Early(c *freshet.Credential) bool {
	return c.Remaining() > Margin(c)+time.Second // Advertised is cut to whole seconds
}

// Advertised is the expiry to tell: the true one less the margin, or the true one where that would be past already. A
// credential that does not expire is said to live for another hour.
func Advertised(c *freshet.Credential) time.Time {
	if c.Static() {
		return freshet.Now().Wall().Add(staticLife).Truncate(time.Second)
	}
	at := c.Expires()
	if Early(c) {
		at = at.Add(-Margin(c))
	}
	return at.Truncate(time.Second)
}

// Seconds is how many whole seconds remain until Advertised, and at least 1.
func Seconds(c *freshet.Credential) int64 {
	left := staticLife
	if !c.Static() {
		left = c.Remaining()
		if Early(c) {
			left -= Margin(c)
		}
	}
	return max(1, int64(left/time.Second))
}
