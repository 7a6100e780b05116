package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/broker"
	"freshet.dev/freshet"
	"freshet.dev/internal/wire"
	"freshet.dev/localapi"
	"freshet.dev/mcp"
	"freshet.dev/mcp/approval"
	"freshet.dev/proxy"
)

// Bridges opens bridges of the Model Context Protocol for callers: to a server of theirs, or to one of the configuration's, by its
// name. Those of one user to the same server, on the same terms, are one: they share their connections.
type Bridges struct {
	Broker    *broker.Broker
	Log       *slog.Logger                  // nil logs nothing
	Version   string                        // freshet's
	Approvals *approval.Store               // nil: calls that need an operator's word are refused
	Wait      time.Duration                 // how long a call waits for one, where its bridge does not say; 0: 45 s
	Requests  func(proxy.Event)             // told of each HTTP request to a server; nil: nobody
	Observe   func(mcp.Event)               // told of each of the agents' requests; nil: nobody
	Sessions  func(bridge string, more int) // told of agents that connect, and leave; nil: nobody

	n     atomic.Int64
	quota quota

	mu       sync.Mutex
	own      map[[sha256.Size]byte]*bridge // of callers' own, by what they asked for and who they are
	gateways map[string]*gateway           // of the configuration's, by name
	sessions map[*bridgeSession]struct{}
	live     sync.WaitGroup // sessions
	closed   bool
}

// maxBridges bounds a user's bridges: each holds a connection.
const maxBridges = 512

// Open opens a bridge for an agent of the caller's. It retrieves nothing, connects nowhere, and does not fail because an issuer or
// the server is down.
//
// The server is the caller's choice, as a proxy's upstream is: an identity that is never handed out serves only where what goes out
// is a signature made with it, and what comes back are no keys.
func (b *Bridges) Open(_ context.Context, c broker.Caller, spec wire.MCP) (localapi.MCP, error) {
	return b.open(c, spec)
}

func (b *Bridges) open(c broker.Caller, spec wire.MCP) (_ *bridgeSession, err error) {
	if !b.quota.enter(c.UID, maxBridges) {
		return nil, freshet.Errorf(freshet.Unavailable, "uid %d has %d bridges open, the most there may be", c.UID, maxBridges).
			WithHint("end some of the agents that use them")
	}
	s := &bridgeSession{of: b, caller: c}
	defer func() {
		if err != nil {
			b.quota.leave(c.UID)
		}
	}()
	if spec.Gateway != "" {
		err = s.join(spec)
	} else {
		s.bridge, err = b.share(c, spec)
	}
	if err != nil {
		return nil, err
	}
	if s.serves == nil {
		s.serves = s.bridge.Bridge
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.begin(); err != nil {
		s.cancel()
		s.bridge.leave()
		return nil, err
	}
	return s, nil
}

// begin counts a session among those that are open, unless what let it in has gone meanwhile.
func (s *bridgeSession) begin() error {
	b := s.of
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed
	}
	if s.gateway != "" && !b.still(s, b.gateways) {
		return freshet.Errorf(freshet.Unavailable, "bridge %s has been configured anew", s.gateway).WithHint("try again")
	}
	if b.sessions == nil {
		b.sessions = make(map[*bridgeSession]struct{})
	}
	b.sessions[s] = struct{}{}
	b.live.Add(1)
	return nil
}

// share finds the bridge that a caller asks for among those that are open, or makes it. Its caller holds it.
func (b *Bridges) share(c broker.Caller, spec wire.MCP) (*bridge, error) {
	key, err := keyOf(c, spec)
	if err != nil {
		return nil, err
	}
	if have := b.shared(key); have != nil {
		return have, nil
	}
	// Without the lock: files are read, which may take time.
	settings, err := b.read(c, &spec)
	if err != nil {
		return nil, invalid(err)
	}
	settings.scope = hex.EncodeToString(key[:])
	made, err := b.bridge(settings, c, broker.Caller{Door: "bridge", ID: strconv.FormatInt(b.n.Add(1), 10)})
	if err != nil {
		return nil, err
	}
	have := b.keep(key, made)
	if have != made {
		made.leave()
	}
	return have, nil
}

// shared is the bridge of a key, if one is open. Its caller holds it.
func (b *Bridges) shared(key [sha256.Size]byte) *bridge {
	b.mu.Lock()
	defer b.mu.Unlock()
	if have := b.own[key]; have != nil && enter(&have.users) {
		return have
	}
	return nil
}

