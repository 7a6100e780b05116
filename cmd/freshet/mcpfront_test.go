package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/client"
	"freshet.dev/freshet"
)

// rig is a front between an agent and bridges that a test plays. It lives in a synctest bubble.
type rig struct {
	ignore sync.Once
	t      *testing.T
	front  *front
	agent  *end // what the agent holds
	peers  chan *end
	done   chan struct{} // the front has returned
	stop   context.CancelFunc

	mu     sync.Mutex
	refuse error       // what the next openings come to; nil: connections
	opened []bool      // whether it was asked to be its own bridge
	times  []time.Time // when
}

// end is one end of a stream of lines.
type end struct {
	t    *testing.T
	r    *bufio.Reader
	w    io.WriteCloser
	said chan struct{} // closed when all that was said is written
}

// say writes lines, in their order, as soon as they are read: pipes hold nothing.
func (e *end) say(lines ...string) {
	before, said := e.said, make(chan struct{})
	e.said = said
	go func() {
		defer close(said)
		if before != nil {
			<-before
		}
		for _, l := range lines {
			_, _ = io.WriteString(e.w, l+"\n") // who wants it there will miss it
		}
	}()
}

// hangUp closes the end, once all that was said is written.
func (e *end) hangUp() {
	if e.said != nil {
		<-e.said
	}
	e.w.Close()
}

// hears wants exactly these lines next.
func (e *end) hears(want ...string) {
	e.t.Helper()
	for _, w := range want {
		if got := e.next(); got != w {
			e.t.Fatalf("got  %.300q\nwant %.300q", got, w)
		}
	}
}

func (e *end) next() string {
	e.t.Helper()
	l, err := e.r.ReadString('\n')
	if err != nil {
		e.t.Fatalf("after %q: %v", l, err)
	}
	return strings.TrimSuffix(l, "\n")
}

func newRig(t *testing.T, most bounds) *rig {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	r := &rig{t: t, peers: make(chan *end, 10000), done: make(chan struct{}), agent: &end{t: t, r: bufio.NewReaderSize(outR, 1<<20), w: inW}}
	r.front = &front{in: inR, out: outW, log: slog.New(slog.DiscardHandler), open: r.open, most: most}
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	conn, err := r.open(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.done)
		defer outW.Close()
		r.front.run(ctx, conn)
	}()
	return r
}

func (r *rig) open(_ context.Context, own bool) (io.ReadWriteCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened, r.times = append(r.opened, own), append(r.times, time.Now())
	if r.refuse != nil {
		return nil, r.refuse
	}
	front, back := net.Pipe()
	r.peers <- &end{t: r.t, r: bufio.NewReaderSize(back, 1<<20), w: back}
	return front, nil
}

func (r *rig) refuses(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = err
}

func (r *rig) openings() (own []bool, times []time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.opened), slices.Clone(r.times)
}

// finish ends the agent's side, and wants the front to end within two seconds.
func (r *rig) finish() {
	r.t.Helper()
	r.agent.hangUp()
	r.ends(2 * time.Second)
}

func (r *rig) ends(within time.Duration) {
	r.t.Helper()
	r.deaf()
	select {
	case <-r.done:
	case <-time.After(within):
		r.t.Errorf("it has not ended after %v", within)
		r.stop()
		<-r.done
	}
}

// deaf has the agent read all that it is told yet, and look at nothing.
func (r *rig) deaf() {
	r.ignore.Do(func() { go func() { _, _ = io.Copy(io.Discard, r.agent.r) }() })
}

// play runs a test in a bubble.
func play(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	playWith(t, bounds{}, f)
}

func playWith(t *testing.T, most bounds, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, most)
		defer synctest.Wait()
		defer func() {
			r.stop()
			r.agent.w.Close()
			r.deaf()
			<-r.done
			for len(r.peers) > 0 {
				(<-r.peers).w.Close()
			}
		}()
		f(t, r)
	})
}

const (
	initialize  = `{"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"a","version":"1"}},"jsonrpc":"2.0","id":0}`
	initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	welcome     = `{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25"}}`
	callOne     = `{"method":"tools/call","params":{"name":"delete","arguments":{"id":"not this"}},"jsonrpc":"2.0","id":1}`
	listTwo     = `{"jsonrpc":"2.0","id":"two","method":"tools/list"}`
)

