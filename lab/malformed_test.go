package lab_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"freshet.dev/lab"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func listener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// broken is an answer that may be anything.
type broken struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body, or of the request
}

func (c *cloud) try(req *http.Request) broken {
	c.t.Helper()
	// A connection of its own: net/http sends a GET again if one that was kept is cut.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return broken{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return broken{resp.StatusCode, resp.Header, string(body), err}
}

// parses reports whether a body is whole, as JSON or as XML.
func parses(issuer, body string) bool {
	if issuer == lab.STS {
		d := xml.NewDecoder(strings.NewReader(body))
		for {
			if _, err := d.Token(); err != nil {
				return err == io.EOF
			}
		}
	}
	return json.Valid([]byte(body))
}

// secrets are what a body has that is worth keeping.
func secretOf(body string) string {
	for _, name := range []string{`"access_token":"`, `"Token":"`, "<SessionToken>"} {
		if _, rest, ok := strings.Cut(body, name); ok {
			return rest[:strings.IndexAny(rest, `"<`)]
		}
	}
	return ""
}

func TestMalformedAnswersOfEachIssuer(t *testing.T) {
	for _, issuer := range givers() {
		t.Run(issuer, func(t *testing.T) {
			c := start(t, nil)
			for _, test := range []struct {
				how string
				ok  func(a broken) bool
			}{
				{"truncated", func(a broken) bool { return a.err == nil && a.body != "" && !parses(issuer, a.body) }},
				{"short", func(a broken) bool { return errors.Is(a.err, io.ErrUnexpectedEOF) && a.body != "" }},
				{"types", func(a broken) bool {
					return a.err == nil && parses(issuer, a.body) && (strings.Contains(a.body, "soon") || strings.Contains(a.body, ":7,"))
				}},
				{"html", func(a broken) bool {
					return a.err == nil && strings.Contains(a.body, "<html>") && strings.HasPrefix(a.header.Get("Content-Type"), "text/html")
				}},
				{"error", func(a broken) bool { return a.err == nil && parses(issuer, a.body) && secretOf(a.body) == "" }},
				{"expired", func(a broken) bool { return a.err == nil && secretOf(a.body) != "" && expired(t, issuer, a.body) }},
			} {
				c.inject(issuer, lab.Fault{Kind: lab.Malformed, How: test.how})
				if a := c.try(c.wants(issuer)); a.status != 200 || !test.ok(a) || a.header.Get(lab.FaultHeader) != "malformed "+test.how {
					t.Errorf("%s: got %d, %v, %v, %q", test.how, a.status, a.err, a.header, a.body)
				}
			}
			if got, want := c.Count(issuer), (lab.Count{Requests: 6, Peak: 1, Faults: lab.Faulted{Malformed: 6}}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// expired reports whether a credential's end is past by all that its answer says.
func expired(t *testing.T, issuer, body string) bool {
	t.Helper()
	var doc struct {
		ExpiresIn  *float64        `json:"expires_in"`
		ExpiresOn  json.RawMessage `json:"expires_on"`
		Expiration *time.Time
	}
	if issuer == lab.STS {
		_, rest, _ := strings.Cut(body, "<Expiration>")
		text, _, _ := strings.Cut(rest, "<")
		at, err := time.Parse(time.RFC3339, text)
		return err == nil && at.Before(time.Now())
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	switch {
	case doc.ExpiresIn != nil:
		return *doc.ExpiresIn <= 0
	case doc.Expiration != nil:
		return doc.Expiration.Before(time.Now())
	}
	var seconds int64
	err := json.Unmarshal([]byte(strings.Trim(string(doc.ExpiresOn), `"`)), &seconds)
	return err == nil && seconds < time.Now().Unix()
}

func TestTheSameCredentialAgain(t *testing.T) {
	for _, issuer := range givers() {
		c := start(t, nil)
		c.inject(issuer, lab.Fault{Kind: lab.Malformed, How: "again"})
		first, second := c.try(c.wants(issuer)), c.try(c.wants(issuer))
		if secretOf(first.body) == "" || first.body != second.body || first.header.Get(lab.FaultHeader) != "" || second.header.Get(lab.FaultHeader) == "" {
			t.Errorf("%s: got %d %v, then %d %v", issuer, first.status, first.header, second.status, second.header)
		}
		// What is not repeated is no fault.
		if got, want := c.Count(issuer), (lab.Count{Requests: 2, Granted: 1, Peak: 1, Faults: lab.Faulted{Malformed: 1}}); got != want {
			t.Errorf("%s: got %+v, want %+v", issuer, got, want)
		}
		if on := c.Faults()[issuer]; on[0].Touched != 1 || on[0].Requests != 2 {
			t.Errorf("%s: got %+v", issuer, on)
		}
		if err := c.Clear(issuer, ""); err != nil {
			t.Fatal(err)
		}
		if third := c.try(c.wants(issuer)); secretOf(third.body) == secretOf(first.body) {
			t.Errorf("%s: it still gives the same", issuer)
		}
	}
	// What another asks for is another.
	c := start(t, nil)
	c.inject(lab.Entra, lab.Fault{Kind: lab.Malformed, How: "again"})
	if one, other := c.try(c.wantsOf(lab.Tenant)), c.try(c.wantsOf("contoso.example")); secretOf(one.body) == secretOf(other.body) {
		t.Error("two tenants get the same token")
	}
}

// TestARefusalIsNotSpoiledWhereThereIsNothingToSpoil asks with a wrong secret.
func TestARefusalIsNotSpoiledWhereThereIsNothingToSpoil(t *testing.T) {
	for _, how := range []string{"expired", "again"} {
		c := start(t, nil)
		c.inject(lab.OAuth, lab.Fault{Kind: lab.Malformed, How: how})
		a := c.post(c.OAuthToken, "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", "x")
		if got, want := c.Count(lab.OAuth), (lab.Count{Requests: 1, Refused: 1, Peak: 1}); a.status != 401 || a.header.Get(lab.FaultHeader) != "" || got != want {
			t.Errorf("%s: got %d %v, %+v", how, a.status, a.header, got)
		}
	}
}

func TestOutagesWithoutAnAnswer(t *testing.T) {
	for _, issuer := range lab.Issuers() {
		c := start(t, nil)
		c.inject(issuer, lab.Fault{Kind: lab.Outage, How: "refused"})
		if a := c.try(c.wants(issuer)); !errors.Is(a.err, syscall.ECONNRESET) || a.status != 0 {
			t.Errorf("%s: refused: got %d, %v", issuer, a.status, a.err)
		}
		c.inject(issuer, lab.Fault{Kind: lab.Outage, How: "reset"})
		// How much of it arrives before the reset is the kernel's to say.
		if a := c.try(c.wants(issuer)); !errors.Is(a.err, syscall.ECONNRESET) || a.status != 0 && (a.status != 200 || a.header.Get(lab.FaultHeader) != "outage reset" || parses(issuer, a.body)) {
			t.Errorf("%s: reset: got %d, %v, %v", issuer, a.status, a.header, a.err)
		}
		if got, want := c.Count(issuer), (lab.Count{Requests: 2, Peak: 1, Faults: lab.Faulted{Outage: 2}}); got != want {
			t.Errorf("%s: got %+v, want %+v", issuer, got, want)
		}
	}
	// Through TLS too, and where the connection cannot be taken over.
	c, o := azure(t, nil)
	trust(t, o)
	c.inject(lab.OAuth, lab.Fault{Kind: lab.Outage, How: "refused"})
	if resp, err := http.DefaultClient.Do(c.wants(lab.OAuth)); err == nil {
		t.Errorf("over TLS: got %d", resp.StatusCode)
	}
	func() {
		defer func() {
			if got := recover(); got != http.ErrAbortHandler {
				t.Errorf("without a connection: got %v", got)
			}
		}()
		c.at("http://127.0.0.1")
		c.Handler().ServeHTTP(newRecorder(), c.wants(lab.OAuth))
	}()
}
