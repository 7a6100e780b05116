package trouble

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

func refusing() measure.Case {
	return measure.Case{
		Name:  "trouble/refused",
		Title: "100 callers ask at once, and the issuer refuses",
		About: "The issuer takes 50 ms, and answers 400 `invalid_client`, which none of the libraries asks again after. Nobody has a token " +
			"yet. One call is enough to find out.",
		Columns: []measure.Column{
			{Name: "longest wait", Unit: measure.Nanoseconds, Compare: true},
			{Name: "issuer calls"},
		},
		Rounds: 2, // where callers ask one after the other it takes them seconds
		Subjects: each(refuse,
			peers.Freshet, peers.AWS, peers.OAuth2, peers.GCP, peers.MSAL, peers.AzIdentity, peers.BearerTokenPolicy),
	}
}

func refuse(s *measure.Setup, i *issuer.Issuer, get peers.Get) ([]float64, error) {
	i.SetTakes(takes(s, 50*time.Millisecond))
	i.SetFail(&issuer.Refusal{Status: http.StatusBadRequest, Code: "invalid_client"})
	calls := together(s.Context, s.Size(100, 10), get)
	for _, c := range calls {
		if c.err == nil || errors.Is(c.err, measure.ErrWrong) {
			return nil, fmt.Errorf("a caller was not told of the refusal: %w", measure.ErrWrong)
		}
	}
	return []float64{float64(longest(calls)), float64(i.Calls())}, nil
}