// begin opens a session as clients up to 2025-11-25 do.
func (r *rig) begin() *end {
	r.t.Helper()
	p := <-r.peers
	r.agent.say(initialize)
	p.hears(initialize)
	p.say(welcome)
	r.agent.hears(welcome)
	r.agent.say(initialized)
	p.hears(initialized)
	return p
}

func goneError() error { return gone(client.ErrDied) }

// TestFrontPassesLinesAsTheyAre: but for those on which it has something to say, nothing in them is changed.
func TestFrontPassesLinesAsTheyAre(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		p := r.begin()
		for _, l := range []string{
			callOne, listTwo, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.50}}`,
			`{"id":9007199254740992,"jsonrpc":"2.0","method":"x/y","params":{"a":"  \u00e9 é","b":1.0e3,"b":2}}`, `{"jsonrpc" : "2.0", "id":-3 ,"method":"ping" }`,
		} {
			r.agent.say(l)
			p.hears(l)
		}
		for _, l := range []string{
			`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"{\"id\":5}"}]}}`, `{"jsonrpc":"2.0","id":"two","error":{"code":-32603,"message":"no"}}`,
			`{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{}}`, `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`,
			`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"what?"}}`,
		} {
			p.say(l)
			r.agent.hears(l)
		}
		r.agent.say(`{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}`)
		p.hears(`{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}`)
		r.agent.say("", "   ", `  {"jsonrpc":"2.0","method":"a"}  `+"\r")
		p.hears(`{"jsonrpc":"2.0","method":"a"}`)
	})
}

// TestFrontAnswersWhatIsNoMessage: the bridge is not told, as its SDK would end the session, and what comes next goes on.
func TestFrontAnswersWhatIsNoMessage(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		p := <-r.peers
		for said, want := range map[string]string{
			`{"jsonrpc":"2.0","id":1,"method":`:   `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not JSON"}}`,
			`hello`:                               `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not JSON"}}`,
			`42`:                                  `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"not a JSON-RPC message: not a JSON object"}}`,
			`[]`:                                  `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"not a JSON-RPC message: not a JSON object"}}`,
			`{"id":7,"method":"ping"}`:            `{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"not a JSON-RPC message: \"jsonrpc\" is not \"2.0\""}}`,
			`{"jsonrpc":"2.0","id":8,"method":5}`: `{"jsonrpc":"2.0","id":8,"error":{"code":-32600,"message":"not a JSON-RPC message: its method is not a name"}}`,
			`{"jsonrpc":"2.0","id":9}`:            `{"jsonrpc":"2.0","id":9,"error":{"code":-32600,"message":"not a JSON-RPC message: neither a method nor an answer"}}`,
			`{"jsonrpc":"2.0","result":{}}`:       `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"not a JSON-RPC message: an answer without an id"}}`,
			`{"jsonrpc":"2.0","id":1.5,"method":"ping"}`:                                                                   `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"not a JSON-RPC message: its id is neither a string nor a whole number"}}`,
			`{"jsonrpc":"2.0","id":9007199254740994,"method":"ping"}`:                                                      `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"not a JSON-RPC message: its id is neither a string nor a whole number"}}`,
			`{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}`:                                                               `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"not a JSON-RPC message: its id is neither a string nor a whole number"}}`,
			`{"jsonrpc":"2.0","id":3,"method":"a","params":` + strings.Repeat(`[`, 1000) + strings.Repeat(`]`, 1000) + `}`: `{"jsonrpc":"2.0","id":3,"error":{"code":-32600,"message":"not a JSON-RPC message: nested over 1000 levels deep"}}`,
		} {
			r.agent.say(said)
			r.agent.hears(want)
		}
		r.agent.say(`[`+listTwo+`, 5, {"jsonrpc":"2.0","id":3,"method":"ping"}]`, callOne)
		p.hears(listTwo)
		r.agent.hears(`{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"not a JSON-RPC message: not a JSON object"}}`)
		p.hears(`{"jsonrpc":"2.0","id":3,"method":"ping"}`, callOne)
	})
}

