package daemon

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/http"
	"strconv"
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
}

// maxSessionIdentities bounds what one session names.
const maxSessionIdentities = 64

// Open retrieves each identity once, so that its kind is known and what would fail fails now, and opens the door.
func (s *Sessions) Open(ctx context.Context, c broker.Caller, names []string) (*localapi.Session, error) {
	if len(names) == 0 || len(names) > maxSessionIdentities {
		return nil, freshet.Errorf(freshet.Invalid, "a session is for 1 to %d identities", maxSessionIdentities)
	}
	types := make(map[string]freshet.Type, len(names))
	for _, name := range names {
		a, err := s.Broker.Credential(ctx, c, name, freshet.Request{})
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
	secret := newSecret()
	env := map[string]string{"FRESHET_SOCKET": s.Socket, "FRESHET_IDENTITY": names[0]}
	var doors []*broker.Door
	mux := http.NewServeMux()
	for _, row := range builtin.Endpoints() {
		var carried []string
		for _, name := range names {
			if types[name] == row.Type && (row.Many || len(carried) == 0) {
				carried = append(carried, name)
			}
		}
		if len(carried) == 0 {
			continue
		}
		door, err := s.Broker.OpenDoor(broker.Caller{Door: "session", ID: id}, carried)
		if err != nil {
			l.Close()
			return nil, err
		}
		doors = append(doors, door)
		mux.Handle(row.Path, guard.Handler(nil, row.Deny, row.New(row.Config(), door, guard.NewSecret(secret))))
		for k, v := range row.Environment("http://"+l.Addr().String(), secret, carried[0]) {
			env[k] = v
		}
	}
	server := guard.Server(mux, writeTimeout)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	return &localapi.Session{
		Opened: wire.SessionOpened{ID: id, Environment: env, Types: types},
		Close: func() {
			server.Close()
			<-done
			for _, d := range doors {
				d.Close()
			}
		},
	}, nil
}

// writeTimeout bounds an endpoint's answer, the retrieval it waits for included.
const writeTimeout = 90 * time.Second

// newSecret is 32 random bytes, in characters that every dialect's header takes.
func newSecret() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
