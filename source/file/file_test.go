package file

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/field"
)

const (
	text   = "planted-opaque-token-0123456789"
	gossip = "planted gossip of 0123456789"
)

// jwtFor is a token whose only claims are these; its signature is nonsense.
func jwtFor(exp time.Time, id int) string {
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d,"jti":"%d"}`, exp.Unix(), id)) + ".c2ln"
}

func in(d time.Duration) time.Time { return freshet.Now().Wall().Add(d).Truncate(time.Second) }

// write replaces a file whole, as kubelet does.
func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func newSource(t *testing.T, cfg Config) *Source {
	t.Helper()
	src, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestConformance(t *testing.T) {
	good := jwtFor(in(time.Hour), 1)
	freshettest.Source(t, freshettest.SourceSuite{
		New: func(t *testing.T, u freshettest.Upstream) (freshet.Source, any) {
			path := filepath.Join(t.TempDir(), "token")
			switch u {
			case freshettest.Good, freshettest.Hang:
				write(t, path, good)
			case freshettest.Garbage:
				write(t, path, gossip)
			case freshettest.Empty:
				write(t, path, "")
			case freshettest.Huge:
				write(t, path, gossip)
				if err := os.Truncate(path, 100<<20); err != nil { // sparse
					t.Fatal(err)
				}
			case freshettest.Expired:
				write(t, path, jwtFor(in(-time.Minute), 1))
			case freshettest.Century:
				write(t, path, jwtFor(in(100*365*24*time.Hour), 1))
			case freshettest.Failing: // absent
			}
			cfg := Config{Path: path}
			return newSource(t, cfg), cfg
		},
		Secrets: []string{good, gossip},
		Absent: map[freshettest.Upstream]string{
			freshettest.Hang: "a regular file does not hang, and a pipe is refused", freshettest.Throttled: "a file has no limits",
		},
	})
}

func TestTarget(t *testing.T) {
	if got, want := newSource(t, Config{Path: "/run/Token"}).Target(freshet.Request{}), (freshet.Target{Host: "/run/Token"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestContents(t *testing.T) {
	hour := in(time.Hour)
	token := jwtFor(hour, 1)
	path := filepath.Join(t.TempDir(), "token")
	for _, test := range []struct {
		content  string
		lifetime time.Duration
		want     string
		expires  time.Time // zero: static
	}{
		{token, 0, token, hour},
		{token + "\n", 0, token, hour},
		{token + "\r\n\n", time.Minute, token, hour}, // it says itself
		{text, 0, text, time.Time{}},
		{text + "\n", 0, text, time.Time{}},
	} {
		write(t, path, test.content)
		cred, err := newSource(t, Config{Path: path, Lifetime: field.Duration(test.lifetime)}).Retrieve(t.Context(), freshet.Request{})
		if err != nil {
			t.Errorf("%q: %v", test.content, err)
			continue
		}
		if cred.Token() != test.want || !cred.Expires().Equal(test.expires) || cred.Type() != freshet.Bearer || cred.Static() != test.expires.IsZero() {
			t.Errorf("%q: got %v, want it until %v", test.content, cred, test.expires)
		}
	}
	write(t, path, text)
	cred, err := newSource(t, Config{Path: path, Lifetime: field.Duration(time.Hour)}).Retrieve(t.Context(), freshet.Request{})
	if err != nil || cred.Lifetime() != time.Hour {
		t.Errorf("text with a lifetime: got %v, %v", cred, err)
	}
}

func TestFailures(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // a folder that keeps others out would guard the file
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	shared := filepath.Join(dir, "shared")
	write(t, shared, text)
	if err := os.Chmod(shared, 0o644); err != nil {
		t.Fatal(err)
	}
	reachable := true // unless a folder above keeps others out
	for d := dir; d != filepath.Dir(d); d = filepath.Dir(d) {
		if info, err := os.Stat(d); err == nil && info.Mode().Perm()&0o011 == 0 {
			reachable = false
		}
	}
	blank, big := filepath.Join(dir, "blank"), filepath.Join(dir, "big")
	write(t, blank, "\n")
	write(t, big, strings.Repeat("x", 1<<20+1))
	for path, want := range map[string]struct {
		kind freshet.Kind
		why  string
		hint string
	}{
		filepath.Join(dir, "absent"): {freshet.Unavailable, "does not exist", "write the file"},
		dir:                          {freshet.Invalid, "is not a regular file", ""},
		blank:                        {freshet.Malformed, "is empty", "writes the file"},
		big:                          {freshet.Malformed, "is over 1 MiB", "writes the file"},
		shared:                       {freshet.Invalid, "others can read", "shared: true"},
	} {
		if path == shared && !reachable {
			continue
		}
		_, err := newSource(t, Config{Path: path}).Retrieve(t.Context(), freshet.Request{})
		e, ok := err.(*freshet.Error)
		if !ok || e.Kind != want.kind || !strings.Contains(e.Why, want.why) || !strings.Contains(e.Why, path) || !strings.Contains(e.Hint, want.hint) {
			t.Errorf("got %v (%v), want %q %q", err, e.Hint, want.kind, want.why)
		}
	}
	if _, err := newSource(t, Config{Path: shared, Shared: true}).Retrieve(t.Context(), freshet.Request{}); err != nil {
		t.Errorf("shared: true: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for _, path := range []string{"", "token", "./token", "~/token"} {
		if _, err := New(Config{Path: path}); !errors.Is(err, freshet.Invalid) || !strings.HasPrefix(err.Error(), "path: ") {
			t.Errorf("%q: got %v", path, err)
		}
	}
}

// TestReplacedFileIsInUse lets the wall clock pass the minute after which the file is looked at again.
func TestReplacedFileIsInUse(t *testing.T) {
	for name, contents := range map[string][2]string{
		"JWT":  {jwtFor(in(time.Hour), 1), jwtFor(in(2*time.Hour), 2)},
		"text": {text, text + "-the-second"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token")
			write(t, path, contents[0])
			asked := make(chan freshet.Event, 8)
			cache := freshet.NewCache(freshet.CacheConfig{Observe: func(e freshet.Event) { asked <- e }})
			defer cache.Close(t.Context())
			id, err := cache.Add(freshet.IdentityConfig{Name: "pod", Source: newSource(t, Config{Path: path})})
			if err != nil {
				t.Fatal(err)
			}
			get := func() string {
				t.Helper()
				ans, err := id.Get(t.Context(), freshet.Request{})
				if err != nil {
					t.Fatal(err)
				}
				return ans.Credential.Token()
			}
			get()
			<-asked
			write(t, path, contents[1])
			if got := get(); got != contents[0] {
				t.Errorf("within the minute: got another token")
			}
			freshettest.SetWallClock(t, 2*time.Minute)
			get() // starts the reading
			select {
			case <-asked:
			case <-time.After(10 * time.Second):
				t.Fatal("the file is not read again")
			}
			if got := get(); got != contents[1] {
				t.Errorf("after the minute: got the old token")
			}
		})
	}
}

func FuzzRetrieve(f *testing.F) {
	for _, content := range []string{text, jwtFor(time.Unix(4e9, 0), 1), "", "\n", "a b", "a.b.c", "e30.e30.x\r\n", "\x00"} {
		f.Add([]byte(content), int64(0))
	}
	path := filepath.Join(f.TempDir(), "token")
	src, err := New(Config{Path: path})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte, lifetime int64) {
		_ = os.Remove(path) // file systems write one that is cut to nothing to the disk as soon as it is closed
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		one := *src
		one.cfg.Lifetime = field.Duration(max(0, lifetime))
		cred, err := one.Retrieve(t.Context(), freshet.Request{})
		if (cred == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cred, err)
		}
		if err != nil && !errors.Is(err, freshet.Malformed) {
			t.Errorf("%q: got %v", content, err)
		}
		if cred != nil && strings.TrimSpace(string(content)) != cred.Token() {
			t.Errorf("%q became another token", content)
		}
	})
}
