package freshet

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Reason is why a retrieval was made.
type Reason string

// The reasons of retrievals.
const (
	ReasonMiss     Reason = "miss"     // nothing to serve
	ReasonDue      Reason = "due"      // ahead of expiry, with nobody waiting
	ReasonRejected Reason = "rejected" // a service refused the version served
	ReasonMinTTL   Reason = "min_ttl"  // a caller asked for more life than the version served had left
	ReasonInput    Reason = "input"    // another identity's credential is made from it
	ReasonChanged  Reason = "changed"  // what the source reads has changed; see [Identity.Changed]
	ReasonPinned   Reason = "pinned"   // it is to be loaded whether or not anybody asks
)

// Event is one retrieval, told to [CacheConfig].Observe once it has ended. It holds no secret.
type Event struct {
	Identity string
	Kind     string // of source
	Target   Target // whom it asked, or would have
	Key      Secret // opaque, and it holds what was asked, claims among it; see KeyHash
	Reason   Reason
	Started  Instant
	Asked    bool          // the source was called; otherwise an input failed, or the limit's wait
	Retried  bool          // the first answer was a 5xx, and the source was called again
	Took     time.Duration // the source's part of it
	Shared   bool          // the credential came from another process, which asked the source
	Late     bool          // it ended after its waiters had been released
	Removed  bool          // its identity was removed while it was under way

	Fingerprint      string    // of what was retrieved; "" on failure
	Expires          time.Time // zero if it does not
	Input            string    // the identity whose credential went into it
	InputFingerprint string
	Err              *Error // nil on success
}

// KeyHash names the key without revealing what was asked: 16 hex digits of its SHA-256.
func (e Event) KeyHash() string {
	sum := sha256.Sum256([]byte(e.Key))
	return hex.EncodeToString(sum[:8])
}
