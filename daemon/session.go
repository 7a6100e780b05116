package daemon

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"freshet.dev/broker"
	"freshet.dev/builtin"
	"freshet.dev/freshet"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/secret"
	"freshet.dev/internal/wire"
	"freshet.dev/localapi"
)

// Sessions opens doors for commands: a loopback listener each, with a secret of its own, for the identities it named.
type Sessions struct {
	Broker *broker.Broker
	Socket string // of the local API, for the child
	n      atomic.Int64
	quota
}

const (
	// maxSessionIdentities bounds what one session names.
	maxSessionIdentities = 64
	// maxSessions bounds a user's sessions: each holds a port and its descriptors, which are every user's.
	maxSessions = 256
)

// Open retrieves each identity once, so that its kind is known and what would fail fails now, and opens the door. Each is waited
// for as long as hold, where its issuer fails and nothing valid is to be had.
func (s *Sessions) Open(ctx context.Context, c broker.Caller, names []string, hold time.Duration) (_ *localapi.Session, err error) {
	if len(names) == 0 || len(names) > maxSessionIdentities {
		return nil, freshet.Errorf(freshet.Invalid, "a session is for 1 to %d identities", maxSessionIdentities)
	}
	if !s.enter(c.UID, maxSessions) {
		return nil, freshet.Errorf(freshet.Unavailable, "uid %d has %d sessions open, the most there may be", c.UID, maxSessions).
			WithHint("end some of the programs that freshet exec runs")
	}
	o := &opened{leave: func() { s.leave(c.UID) }}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	types := make(map[string]freshet.Type, len(names))
	for _, name := range names {
		a, err := s.Broker.Credential(ctx, c, name, freshet.Request{Hold: hold})
		if err != nil {
			return nil, err
		}
		types[name] = a.Credential.Type()
	}
	id := strconv.FormatInt(s.n.Add(1), 10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, freshet.Errorf(freshet.Unavailable, "session: no loopback port to listen at")
	}
	o.listener = l
	secret := secret.New()
	env := map[string]string{"FRESHET_SOCKET": s.Socket, "FRESHET_IDENTITY": names[0]}
	var d dialects
	for _, row := range builtin.Endpoints() {
		var carried []string
		for _, name := range names {
			if types[name] == row.Type && row.Azure == s.azure(name) && (row.Many || len(carried) == 0) {
				carried = append(carried, name)
			}
		}
		if len(carried) == 0 {
			continue
		}
		door, err := s.Broker.OpenDoorFor(c, broker.Caller{Door: "session", ID: id}, carried)
		if err != nil {
			return nil, err
		}
		o.doors = append(o.doors, door)
		d.add(row, nil, row.New(row.Config(), door, guard.NewSecret(secret)))
		for k, v := range row.Environment("http://"+l.Addr().String(), secret, carried[0]) {
			env[k] = v
		}
	}
	o.serve(guard.Server(&d, writeTimeout))
	return &localapi.Session{Opened: wire.SessionOpened{ID: id, Environment: env, Types: types}, Close: o.close}, nil
}

// azure reports whether an identity's tokens are what Azure's SDKs ask for.
func (s *Sessions) azure(name string) bool {
	row := builtin.SourceNamed(s.Broker.Kind(name))
	return row != nil && row.Azure
}

// writeTimeout bounds an endpoint's answer, the retrieval it waits for included.
const writeTimeout = 90 * time.Second
