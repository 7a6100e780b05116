package interop

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// What a client may meet. Two are the issuer's doing: the one takes another client secret than freshet's, the other answers 503.
const (
	granted     = "granted"
	wrongSecret = "wrong secret"
	denied      = "denied"
	issuerDown  = "issuer down"
	gone        = "freshet gone" // whose socket nobody answers any more
)

// Credentials that freshet holds, and ones that a client only has if it went elsewhere.
const (
	heldToken    = "token-that-freshet-holds"
	heldKeys     = "AKIAHELDBYFRESHET000 secret-of-freshet session-of-freshet"
	secondKeys   = "AKIASECONDOFFRESHET0 secret-of-the-second session-of-the-second"
	azToken      = "token-of-the-az-that-somebody-logged-in"
	profileKeys  = "AKIAOFTHEPROFILE0000 secret-of-the-profile "
	metadataKeys = "AKIAOFTHEMACHINE0000 secret-of-the-machine session-of-the-machine"
)

// most is how often a client may ask for one credential: what @azure/identity does while the issuer is down. More is a storm.
const most = 6

// TestClientMatrix has unmodified clients ask for a credential, in each dialect and set-up: they get the one that freshet holds,
// and where freshet refuses, none of another identity. What each makes of a refusal becomes docs/clients.md.
func TestClientMatrix(t *testing.T) {
	m := newMatrix(t)
	t.Run("clients", func(t *testing.T) { // which ends when all of its parallel parts have
		for name, client := range map[string]func(testing.TB) party.Asker{"go": party.AzureGo, "node": party.AzureNode, "python": party.AzurePython} {
			m.client(t, "azure-app-service/"+name, func(t *testing.T) { m.azure(t, client(t)) })
		}
		for name, client := range map[string]func(testing.TB) party.Asker{
			"go": party.KeysGo, "node": party.KeysNode, "boto3": party.KeysBoto3, "awscli": party.KeysAWSCLI,
		} {
			m.client(t, "aws/"+name, func(t *testing.T) { m.aws(t, client(t)) })
		}
		m.client(t, "oauth-token/go", m.oauthGo)
		m.client(t, "oauth-token/curl", m.oauthCurl)
		m.client(t, "kube-exec", m.kubectl)
	})
	m.document(t)
}

// matrix is one daemon, with an identity and an endpoint for each thing that a client may meet.
type matrix struct {
	daemon    *daemon
	secret    string
	endpoints map[string]string // dialect and case → address

	mu      sync.Mutex
	rows    []row
	missing []string // clients that are not on this machine, or were not asked to run
	planned int      // rows that there will be
}

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	refusing := party.OIDC(t, party.OIDCConfig{Clients: []party.OIDCClient{party.PostClient("orders", "another-secret")}})
	down := party.OIDC(t, party.OIDCConfig{Clients: []party.OIDCClient{party.PostClient("orders", "secret")}})
	down.Inject(party.Fault{Status: 503, For: time.Hour})
	dir := t.TempDir()
	secret := rand.Text() + rand.Text()
	m := &matrix{secret: secret, endpoints: map[string]string{}}
	issuerSecret, endpointSecret := writeSecret(t, filepath.Join(dir, "issuer"), "secret"), writeSecret(t, filepath.Join(dir, "endpoint"), secret)
	keys := func(text string) string {
		k := strings.Fields(text)
		return fmt.Sprintf(`{source: process, lifetime: 1h, command: [/bin/echo, '{"Version": 1, "AccessKeyId": %q, "SecretAccessKey": %q, "SessionToken": %q}']}`, k[0], k[1], k[2])
	}
	config := fmt.Sprintf(`
identities:
  token-granted: {source: process, command: [/bin/echo, %[1]s], lifetime: 1h}
  token-denied:  {source: oauth2, token_url: %[2]q, client_id: orders, auth: post, client_secret: {file: %[4]q}}
  token-down:    {source: oauth2, token_url: %[3]q, client_id: orders, auth: post, client_secret: {file: %[4]q}}
  azure:         {source: azure-cli, program: %[5]q}
  keys-granted:  %[6]s
  keys-second:   %[7]s
  keys-denied:   {source: aws-web-identity, from: token-denied, role_arn: 'arn:aws:iam::123456789012:role/r', region: us-east-1}
  keys-down:     {source: aws-web-identity, from: token-down, role_arn: 'arn:aws:iam::123456789012:role/r', region: us-east-1}
endpoints:
`, heldToken, refusing.TokenURL(), down.TokenURL(), issuerSecret, filepath.Join(decoyAz(t).folder, "az"), keys(heldKeys), keys(secondKeys))
	for dialect, identity := range map[string]string{"azure-app-service": "token-", "aws-container": "keys-"} {
		for _, c := range []string{granted, denied, "down"} {
			address := party.FreeAddress(t)
			m.endpoints[dialect+" "+c] = address
			config += fmt.Sprintf("  - {endpoint: %s, listen: %q, identity: %s, secret: {file: %q}}\n", dialect, address, identity+c, endpointSecret)
		}
	}
	address := party.FreeAddress(t)
	m.endpoints["oauth-token"] = address
	config += fmt.Sprintf("  - {endpoint: oauth-token, listen: %q, identities: [token-granted, token-denied, token-down], secret: {file: %q}}\n", address, endpointSecret)
	m.daemon = serve(t, config)
	return m
}

