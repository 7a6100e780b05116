package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"
)

// apiReply is what the local API says to one who asks for a credential: the credential, or a problem (RFC 9457).
type apiReply struct {
	status      int
	header      http.Header
	AccessToken string  `json:"access_token"`
	ServedFrom  string  `json:"served_from"`
	Kind        string  `json:"kind"`
	Detail      string  `json:"detail"`
	RetryAfter  float64 `json:"retry_after"` // seconds
}

// ask asks the daemon at its socket for an identity's credential, and waits for no further attempt than the first.
func (d *daemon) ask(t *testing.T, identity, request string) apiReply {
	t.Helper()
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", d.socket)
		},
	}}
	resp, err := client.Post("http://freshet/v1/identities/"+identity+"/credential", "application/json", bytes.NewBufferString(request))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := apiReply{status: resp.StatusCode, header: resp.Header}
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		t.Fatal(fmt.Errorf("%s: %s: %w", identity, resp.Status, err))
	}
	return r
}
