package mcp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"freshet.dev/freshet"
)

const (
	stateLife = 15 * time.Minute // how long a person has to answer
	maxStates = 10_000           // of one caller, that were used and are not over yet
)

// vouch signs what an agent of the stateless era is given to bring back. An agent cannot make one, alter one, use one twice, or use it
// for another call than it was given for.
type vouch struct {
	key   [32]byte
	mark  string // begins its states: an upstream's own may be those of another bridge
	mu    sync.Mutex
	used  map[string]struct{} // nonces
	count map[string]int      // of them, by caller: one that uses up its share keeps no other out
	queue []usedState         // all of them, in the order in which they are forgotten
}

type usedState struct {
	nonce, caller string
	until         time.Time
}

// state is what a bridge has to remember between the rounds of one call.
type state struct {
	Nonce    string    `json:"n"`
	Call     []byte    `json:"c"` // digest of who calls what with what
	Approved bool      `json:"a,omitempty"`
	Upstream string    `json:"u,omitempty"` // the upstream's own state
	Parked   string    `json:"p,omitempty"`
	Over     time.Time `json:"e"`
}

func (v *vouch) init() {
	rand.Read(v.key[:])
	v.mark = "freshet-" + rand.Text()[:8] + "."
}

// callDigest names a call: the same caller, tool and arguments.
func (v *vouch) callDigest(parts ...string) []byte {
	h := hmac.New(sha256.New, v.key[:])
	for _, p := range parts {
		n := sha256.Sum256([]byte(p))
		h.Write(n[:])
	}
	return h.Sum(nil)
}

func (v *vouch) seal(s state) string {
	s.Nonce, s.Over = rand.Text(), freshet.Now().Wall().Add(stateLife)
	data, _ := json.Marshal(s)
	return v.mark + base64.RawURLEncoding.EncodeToString(data) + "." + base64.RawURLEncoding.EncodeToString(v.sign(data))
}

func (v *vouch) sign(data []byte) []byte {
	h := hmac.New(sha256.New, v.key[:])
	h.Write([]byte("state"))
	h.Write(data)
	return h.Sum(nil)
}

// open reads a state that this bridge gave for this call, and uses it up. A text that is none of a bridge's is an upstream's own.
func (v *vouch) open(caller, text string, call []byte) (s state, ours, ok bool) {
	rest, ours := strings.CutPrefix(text, v.mark)
	if !ours {
		return s, false, false
	}
	body, sum, _ := strings.Cut(rest, ".")
	data, err := base64.RawURLEncoding.DecodeString(body)
	mac, err2 := base64.RawURLEncoding.DecodeString(sum)
	if err != nil || err2 != nil || !hmac.Equal(mac, v.sign(data)) || json.Unmarshal(data, &s) != nil || !hmac.Equal(s.Call, call) {
		return state{}, true, false
	}
	now := freshet.Now().Wall()
	if now.After(s.Over) {
		return state{}, true, false
	}
	if !v.use(s.Nonce, caller, now, s.Over) {
		return state{}, true, false
	}
	return s, true, true
}

// use reports whether a nonce is used for the first time. It is kept for as long as the youngest state is good, so that what is over is
// at the queue's head.
func (v *vouch) use(nonce, caller string, now, over time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.queue) > 0 && now.After(v.queue[0].until) {
		old := v.queue[0]
		v.queue = v.queue[1:]
		delete(v.used, old.nonce)
		if v.count[old.caller]--; v.count[old.caller] == 0 {
			delete(v.count, old.caller)
		}
	}
	if _, again := v.used[nonce]; again || v.count[caller] >= maxStates {
		return false
	}
	if v.used == nil {
		v.used, v.count = map[string]struct{}{}, map[string]int{}
	}
	until := now.Add(stateLife)
	if over.After(until) { // the clock was put back
		until = over
	}
	v.used[nonce] = struct{}{}
	v.count[caller]++
	v.queue = append(v.queue, usedState{nonce, caller, until})
	return true
}
