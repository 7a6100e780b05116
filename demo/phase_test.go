package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

// TestCrowd has callers that take different times, one that fails and one that never returns: all are counted, each with its
// own wait.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		after := func(d time.Duration, err error) caller {
			return func(ctx context.Context) error {
				select {
				case <-time.After(d):
					return err
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		free := make(chan struct{})
		c := crowd{
			after(100*time.Millisecond, nil), after(300*time.Millisecond, nil), after(200*time.Millisecond, errors.New("refused")),
			after(time.Hour, nil), func(context.Context) error { <-free; return nil },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		r := c.ask(ctx)
		close(free)
		if want := []float64{100, 200, 300, 2000, 3000}; !slices.Equal(r.WaitsMS, want) {
			t.Errorf("waits: got %v ms, want %v", r.WaitsMS, want)
		}
		if r.Failures != 3 || r.WallMS != 3000 || r.Failure != "no answer yet when the demo went on" {
			t.Errorf("got %+v", r)
		}
		f := r.figures()
		if f.Callers != 5 || f.P50MS != 300 || f.P99MS != 3000 || f.WallMS != 3000 || f.Failures != 3 {
			t.Errorf("got %+v", f)
		}
		synctest.Wait()
	})
}

func TestPercentile(t *testing.T) {
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(i+1))
	}
	for _, test := range []struct {
		values []float64
		p      float64
		want   float64
	}{
		{nil, 0.5, 0}, {[]float64{7}, 0.5, 7}, {[]float64{7}, 0.99, 7}, {[]float64{1, 2}, 0.5, 1}, {[]float64{1, 2}, 0.99, 2},
		{[]float64{1, 2, 3}, 0.5, 2}, {hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 1, 100},
	} {
		if got := percentile(test.values, test.p); got != test.want {
			t.Errorf("percentile %v of %d values: got %v, want %v", test.p, len(test.values), got, test.want)
		}
	}
}

// TestPhaseRefusesWhatIsNoOrder covers a person who runs the hidden command.
func TestPhaseRefusesWhatIsNoOrder(t *testing.T) {
	for _, text := range []string{"", "hello", `{"client":"nobody","callers":1}`, `{"client":"` + oauthClient + `","callers":0}`} {
		var out bytes.Buffer
		if err := RunPhase(t.Context(), strings.NewReader(text), &out); !errors.Is(err, freshet.Invalid) || out.Len() > 0 {
			t.Errorf("%q: got %v and %q", text, err, out.String())
		}
	}
}

// TestChildEndsWithItsStandardInput is how nothing outlives a demo that was killed.
func TestChildEndsWithItsStandardInput(t *testing.T) {
	in, parent := io.Pipe()
	ctx, cancel := WhileOpen(t.Context(), in)
	defer cancel()
	if _, err := parent.Write([]byte("still there")); err != nil || ctx.Err() != nil {
		t.Fatalf("got %v, %v while it is open", err, ctx.Err())
	}
	parent.Close()
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
	}
}

// TestSummary keeps an SDK's error to a line.
func TestSummary(t *testing.T) {
	got := summary(errors.New("authentication failed.\nGET http://127.0.0.1/\n-------\nRESPONSE 403\n" + strings.Repeat("é", 500)))
	if !strings.HasPrefix(got, "authentication failed. GET http://127.0.0.1/ RESPONSE 403 é") || len(got) > 210 || strings.ContainsRune(got, '\n') {
		t.Errorf("got %q", got)
	}
	if !strings.HasSuffix(got, "é…") {
		t.Errorf("got %q, want it cut between characters", got)
	}
}

func TestLines(t *testing.T) {
	l := lines{ready: make(chan string, 1)}
	for _, part := range []string{"freshet: first\nfreshet: rea", "dy: 1 identity; x at 127.0.0.1:1\nfreshet: ready: again\nfreshet: broken: why\nhint: mend it\nhalf"} {
		if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("got %d, %v", n, err)
		}
	}
	if got := <-l.ready; got != "freshet: ready: 1 identity; x at 127.0.0.1:1" {
		t.Errorf("ready: got %q", got)
	}
	if got := l.last(); got != "freshet: broken: why" {
		t.Errorf("last: got %q", got)
	}
	if _, err := l.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil || len(l.part) > maxLine {
		t.Errorf("kept %d bytes of a line without an end", len(l.part))
	}
}

// TestProgress writes one line for each step to a file, and rewrites one on a terminal, in no more columns than it has.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var plain, terminal bytes.Buffer
		for _, p := range []progress{{w: &plain, steps: 2}, {w: &terminal, columns: 30, steps: 2}} {
			end := p.begin("a step", func() string { return " · 7 az" })
			time.Sleep(250 * time.Millisecond)
			end()
			end = p.begin("a step whose name is far too long for this", nothing)
			end()
		}
		if want := "freshet: demo: 1/2: a step\nfreshet: demo: 2/2: a step whose name is far too long for this\n"; plain.String() != want {
			t.Errorf("got %q, want %q", plain.String(), want)
		}
		const wipe = "\r\x1b[K"
		want := wipe + "1/2  a step  0.0 s · 7 az" + wipe + "1/2  a step  0.1 s · 7 az" + wipe + "1/2  a step  0.2 s · 7 az" + wipe +
			wipe + "2/2  a step whose name is fa…" + wipe
		if terminal.String() != want {
			t.Errorf("got %q, want %q", terminal.String(), want)
		}
	})
}
