package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a certificate authority of a test's own.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key}
}

// issue writes NAME.crt and NAME.key, for servers and clients alike.
func (a *authority) issue(w *live, name, host string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(host)}, DNSNames: []string{name + ".example"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	w.write(name+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	w.write(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// client trusts the authority, and shows the certificate of a name; "" shows none.
func (a *authority) client(t *testing.T, name string) *http.Client {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(a.cert)
	if name != "" {
		pair, err := tls.LoadX509KeyPair(name+".crt", name+".key")
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// TestClientCertificates lets callers in by their certificates. The files are followed: a new certificate is shown, and who comes
// with one of the authority of before is not let in any more, not even over a connection that there is.
func TestClientCertificates(t *testing.T) {
	up, port := newUpstream(t), freePort(t)
	w := startLive(t, fileIdentity)
	servers, clients, others := newAuthority(t), newAuthority(t), newAuthority(t)
	servers.issue(w, "server", "127.0.0.1")
	clients.issue(w, "client", "127.0.0.1")
	others.issue(w, "other", "127.0.0.1")
	w.write("clients.pem", clients.pem())
	w.configure(fileIdentity + "proxies: [{signer: bearer, name: p, listen: '127.0.0.1:" + port + "', upstream: '" + up.URL + "', identity: api, " +
		"tls: {cert_file: DIR/server.crt, key_file: DIR/server.key, client_ca_file: DIR/clients.pem}}]\n")
	w.mustReload()
	url := "https://127.0.0.1:" + port
	client, other := servers.client(t, filepath.Join(w.dir, "client")), servers.client(t, filepath.Join(w.dir, "other"))
	if got := send(t, client, url+"/x", ""); got != "200 /x Bearer one" {
		t.Errorf("with a certificate: %s", got)
	}
	named := servers.client(t, filepath.Join(w.dir, "client"))
	named.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+port)
	}
	if got := send(t, named, "https://server.example/x", ""); got != "200 /x Bearer one" {
		t.Errorf("by the name that its certificate is for: %s", got)
	}
	for who, c := range map[string]*http.Client{"with no certificate": servers.client(t, ""), "with another authority's": other} {
		if got := send(t, c, url+"/x", ""); got != "nobody" {
			t.Errorf("%s: %s", who, got)
		}
	}
	shown := func() string {
		resp, err := client.Get(url + "/x")
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		return resp.Proto + " " + resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	before := shown()
	if !strings.HasPrefix(before, "HTTP/2.0 ") {
		t.Errorf("a client that speaks HTTP/2 gets %s", before)
	}
	rest := stream(t, client, url+"/stream", "")
	servers.issue(w, "server", "127.0.0.1")
	w.becomes("another certificate is shown", "true", func() string {
		now := shown()
		return map[bool]string{true: "true", false: now}[strings.HasPrefix(now, "HTTP/2.0 ") && now != before]
	})
	w.write("clients.pem", others.pem())
	w.becomes("who comes with a certificate of before", "nobody", func() string { return send(t, client, url+"/x", "") })
	if got := send(t, servers.client(t, filepath.Join(w.dir, "other")), url+"/x", ""); got != "200 /x Bearer one" {
		t.Errorf("with a certificate of the new authority: %s", got)
	}
	w.write("clients.pem", "nothing")
	w.becomes("a file that is wrong", "true", func() string {
		return map[bool]string{true: "true", false: "not told"}[strings.Contains(w.daemon.status().ConfigError, "c.yaml:3:") &&
			strings.Contains(w.daemon.status().ConfigError, "tls.client_ca_file: no PEM certificate in it")]
	})
	if got := send(t, servers.client(t, filepath.Join(w.dir, "other")), url+"/x", ""); got != "200 /x Bearer one" {
		t.Errorf("while a file is wrong: %s", got)
	}
	close(up.hold)
	if got := rest(); got != "end" {
		t.Errorf("the stream under way ended with %q", got)
	}
}
