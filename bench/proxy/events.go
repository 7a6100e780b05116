package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"freshet.dev/bench/internal/measure"
)

func eventCase() measure.Case {
	c := measure.Case{
		Name: "proxy/first-event", Title: "A stream's first event",
		About: "Server-sent events, as language models answer with: from the moment when the upstream sends the first, which it writes into it, " +
			"to the moment when the caller has read it. The next comes 10 ms later, so that who collects them shows it. " +
			"One caller, with 200 such streams one after another, on a connection that is kept.",
		Columns: []measure.Column{
			{Name: "p50", Unit: measure.Nanoseconds, Compare: true},
			{Name: "p99", Unit: measure.Nanoseconds, Compare: true},
		},
	}
	w := new(world)
	for _, y := range []*way{bearer, bare, direct} {
		c.Subjects = append(c.Subjects, measure.Subject{Name: y.name, Role: y.role, Note: y.note, Start: func(s *measure.Setup) (measure.Round, error) {
			v, err := w.run(s, y)
			if err != nil {
				return nil, err
			}
			return v.eventRound(s), nil
		}})
	}
	return c
}

func (v *server) eventRound(s *measure.Setup) measure.Round {
	streams := s.Size(200, 3)
	return func() ([]float64, error) {
		if err := v.check(s); err != nil {
			return nil, err
		}
		client := v.client()
		defer client.close()
		times := make([]float64, streams)
		for i := range times {
			took, err := client.event(s)
			if err != nil {
				return nil, err
			}
			times[i] = float64(took)
		}
		slices.Sort(times)
		at := func(q float64) float64 { return times[int(q*float64(streams-1))] }
		return []float64{at(0.5), at(0.99)}, nil
	}
}

// client is a caller that keeps its connection.
type client struct {
	*server
	transport *http.Transport
}

func (v *server) client() *client {
	return &client{v, &http.Transport{DisableCompression: true, WriteBufferSize: chunk, ReadBufferSize: chunk}}
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// send sends a request, and wants an answer of status 200.
func (c *client) send(s *measure.Setup, method, path string, body io.Reader, size int64, header ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(s.Context, method, "http://"+c.address+c.prefix+path, body)
	if err != nil {
		return nil, err
	}
	r.ContentLength = size
	r.Header.Set("Authorization", "Bearer "+c.secret)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	resp, err := c.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%w: status %d", measure.ErrWrong, resp.StatusCode)
	}
	return resp, nil
}

// event reads a stream, and tells how long its first event took.
func (c *client) event(s *measure.Setup) (time.Duration, error) {
	resp, err := c.send(s, "GET", "/events", nil, 0, "Accept: text/event-stream")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body := bufio.NewReader(resp.Body)
	line, err := body.ReadString('\n')
	if err != nil {
		return 0, err
	}
	now := time.Now().UnixNano()
	sent, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(line, "data:")), 10, 64)
	if err != nil || sent > now {
		return 0, fmt.Errorf("%w: the first event is %q at %d", measure.ErrWrong, line, now)
	}
	rest, err := io.ReadAll(body)
	if err == nil && !strings.HasSuffix(string(rest), "data: end\n\n") {
		err = fmt.Errorf("%w: the stream ends with %q", measure.ErrWrong, rest)
	}
	return time.Duration(now - sent), err
}
