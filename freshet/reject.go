package freshet

import "freshet.dev/freshet/internal/clock"

// Reject says that a service refused the version with this fingerprint, whichever of the identity's keys it belongs to, and
// reports whether one of them serves it now. That version is marked for every caller and replaced in the background; other
// versions are left alone. N rejections of one version cause one retrieval. It takes O(keys of the identity).
//
// Only a service's word that the credential itself is bad is a reason to reject: a 401, or an error that says expired,
// revoked or invalid. A plain 403 speaks of rights, which a new credential does not change.
func (id *Identity) Reject(fingerprint string) bool {
	if fingerprint == "" {
		return false
	}
	served := false
	for _, s := range id.slots() {
		if v := s.cur.Load(); v != nil && v.named(fingerprint) && s.reject(fingerprint) {
			served = true
		}
	}
	id.cache.dispatch()
	return served
}

// Serves reports whether one of the identity's keys serves the version with this fingerprint now. It takes O(keys of the identity), and
// works out the fingerprints of those alone that begin alike.
func (id *Identity) Serves(fingerprint string) bool {
	now := clock.Now()
	for _, s := range id.slots() {
		if v := s.cur.Load(); v != nil && v.named(fingerprint) && v.at(now) != expired {
			return true
		}
	}
	return false
}

// slots is a copy of the identity's slots at this moment.
func (id *Identity) slots() []*slot {
	id.cache.mu.Lock()
	defer id.cache.mu.Unlock()
	return append([]*slot(nil), id.ring.slots...)
}

// reject marks the version served, if it has this fingerprint, and has it replaced, unless that is under way or was forced too
// recently; the scheduler tries again then.
func (s *slot) reject(fingerprint string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := clock.Now()
	v := s.cur.Load()
	if v == nil || !v.named(fingerprint) || v.at(now) == expired {
		return false
	}
	v.marks.Or(markRejected) // under the lock: a landing flight that brings the same version carries the mark over
	s.id.cache.lookLocked(s, now)
	return true
}