// identityOf is the end of the name of the identity that a case is about.
func identityOf(situation string) string {
	return map[string]string{granted: "granted", wrongSecret: "granted", denied: "denied", issuerDown: "down"}[situation]
}

// secretIn is what a client sends in a case.
func (m *matrix) secretIn(situation string) string {
	if situation == wrongSecret {
		return "not-" + m.secret
	}
	return m.secret
}

// trial is one run of a client.
type trial struct {
	row
	env   []string
	point []string // variables that point the client at freshet
	exec  string   // identity that freshet exec runs it for; "" if nothing does
	args  []string
	read  func(ended) reply
	held  string            // what the client gets if freshet grants it
	own   map[string]string // another identity's credential → whose it is; nil if there is none
	seen  *tally            // nil if nobody counts
	known bool              // that the client goes on to another identity here: docs/clients.md says so
	stray func() string     // the decoy that was asked, whether or not the client took what it got; "" if none was
}

// reply is a client's outcome: a credential, or an error's kind and text, and what its user saw on standard error besides.
type reply struct{ got, kind, text, aside string }

// try runs a client and keeps what it did. Under freshet exec the client has the environment that exec makes of the trial's, but
// for the address, where requests are counted, and the secret, which may be wrong.
func (m *matrix) try(t *testing.T, x trial) {
	m.plan()
	t.Run(strings.ReplaceAll(x.setup+"/"+x.situation, "`", ""), func(t *testing.T) {
		t.Parallel()
		argv := append(slices.Clone(x.client.Argv), x.args...)
		if x.exec != "" {
			argv = slices.Concat([]string{m.daemon.binary, "exec", "--config", m.daemon.config, x.exec, "--", "/usr/bin/env"}, x.point, argv)
		} else {
			x.env = append(x.env, x.point...)
		}
		m.keep(t, x, x.read(runAsker(t, x.env, argv)))
	})
}

// keep judges what a client got, and adds it to the matrix.
func (m *matrix) keep(t *testing.T, x trial, r reply) {
	t.Helper()
	x.why, x.fell = "–", "no"
	var n int
	x.answers, x.within, n = x.seen.sum()
	whose, elsewhere := x.own[r.got]
	switch {
	case r.got != "" && r.got == x.held:
		x.got = "the credential"
		if x.situation != granted {
			t.Errorf("%s, %s: got the credential", x.client.Name, x.situation)
		}
	case elsewhere:
		x.got, x.fell = "**another identity's**", "**yes: "+whose+"**"
		if x.exec != "" && !x.known {
			t.Errorf("%s, %s: got the credential of %s", x.client.Name, x.situation, whose)
		}
	case r.got != "":
		t.Errorf("%s: got %q, which is nobody's", x.client.Name, r.got)
	case x.situation == granted:
		t.Errorf("%s: got %s: %s %s", x.client.Name, r.kind, r.text, r.aside)
	default:
		x.got, x.why = "`"+r.kind+"`", "no"
		reason := "identity " // and its name: how the message of a failed retrieval begins
		switch x.situation {
		case wrongSecret:
			reason = "this endpoint's secret"
		case gone:
			reason = "freshet: " // how freshet token begins what it says
		}
		if strings.Contains(r.text, reason) {
			x.why = "yes"
		} else if strings.Contains(r.aside, reason) {
			x.why = "on standard error"
		}
		if x.stray != nil && x.stray() != "" {
			x.fell = "no, though it asked " + x.stray()
		}
	}
	if x.own == nil {
		x.fell = "–"
	}
	if n > most {
		t.Errorf("%s, %s: asked %d times", x.client.Name, x.situation, n)
	}
	t.Logf("%s %s %s", r.kind, r.text, r.aside)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows = append(m.rows, x.row)
}

// client runs what one client does, which may turn out to be missing on this machine.
func (m *matrix) client(t *testing.T, name string, run func(t *testing.T)) {
	m.mu.Lock()
	m.missing = append(m.missing, name)
	m.mu.Unlock()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		run(t)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.missing = slices.DeleteFunc(m.missing, func(s string) bool { return s == name })
	})
}

// plan announces a row.
func (m *matrix) plan() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.planned++
}
