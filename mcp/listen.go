package mcp

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// listen answers a session's standing GET at once, with a stream that lasts as long as the session does and holds whatever the
// upstream sends on its own.
//
// The SDK waits for the headers of that answer before a session is open, which some servers send with their first event; and it
// ends the session, and the calls on it, once the stream has broken five times. Neither is a reason to: it is opened again here, from
// the last event on.
func (r *round) listen(req *http.Request) *http.Response {
	in, out := io.Pipe()
	go func() {
		out.CloseWithError(r.follow(req, out))
	}()
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: in, ContentLength: -1, Request: req,
	}
}

func (r *round) follow(req *http.Request, out io.Writer) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = r.panicked("what "+r.name+" tells of its own accord", p)
		}
	}()
	ctx := req.Context()
	last, wait := "", time.Second
	for !r.lost.Load() {
		again := req.Clone(ctx)
		if last != "" {
			again.Header.Set("Last-Event-ID", last)
		}
		resp, err := r.next.RoundTrip(again)
		if err == nil {
			kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
			switch code := resp.StatusCode; {
			case code == http.StatusOK && kind == "text/event-stream":
				id, any, err := r.copyEvents(out, resp.Body)
				resp.Body.Close()
				if err != nil {
					return err
				}
				if id != "" {
					last = id
				}
				if any {
					wait = time.Second
				}
			case code == http.StatusNotFound || code == http.StatusMethodNotAllowed || code == http.StatusNotImplemented: // it has no such stream
				resp.Body.Close()
				<-ctx.Done()
				return context.Cause(ctx)
			default: // a credential that is not known there yet, a gateway that had enough
				resp.Body.Close()
			}
		}
		t := time.NewTimer(wait + rand.N(wait))
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
		wait = min(wait*2, 30*time.Second)
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// copyEvents copies whole messages, and leaves out what is none. It yields the last event's ID and whether there was one at all; its
// error is the writer's.
func (r *round) copyEvents(out io.Writer, in io.Reader) (last string, some bool, err error) {
	lines := bufio.NewReader(in)
	for {
		raw, data, message, err := readEvent(lines)
		if err != nil {
			return last, some, nil
		}
		some = true
		for line := range bytes.Lines(raw) {
			if text, ok := bytes.CutPrefix(line, []byte("id:")); ok && len(text) < 1024 {
				last = string(bytes.TrimSpace(text))
			}
		}
		if len(data) > 0 && message {
			m, err := jsonrpc.DecodeMessage(data)
			if err != nil {
				continue
			}
			switch m := m.(type) {
			case *jsonrpc.Request:
				if !m.IsCall() {
					r.arrived.Add(1)
				}
				if clean := marked(m, ""); clean != nil {
					raw = swap(raw, clean)
				}
			case *jsonrpc.Response:
				mended, ok := mend(m)
				if !ok {
					continue
				}
				if mended != nil {
					raw = swap(raw, mended)
				}
			}
		}
		if _, err := out.Write(raw); err != nil {
			return last, some, err
		}
	}
}
