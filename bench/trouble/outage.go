package trouble

import (
	"context"
	"errors"
	"fmt"
	"time"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

// left is how long tokens live in the cases of a token that ends soon.
const left = 4 * time.Minute

func outage() measure.Case {
	return measure.Case{
		Name:  "trouble/outage",
		Title: "A caller asks for a token that is valid for 4 more minutes, and the issuer is down",
		About: "Connections to the issuer break. What the caller gets, and how long it waits for that: azidentity's requests are made " +
			"again, after pauses, by azcore's policy for retries. Neither freshet nor azcore's BearerTokenPolicy asks the issuer again " +
			"so soon after it has answered; both serve what they have if they do and it fails.",
		Columns: []measure.Column{
			{Name: "the caller gets", Words: []string{"the token", "an error"}},
			{Name: "wait", Unit: measure.Nanoseconds},
			{Name: "issuer calls"},
		},
		Rounds: 1, // retries take long, and it ends the same each time
		Subjects: each(down, peers.Freshet,
			peers.AWS, awsEarly, peers.OAuth2, oauth2Early, peers.GCP, peers.MSAL, peers.AzIdentity, peers.BearerTokenPolicy),
	}
}

var errDown = errors.New("connection reset by peer")

func down(s *measure.Setup, i *issuer.Issuer, get peers.Get) ([]float64, error) {
	i.SetLifetime(left)
	if c := ask(s.Context, get); c.err != nil {
		return nil, c.err
	}
	i.Reset()
	i.SetFail(errDown)
	ctx, cancel := context.WithTimeout(s.Context, takes(s, bound)) // a smoke run does not wait for retries
	defer cancel()
	c := ask(ctx, get)
	if errors.Is(c.err, measure.ErrWrong) {
		return nil, c.err
	}
	outcome := 0.0
	if c.err != nil {
		outcome = 1
		if !s.Smoke && errors.Is(c.err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("no answer within %v: %w", bound, c.err)
		}
	}
	return []float64{outcome, float64(c.took), float64(i.Calls())}, nil
}

func fewMinutes() measure.Case {
	return measure.Case{
		Name:  "trouble/few-minutes",
		Title: "100 requests, one after the other, for a token that is valid for 4 minutes",
		About: "The issuer's tokens live for 4 minutes, as one does that comes out of a cache of somebody else's. The first request is " +
			"one for a token that nobody has; one call is enough.",
		Columns: []measure.Column{{Name: "issuer calls"}},
		Rounds:  1, // it comes to the same each time
		Subjects: each(few, peers.Freshet,
			peers.AWS, awsEarly, peers.OAuth2, oauth2Early, peers.GCP, peers.MSAL, peers.AzIdentity, peers.BearerTokenPolicy),
	}
}

func few(s *measure.Setup, i *issuer.Issuer, get peers.Get) ([]float64, error) {
	i.SetLifetime(left)
	for range 100 {
		if c := ask(s.Context, get); c.err != nil {
			return nil, c.err
		}
	}
	return []float64{float64(i.Calls())}, nil
}
