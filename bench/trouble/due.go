package trouble

import (
	"fmt"
	"time"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

// dueRounds is how often the case is put: as often as tokens were made for it beforehand.
const dueRounds = 2

// ripening is how a peer's token becomes due while it is still valid.
type ripening struct {
	peers.Peer
	lifetime  time.Duration
	refreshIn time.Duration // the issuer's wish
	after     time.Duration // when it is due
	ahead     bool          // made before the rounds, since it takes so long
	how       string
}

func due() measure.Case {
	c := measure.Case{
		Name:  "trouble/due",
		Title: "20 callers ask for a token that is valid, and due to be replaced",
		About: "The issuer takes 1 s. A caller has waited if its answer took more than half of that. Each token is due by the rules of " +
			"the library that has it; its notes say how it came to that.",
		Columns: []measure.Column{
			{Name: "callers that waited"},
			{Name: "longest wait", Unit: measure.Nanoseconds},
			{Name: "issuer calls"},
		},
		Rounds: dueRounds,
	}
	const soon = 1200 * time.Millisecond
	for _, r := range []ripening{
		{Peer: peers.Freshet, lifetime: 10 * time.Second, refreshIn: time.Second, after: soon,
			how: "a token of 10 s whose issuer wants it replaced after 1 s"},
		{Peer: awsEarly, lifetime: 4 * time.Minute, how: "keys with 4 minutes left"},
		{Peer: peers.OAuth2, lifetime: 9 * time.Second, how: "a token with 9 s left"},
		{Peer: peers.GCP, lifetime: 3 * time.Minute, how: "a token with 3 minutes left"},
		{Peer: peers.MSAL, lifetime: time.Hour, refreshIn: time.Second, after: soon, how: "a token of an hour whose issuer wants it replaced after 1 s"},
		{Peer: peers.AzIdentity, lifetime: time.Hour, refreshIn: time.Second, after: soon, how: "a token of an hour whose issuer wants it replaced after 1 s"},
		{Peer: peers.BearerTokenPolicy, lifetime: 4 * time.Minute, after: 31 * time.Second, ahead: true,
			how: "a token with less than 5 minutes left, 30 s after the last call, before which it makes no other"},
	} {
		c.Subjects = append(c.Subjects, measure.Subject{
			Name: r.Name, Role: r.Role, Modules: r.Modules, Note: r.Note + "; " + r.how, Start: r.start,
		})
	}
	return c
}

// ripe is a client whose token is due at a time.
type ripe struct {
	issuer *issuer.Issuer
	get    peers.Get
	at     time.Time
}

func (r ripening) start(s *measure.Setup) (measure.Round, error) {
	var ready []ripe
	if r.ahead {
		for range s.Size(dueRounds, 1) {
			one, err := r.grow(s)
			if err != nil {
				return nil, err
			}
			s.Cleanup(one.issuer.Close)
			ready = append(ready, one)
		}
	}
	return func() ([]float64, error) {
		if !r.ahead {
			one, err := r.grow(s)
			if err != nil {
				return nil, err
			}
			defer one.issuer.Close()
			return one.round(s)
		}
		if len(ready) == 0 {
			return nil, fmt.Errorf("more than %d rounds: %w", dueRounds, measure.ErrWrong)
		}
		one := ready[0]
		ready = ready[1:]
		return one.round(s)
	}, nil
}

// grow makes a client and its token, and has the issuer be slow from then on.
func (r ripening) grow(s *measure.Setup) (ripe, error) {
	one := ripe{issuer: issuer.New()}
	one.issuer.SetLifetime(r.lifetime)
	one.issuer.SetRefreshIn(r.refreshIn)
	var err error
	if one.get, err = r.New(one.issuer); err == nil {
		err = ask(s.Context, one.get).err
	}
	if err != nil {
		one.issuer.Close()
		return ripe{}, err
	}
	one.at = time.Now().Add(r.after)
	one.issuer.SetTakes(takes(s, time.Second))
	one.issuer.SetLifetime(time.Hour)
	one.issuer.SetRefreshIn(0)
	one.issuer.Reset()
	return one, nil
}

func (one ripe) round(s *measure.Setup) ([]float64, error) {
	pause(s, time.Until(one.at))
	calls := together(s.Context, 20, one.get)
	if n := failed(calls); n > 0 {
		return nil, fmt.Errorf("%d callers failed though the token was valid: %w", n, measure.ErrWrong)
	}
	waited := 0
	for _, c := range calls {
		if c.took > takes(s, time.Second)/2 {
			waited++
		}
	}
	begins := time.Now().Add(takes(s, time.Second)) // a call in the background, after its callers have gone
	for one.issuer.Calls()+one.issuer.Running() == 0 && time.Now().Before(begins) {
		time.Sleep(time.Millisecond)
	}
	if err := settle(one.issuer); err != nil {
		return nil, err
	}
	if one.issuer.Calls() == 0 && !s.Smoke {
		return nil, fmt.Errorf("nobody replaced the token, so it was not due: %w", measure.ErrWrong)
	}
	return []float64{float64(waited), float64(longest(calls)), float64(one.issuer.Calls())}, nil
}
