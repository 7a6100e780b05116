package freshet

import "freshet.dev/freshet/internal/clock"

// answerPlain has what answered a claims challenge replace, for those who ask the same without claims, what they are served: the
// challenge said that it is not accepted any more (continuous access evaluation). Where nothing is served, nothing is replaced.
func (c *Cache) answerPlain(s *slot, cred *Credential, now clock.Reading) {
	if s.id.varies&FieldClaims == 0 {
		return
	}
	req := keyRequest(s.key, s.id)
	if req.Claims == "" {
		return
	}
	req.Claims = ""
	key := appendKey(nil, s.id, &req)
	plain := c.index.find(s.id, hashKey(s.id, key), key)
	if plain == nil {
		return
	}
	plain.mu.Lock()
	if !plain.gone && plain.cur.Load() != nil {
		plain.publishLocked(cred, now)
		c.lookLocked(plain, now)
	}
	plain.mu.Unlock()
	c.account(plain)
}