// TestFrontBoundsALine: what is too long is not passed on, and whose answer it is or awaits is told wherever in it that stands.
func TestFrontBoundsALine(t *testing.T) {
	most := bounds{}
	if most.fill(); most != (bounds{maxAgentLine, maxBridgeLine}) || volume(most.agent) != "16 MiB" || volume(most.bridge) != "64 MiB" {
		t.Errorf("the usual bounds are %+v: %s and %s", most, volume(most.agent), volume(most.bridge))
	}
	most = bounds{10_000, 40_000} // more than a line is read through
	playWith(t, most, func(t *testing.T, r *rig) {
		p := <-r.peers
		long := strings.Repeat(`x`, most.agent)
		for said, want := range map[string]string{
			`{"jsonrpc":"2.0","id":5,"method":"a","params":{"id":6,"t":"` + long + `"}}`:      `{"jsonrpc":"2.0","id":5,"error":{"code":-32600,"message":"a message of over 10000 bytes"}}`,
			`{"method":"a","params":{"t":"` + long + `\"}","id":6},"jsonrpc":"2.0","id":"5"}`: `{"jsonrpc":"2.0","id":"5","error":{"code":-32600,"message":"a message of over 10000 bytes"}}`,
			`{"jsonrpc":"2.0","method":"a","params":"` + long + `"}`:                          `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"a message of over 10000 bytes"}}`,
			long + "x": `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"a message of over 10000 bytes"}}`,
		} {
			r.agent.say(said)
			r.agent.hears(want)
		}
		frame := `{"jsonrpc":"2.0","id":7,"method":"a","params":""}`
		frame = strings.Replace(frame, `""`, `"`+long[:most.agent-len(frame)]+`"`, 1)
		r.agent.say(frame)
		p.hears(frame)
		p.say(`{"jsonrpc":"2.0","result":{"t":"`+strings.Repeat("y", most.bridge)+`"},"id":7}`, `{"jsonrpc":"2.0","method":"b","params":"`+strings.Repeat("y", most.bridge)+`"}`, `{"jsonrpc":"2.0","method":"c"}`)
		r.agent.hears(`{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"an answer of over 40000 bytes","data":{"kind":"malformed"}}}`, `{"jsonrpc":"2.0","method":"c"}`)
	})
}

// lostCall and lostRequest are the answers to what was under way when a connection ended.
const (
	lostText    = `freshet: the daemon ended while this call was under way, and nobody knows whether it ran. Find out what came of it before you call again; a call that only reads can be repeated now.`
	lostCall    = `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"` + lostText + `"}],"isError":true}}`
	lostRequest = `{"jsonrpc":"2.0","id":"two","error":{"code":-32000,"message":"the daemon ended while this was under way; send it again","data":{"kind":"unavailable"}}}`
)

// TestFrontOutlivesTheDaemon: what was under way is answered, once, and never sent again; the session is opened anew without the agent's
// doing, and what it says meanwhile reaches the next daemon once.
func TestFrontOutlivesTheDaemon(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		p := r.begin()
		for range 3 {
			r.agent.say(callOne, listTwo)
			p.hears(callOne, listTwo)
			r.refuses(goneError())
			p.hangUp()
			got := []string{r.agent.next(), r.agent.next()}
			if slices.Sort(got); !slices.Equal(got, []string{lostRequest, lostCall}) && !slices.Equal(got, []string{lostCall, lostRequest}) {
				t.Fatalf("got %q", got)
			}
			during := []string{`{"jsonrpc":"2.0","id":10,"method":"tools/list"}`, `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`, `{"jsonrpc":"2.0","id":11,"method":"ping"}`}
			r.agent.say(during...)
			time.Sleep(3 * time.Second)
			r.refuses(nil)
			p = <-r.peers
			p.hears(initialize)
			p.say(`{"jsonrpc":"2.0","method":"notifications/message","params":{}}`, welcome)
			r.agent.hears(`{"jsonrpc":"2.0","method":"notifications/message","params":{}}`)
			p.hears(initialized)
			p.hears(during...)
			for _, id := range []string{"10", "11"} {
				p.say(`{"jsonrpc":"2.0","id":` + id + `,"result":{}}`)
				r.agent.hears(`{"jsonrpc":"2.0","id":` + id + `,"result":{}}`)
			}
		}
		r.finish()
	})
}

// TestFrontOfTheStatelessEraReplaysNothing: since 2026-07-28 there is no session to open, and results have a type.
func TestFrontOfTheStatelessEraReplaysNothing(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		p := <-r.peers
		r.agent.say(callOne)
		p.hears(callOne)
		p.hangUp()
		r.agent.hears(strings.Replace(lostCall, `"result":{`, `"result":{"resultType":"complete",`, 1))
		r.agent.say(listTwo)
		(<-r.peers).hears(listTwo)
	})
}