// keep has a bridge shared, unless another has become that meanwhile. Its caller holds the one that it is given.
func (b *Bridges) keep(key [sha256.Size]byte, made *bridge) *bridge {
	b.mu.Lock()
	defer b.mu.Unlock()
	if have := b.own[key]; have != nil && enter(&have.users) {
		return have
	}
	if b.own == nil {
		b.own = make(map[[sha256.Size]byte]*bridge)
	}
	maps.DeleteFunc(b.own, func(_ [sha256.Size]byte, old *bridge) bool { return old.users.Load() == 0 })
	b.own[key] = made
	return made
}

// keyOf tells apart what may not be shared: what is asked for, and all that an identity's policy looks at.
func keyOf(c broker.Caller, spec wire.MCP) (key [sha256.Size]byte, err error) {
	asked, err := json.Marshal(struct {
		UID      uint32
		GIDs     []uint32
		Ancestry []string
		Spec     wire.MCP
	}{c.UID, slices.Sorted(slices.Values(c.GIDs)), c.Ancestry, spec})
	if err != nil {
		return key, freshet.Errorf(freshet.Invalid, "settings: not JSON")
	}
	return sha256.Sum256(asked), nil
}

// Tools asks the server of a bridge for its tools: a JSON array of them as the server tells them, for a snapshot.
func (b *Bridges) Tools(ctx context.Context, c broker.Caller, spec wire.MCP) (json.RawMessage, error) {
	if spec.Gateway != "" && !b.Broker.Oversees(c) {
		return nil, freshet.Errorf(freshet.Denied, "only the daemon's own user and root may see which tools a bridge leaves out")
	}
	upstream := spec.Upstream
	spec.Upstream = ""
	s, err := b.open(c, spec)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var servers []string
	for i := range s.bridge.settings.upstreams {
		servers = append(servers, s.bridge.settings.upstreams[i].name)
	}
	switch {
	case upstream == "" && len(servers) > 1:
		return nil, freshet.Errorf(freshet.Invalid, "bridge %s has several servers, and none was named", spec.Gateway).
			WithHint("name one of them with --upstream: %s", strings.Join(servers, ", "))
	case upstream == "":
		upstream = servers[0]
	case !slices.Contains(servers, upstream):
		return nil, freshet.Errorf(freshet.Invalid, "bridge %s has no server %q", spec.Gateway, upstream).
			WithHint("name one of its servers with --upstream: %s", strings.Join(servers, ", "))
	}
	list, err := s.bridge.Tools(ctx, upstream)
	if err != nil {
		return nil, freshet.AsError(err)
	}
	doc, err := json.Marshal(list)
	if err != nil {
		return nil, freshet.Errorf(freshet.Malformed, "the server's tools cannot be told")
	}
	if list == nil {
		doc = json.RawMessage("[]")
	}
	return doc, nil
}

// Close ends every session, and returns when they have ended their own with servers, or after a while.
func (b *Bridges) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	b.stop(ctx)
}

// stop is Close up to ctx. What is asked over HTTP is answered first.
func (b *Bridges) stop(ctx context.Context) {
	b.mu.Lock()
	b.closed = true
	gateways := b.gateways
	b.gateways = nil
	for s := range b.sessions {
		s.cancel()
	}
	b.mu.Unlock()
	var ending sync.WaitGroup
	for _, g := range gateways {
		ending.Go(func() {
			g.bridge.retire(ctx)
			g.bridge.leave()
		})
	}
	ending.Go(b.live.Wait)
	done := make(chan struct{})
	go func() { ending.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// bridgeSession is one agent's use of a bridge.
type bridgeSession struct {
	of      *Bridges
	caller  broker.Caller
	bridge  *bridge
	serves  *mcp.Bridge // that, or its part that reads alone
	gateway string      // by whose name it was opened; "" for one of the caller's own
	ctx     context.Context
	cancel  context.CancelFunc
	once    sync.Once
}

// Serve implements [localapi.MCP].
func (s *bridgeSession) Serve(ctx context.Context, rw io.ReadWriteCloser) error {
	defer context.AfterFunc(ctx, s.cancel)()
	if told := s.of.Sessions; told != nil {
		told(s.bridge.settings.name, 1)
		defer told(s.bridge.settings.name, -1)
	}
	return s.serves.Serve(s.ctx, rw, fmt.Sprintf("uid:%d", s.caller.UID))
}

// Close implements [localapi.MCP].
func (s *bridgeSession) Close() {
	s.once.Do(func() {
		b := s.of
		s.cancel()
		b.mu.Lock()
		delete(b.sessions, s)
		b.mu.Unlock()
		s.bridge.leave()
		b.quota.leave(s.caller.UID)
		b.live.Done()
	})
}
