package lab

import (
	"testing"

	"freshet.dev/freshet"
)

// TestResetForgetsWhatIsUnderWay keeps a request from before a reset out of the counts after it, but for Peak: it is there.
func TestResetForgetsWhatIsUnderWay(t *testing.T) {
	var i issuer
	before := i.begin()
	i.reset()
	if got, want := i.count(), (Count{Peak: 1}); got != want {
		t.Errorf("after the reset: got %+v, want %+v", got, want)
	}
	after := i.begin()
	before.count(granted)
	before.leave()
	after.count(refused)
	after.leave()
	if got, want := i.count(), (Count{Requests: 1, Refused: 1, Peak: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	i.begin().leave()
	if got, want := i.count(), (Count{Requests: 2, Refused: 1, Peak: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestAzTouchesItsMemory looks at the memory itself: the most that a child ever had in use starts with what its parent had.
func TestAzTouchesItsMemory(t *testing.T) {
	memory, ok := weight{memory: 1 << 20}.carry(t.Context())
	if !ok || len(memory) != 1<<20 {
		t.Fatalf("got %d bytes, %t", len(memory), ok)
	}
	for i := 0; i < len(memory); i += 4096 {
		if memory[i] == 0 {
			t.Fatalf("page %d was not touched", i/4096)
		}
	}
}

// TestVaultKnowsItsOwnKeysAlone alters a session token in every place.
func TestVaultKnowsItsOwnKeysAlone(t *testing.T) {
	v := newVault()
	k := v.issue("arn", freshet.Now().Wall())
	if s, ok := v.open(k.token); !ok || s != k.session || v.secret(s.AccessKeyID) != k.secret {
		t.Fatalf("its own: got %+v, %t", s, ok)
	}
	for i := range k.token {
		altered := []byte(k.token)
		altered[i] ^= 1
		if _, ok := v.open(string(altered)); ok && i != len(k.token)-1 { // the last character has bits that mean nothing
			t.Errorf("altered at %d: it is taken", i)
		}
	}
	if _, ok := newVault().open(k.token); ok {
		t.Error("another vault takes it")
	}
	for _, token := range []string{"", ".", "x"} {
		if _, ok := v.open(token); ok {
			t.Errorf("%q is taken", token)
		}
	}
}

// TestRepeatedAnswersAreBounded asks for more different things than a fault repeats.
func TestRepeatedAnswersAreBounded(t *testing.T) {
	var l faults
	l.put(Fault{Kind: Malformed, How: wayAgain, For: defaultFor, Probability: 1})
	a := l.on[0]
	answer := func(n int) (reply, bool) {
		return l.repeat(a, [32]byte{byte(n), byte(n >> 8)}, reply{status: 200 + n})
	}
	for n := range 2 * maxRepeated {
		if got, again := answer(n); again || got.status != 200+n {
			t.Fatalf("%d: got %d, %t", n, got.status, again)
		}
	}
	if len(a.first) != maxRepeated {
		t.Errorf("%d are kept", len(a.first))
	}
	for n, want := range map[int]bool{0: true, maxRepeated - 1: true, maxRepeated: false} {
		if _, again := answer(n); again != want {
			t.Errorf("%d is repeated: %t", n, again)
		}
	}
}