// TestFrontRepeatsAnInitializeThatIsNotAnswered: it is what every connection begins with, and does nothing.
func TestFrontRepeatsAnInitializeThatIsNotAnswered(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		p := <-r.peers
		r.agent.say(initialize)
		for range 3 {
			p.hears(initialize)
			p.hangUp()
			p = <-r.peers
		}
		p.hears(initialize)
		p.say(welcome)
		r.agent.hears(welcome)
		r.agent.say(initialized, listTwo)
		p.hears(initialized, listTwo)
	})
}

// TestAnswerToOneQuestionIsNeverToAnother: the next bridge counts its questions from 1 too, and an agent's late yes is to none of those.
func TestAnswerToOneQuestionIsNeverToAnother(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		p := r.begin()
		ask := `{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"delete?"}}`
		yes := func(id string) string { return `{"jsonrpc":"2.0","id":` + id + `,"result":{"action":"accept"}}` }
		p.say(ask)
		r.agent.hears(ask)
		cancelled := []string{strings.Replace(ask, `"id":1`, `"id":0`, 1), `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":0}}`}
		p.say(cancelled...) // once is enough
		r.agent.hears(cancelled...)
		p.hangUp()
		r.agent.hears(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"the connection to the bridge has ended","requestId":1}}`)
		for n := 1; n <= 2; n++ {
			p = <-r.peers
			p.hears(initialize)
			p.say(welcome)
			p.hears(initialized)
			p.say(ask, strings.Replace(ask, `"id":1`, `"id":"x"`, 1))
			id := fmt.Sprintf(`"freshet:%d:1"`, n)
			r.agent.hears(strings.Replace(ask, `"id":1`, `"id":`+id, 1), strings.Replace(ask, `"id":1`, fmt.Sprintf(`"id":"freshet:%d:\"x\""`, n), 1))
			r.agent.say(yes("1"), yes(`"freshet:0:1"`), yes(fmt.Sprintf(`"freshet:%d:1"`, n-1)), yes(id), yes(id), yes(fmt.Sprintf(`"freshet:%d:\"x\""`, n)), listTwo)
			p.hears(yes("1"), yes(`"x"`), listTwo)
			p.say(`{"jsonrpc":"2.0","id":"two","result":{}}`)
			r.agent.hears(`{"jsonrpc":"2.0","id":"two","result":{}}`)
			p.say(strings.Replace(ask, `"id":1`, `"id":5`, 1), `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}`)
			want := fmt.Sprintf(`"freshet:%d:5"`, n)
			r.agent.hears(strings.Replace(ask, `"id":1`, `"id":`+want, 1), `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+want+`}}`)
			p.say(strings.Replace(ask, `"id":1`, `"id":6`, 1))
			want = fmt.Sprintf(`"freshet:%d:6"`, n)
			r.agent.hears(strings.Replace(ask, `"id":1`, `"id":`+want, 1))
			p.hangUp()
			r.agent.hears(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"the connection to the bridge has ended","requestId":` + want + `}}`)
		}
	})
}

// TestWhatIsCancelledIsAnsweredNoMore: nobody waits for it.
func TestWhatIsCancelledIsAnsweredNoMore(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		p := <-r.peers
		cancel := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`
		r.agent.say(callOne, listTwo, cancel)
		p.hears(callOne, listTwo, cancel)
		p.hangUp()
		r.agent.hears(lostRequest)
		r.agent.say(listTwo)
		p = <-r.peers
		p.hears(listTwo)
		p.say(`{"jsonrpc":"2.0","id":"two","result":{}}`)
		r.agent.hears(`{"jsonrpc":"2.0","id":"two","result":{}}`)
	})
}

// TestHalfALineIsNone: a daemon that is killed while it writes leaves one.
func TestHalfALineIsNone(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		p := r.begin()
		r.agent.say(callOne)
		p.hears(callOne)
		if _, err := io.WriteString(p.w, `{"jsonrpc":"2.0","id":1,"result":{"content":[`); err != nil {
			t.Error(err)
		}
		p.hangUp()
		r.agent.hears(lostCall)
	})
}

