package daemon

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/broker"
	"freshet.dev/builtin"
	"freshet.dev/freshet"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/wire"
	"freshet.dev/localapi"
)

// Sessions opens doors for commands: a loopback listener each, with a secret of its own, for the identities it named.
type Sessions struct {
	Broker *broker.Broker
	Socket string // of the local API, for the child
	n      atomic.Int64

	mu   sync.Mutex
	open map[uint32]int // uid → its sessions
}

const (
	// maxSessionIdentities bounds what one session names.
	maxSessionIdentities = 64
	// maxSessions bounds a user's sessions: each holds a port and its descriptors, which are every user's.
	maxSessions = 256
	// sessionDrain is how long a session's end waits for answers under way, so that they are counted.
	sessionDrain = time.Second
)

// Open retrieves each identity once, so that its kind is known and what would fail fails now, and opens the door. Each is waited
// for as long as hold, where its issuer fails and nothing valid is to be had.
func (s *Sessions) Open(ctx context.Context, c broker.Caller, names []string, hold time.Duration) (_ *localapi.Session, err error) {
	if len(names) == 0 || len(names) > maxSessionIdentities {
		return nil, freshet.Errorf(freshet.Invalid, "a session is for 1 to %d identities", maxSessionIdentities)
	}
	if err := s.enter(c.UID); err != nil {
		return nil, err
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
	secret := newSecret()
	env := map[string]string{"FRESHET_SOCKET": s.Socket, "FRESHET_IDENTITY": names[0]}
	var r routes
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
		r.add(row, nil, row.New(row.Config(), door, guard.NewSecret(secret)))
		for k, v := range row.Environment("http://"+l.Addr().String(), secret, carried[0]) {
			env[k] = v
		}
	}
	o.serve(&r)
	return &localapi.Session{Opened: wire.SessionOpened{ID: id, Environment: env, Types: types}, Close: o.close}, nil
}

// azure reports whether an identity's tokens are what Azure's SDKs ask for.
func (s *Sessions) azure(name string) bool {
	row := builtin.SourceNamed(s.Broker.Kind(name))
	return row != nil && row.Azure
}

func (s *Sessions) enter(uid uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[uid] >= maxSessions {
		return freshet.Errorf(freshet.Unavailable, "uid %d has %d sessions open, the most there may be", uid, maxSessions).
			WithHint("end some of the programs that freshet exec runs")
	}
	if s.open == nil {
		s.open = make(map[uint32]int)
	}
	s.open[uid]++
	return nil
}

func (s *Sessions) leave(uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[uid]--; s.open[uid] == 0 {
		delete(s.open, uid)
	}
}

// opened is what a session holds until it is closed.
type opened struct {
	leave    func()
	listener net.Listener // nil until there is one
	server   *http.Server // nil until it serves
	done     chan struct{}
	doors    []*broker.Door
}

func (o *opened) serve(h http.Handler) {
	o.server, o.done = guard.Server(h, writeTimeout), make(chan struct{})
	go func() {
		defer close(o.done)
		_ = o.server.Serve(o.listener)
	}()
}

func (o *opened) close() {
	switch {
	case o.server != nil:
		ctx, cancel := context.WithTimeout(context.Background(), sessionDrain)
		if o.server.Shutdown(ctx) != nil {
			o.server.Close()
		}
		cancel()
		<-o.done
	case o.listener != nil:
		o.listener.Close()
	}
	for _, d := range o.doors {
		d.Close()
	}
	o.leave()
}

// writeTimeout bounds an endpoint's answer, the retrieval it waits for included.
const writeTimeout = 90 * time.Second

// newSecret is 32 random bytes, in characters that every dialect's header takes.
func newSecret() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
