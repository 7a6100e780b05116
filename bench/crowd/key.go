package crowd

import (
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

func oneKey() measure.Case {
	size := func(s *measure.Setup) int { return s.Size(10_000, 10) }
	c := measure.Case{
		Name:  "crowd/one-key",
		Title: "10,000 goroutines ask for one token that nobody has yet",
		About: "A client that was just made, and an issuer that takes 50 ms. The time is until the last goroutine has its token. " +
			"One call is all that is needed.",
		Columns: coldColumns(),
	}
	for _, p := range []peers.Peer{
		peers.Freshet, peers.AWS, peers.OAuth2, peers.GCP, peers.MSAL, peers.AzIdentity, peers.BearerTokenPolicy,
	} {
		c.Subjects = append(c.Subjects, measure.Subject{
			Name: p.Name, Role: p.Role, Modules: p.Modules, Note: p.Note,
			Start: func(s *measure.Setup) (measure.Round, error) { return cold(p, s, size(s), 1), nil },
		})
	}
	c.Subjects = append(c.Subjects, measure.Subject{
		Name: "a timer and a channel", Role: measure.Floor, Note: "10,000 goroutines that wait for a channel, which a timer of 50 ms closes",
		Start: func(s *measure.Setup) (measure.Round, error) { return barrier(s, size(s), 1), nil },
	})
	return c
}

func tenants() measure.Case {
	callers := func(s *measure.Setup) int { return s.Size(10_000, 10) }
	among := func(s *measure.Setup) int { return s.Size(1_000, 5) }
	c := measure.Case{
		Name:  "crowd/tenants",
		Title: "10,000 goroutines ask for the tokens of 1,000 tenants, of which nobody has any yet",
		About: "Ten goroutines for each tenant, one client that was just made, and an issuer that takes 50 ms for each call and " +
			"answers any number at once. 1,000 calls are needed, and none has to wait for another. Only clients that serve any " +
			"number of tenants are compared.",
		Columns: coldColumns(),
		Rounds:  2, // who asks for one tenant after the other takes the better part of a minute
	}
	for _, p := range []peers.Peer{peers.Freshet, peers.MSAL, peers.AzIdentity} {
		c.Subjects = append(c.Subjects, measure.Subject{
			Name: p.Name, Role: p.Role, Modules: p.Modules, Note: p.Note,
			Start: func(s *measure.Setup) (measure.Round, error) { return cold(p, s, callers(s), among(s)), nil },
		})
	}
	c.Subjects = append(c.Subjects, measure.Subject{
		Name: "timers and channels", Role: measure.Floor, Note: "10,000 goroutines that wait for 1,000 channels in a map, each closed by a timer of 50 ms",
		Start: func(s *measure.Setup) (measure.Round, error) { return barrier(s, callers(s), among(s)), nil },
	})
	return c
}