// TestFrontEndsWithItsAgent: at once, and answers that are on their way are waited for a second.
func TestFrontEndsWithItsAgent(t *testing.T) {
	for _, how := range []string{"idle", "a call hangs", "the bridge is gone", "nobody reads", "a signal"} {
		t.Run(how, func(t *testing.T) {
			play(t, func(t *testing.T, r *rig) {
				p := r.begin()
				began := time.Now()
				switch how {
				case "a call hangs":
					r.agent.say(callOne)
					p.hears(callOne)
				case "the bridge is gone":
					r.refuses(goneError())
					p.hangUp()
					synctest.Wait()
					r.agent.say(callOne)
				case "nobody reads":
					p.say(welcome)
				case "a signal":
					r.agent.say(callOne)
					p.hears(callOne)
					r.stop()
				}
				if how != "a signal" {
					r.agent.hangUp()
				}
				if how == "nobody reads" {
					select {
					case <-r.done:
					case <-time.After(time.Minute):
						t.Error("it has not ended")
					}
				} else {
					r.ends(2 * time.Second)
				}
				if took := time.Since(began); took > 0 && (how == "idle" || how == "a signal" || how == "the bridge is gone") {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
	t.Run("an answer comes", func(t *testing.T) {
		play(t, func(t *testing.T, r *rig) {
			p := r.begin()
			r.agent.say(listTwo)
			p.hears(listTwo)
			r.agent.hangUp()
			time.Sleep(lingering/2 + time.Microsecond)
			p.say(`{"jsonrpc":"2.0","id":"two","result":{}}`)
			r.agent.hears(`{"jsonrpc":"2.0","id":"two","result":{}}`)
			r.ends(time.Microsecond)
		})
	})
}

// TestFrontServesByItselfOnlyForARequestThatHasWaited: hundreds of idle fronts need no bridge each while a daemon is replaced.
func TestFrontServesByItselfOnlyForARequestThatHasWaited(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		p := r.begin()
		r.refuses(goneError())
		p.hangUp()
		time.Sleep(time.Hour)
		own, times := r.openings()
		if slices.Contains(own[1:], true) {
			t.Error("it served by itself, though nobody waited")
		}
		if n := len(times); n < 1000 || n > 4000 {
			t.Errorf("it looked for the daemon %d times in an hour", n)
		}
		before := time.Now()
		r.agent.say(listTwo)
		synctest.Wait()
		own, times = r.openings()
		if !own[len(own)-1] || !times[len(times)-1].Equal(before) {
			t.Errorf("a request that came late is served by itself: %v, after %v", own[len(own)-1], times[len(times)-1].Sub(before))
		}
	})
	play(t, func(t *testing.T, r *rig) {
		p := r.begin()
		r.refuses(goneError())
		p.hangUp()
		synctest.Wait()
		began := time.Now()
		r.agent.say(listTwo)
		time.Sleep(time.Minute)
		own, times := r.openings()
		i := slices.Index(own[1:], true) + 1
		if after := times[i].Sub(began); i == 0 || after < returning || after > returning+latest {
			t.Errorf("a request that came early: it served by itself after %v", after)
		}
	})
}

// TestFrontTellsWhyItCannotConnect: the agent's requests are answered with what to do, and it goes on when that was done.
func TestFrontTellsWhyItCannotConnect(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		p := r.begin()
		r.refuses(freshet.Errorf(freshet.Denied, "identity prod: not allowed").WithHint("ask\nan operator"))
		p.hangUp()
		synctest.Wait()
		for range 3 {
			r.agent.say(callOne, listTwo)
			r.agent.hears(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"freshet: it was not called: identity prod: not allowed; ask an operator"}],"isError":true}}`)
			var got struct {
				ID    string
				Error struct {
					Code    int
					Message string
					Data    map[string]string
				}
			}
			if err := json.Unmarshal([]byte(r.agent.next()), &got); err != nil {
				t.Fatal(err)
			}
			if got.ID != "two" || got.Error.Code != codeServer || got.Error.Message != "identity prod: not allowed; ask an operator" || !reflect.DeepEqual(got.Error.Data, map[string]string{"kind": "denied", "hint": "ask\nan operator"}) {
				t.Errorf("got %+v", got)
			}
		}
		r.refuses(nil)
		r.agent.say(listTwo)
		p = <-r.peers
		p.hears(initialize)
		p.say(welcome)
		p.hears(initialized, listTwo)
	})
}

// TestFrontTellsOfADaemonThatDoesNotTakeTheSession: it refuses the agent's initialize, or never answers it.
func TestFrontTellsOfADaemonThatDoesNotTakeTheSession(t *testing.T) {
	for _, answer := range []string{`{"jsonrpc":"2.0","id":0,"error":{"code":-32600,"message":"too old"}}`, ""} {
		play(t, func(t *testing.T, r *rig) {
			p := r.begin()
			p.hangUp()
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				for {
					select {
					case p := <-r.peers:
						if _, err := p.r.ReadString('\n'); err == nil && answer != "" {
							p.say(answer)
						}
					case <-stop:
						return
					}
				}
			}()
			r.agent.say(listTwo)
			want := `the bridge does not take the agent's initialize again: too old`
			if answer == "" {
				want = `the daemon does not answer`
			}
			if got := r.agent.next(); !strings.Contains(got, `"id":"two","error":{"code":-32000,"message":"`+want) {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestFrontDoesNotSpin: a daemon that ends each connection at once, or that says nothing to an initialize, is not asked without end.
func TestFrontDoesNotSpin(t *testing.T) {
	play(t, func(t *testing.T, r *rig) {
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case p := <-r.peers:
					p.hangUp()
				case <-stop:
					return
				}
			}
		}()
		time.Sleep(time.Minute)
		if _, times := r.openings(); len(times) > 120 || len(times) < 20 {
			t.Errorf("it connected %d times in a minute", len(times))
		}
		close(stop)
	})
	play(t, func(t *testing.T, r *rig) {
		p := r.begin()
		p.hangUp()
		time.Sleep(5 * time.Minute)
		if _, times := r.openings(); len(times) > 40 || len(times) < 10 {
			t.Errorf("it connected %d times in five minutes", len(times))
		}
	})
}

// TestFrontBoundsWhatIsUnderWay: an agent that never stops asking is told to.
func TestFrontBoundsWhatIsUnderWay(t *testing.T) {
	request := func(i int) string { return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"a"}`, i) }
	play(t, func(t *testing.T, r *rig) {
		p := <-r.peers
		for i := range maxFlights {
			r.agent.say(request(i))
			p.hears(request(i))
		}
		r.agent.say(request(maxFlights))
		r.agent.hears(`{"jsonrpc":"2.0","id":1000,"error":{"code":-32000,"message":"1000 requests are not answered yet, the most there may be; send it again later","data":{"kind":"unavailable"}}}`)
		p.say(`{"jsonrpc":"2.0","id":5,"result":{}}`)
		r.agent.hears(`{"jsonrpc":"2.0","id":5,"result":{}}`)
		r.agent.say(request(maxFlights + 1))
		p.hears(request(maxFlights + 1))
	})
	// One that does not read what it is told keeps nobody else from what the front knows.
	play(t, func(t *testing.T, r *rig) {
		p := <-r.peers
		for i := range maxFlights {
			r.agent.say(request(i))
			p.hears(request(i))
		}
		r.agent.say(request(maxFlights))
		synctest.Wait()
		if !r.front.mu.TryLock() {
			t.Fatal("the front waits for its agent, and holds what it knows meanwhile")
		}
		r.front.mu.Unlock()
	})
}

// TestFrontHoldsALineThatWasNotTaken: a write that fails before the line was whole has reached nobody.
func TestFrontHoldsALineThatWasNotTaken(t *testing.T) {
	for taken, again := range map[int]bool{0: true, len(callOne) / 2: true, len(callOne) - 1: true, len(callOne): false, len(callOne) + 1: false} {
		play(t, func(t *testing.T, r *rig) {
			p := r.begin()
			r.agent.say(callOne)
			// A pipe hands over as much as is read.
			small := make([]byte, taken)
			if _, err := io.ReadFull(p.w.(net.Conn), small); err != nil {
				t.Fatal(err)
			}
			p.hangUp()
			if !again {
				r.agent.hears(lostCall)
			}
			p = <-r.peers
			p.hears(initialize)
			p.say(welcome)
			p.hears(initialized)
			if again {
				p.hears(callOne)
				return
			}
			r.agent.say(listTwo)
			p.hears(listTwo)
		})
	}
}
