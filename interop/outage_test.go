package interop

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"freshet.dev/interop/internal/party"
)

// An outage run: a token of a minute is due at half of it, less up to a tenth, so that an outage from outageFrom on begins before
// any refresh does.
const (
	outageFrom = 22 * time.Second
	outageFor  = 20 * time.Second
	outageRun  = 75 * time.Second // past the end of what was there before the outage
)

// disorder is something that happens to the line between freshet and the issuer.
type disorder struct {
	name   string
	from   time.Duration // since the first tokens
	length time.Duration
	do     func(*party.Line)
	met    func(time.Duration, error) error // whether a request over the line that took so long, and ended so, has met it
	// down: no retrieval succeeds meanwhile. reached: the issuer is asked all the same, and its answer is lost if it is down.
	down, reached bool
}

// disorders are what can happen to a connection. Where only the answer suffers the issuer has issued a token, which nobody gets.
func disorders() []disorder {
	slower := func(than time.Duration) func(time.Duration, error) error {
		return func(took time.Duration, err error) error {
			if err != nil || took < than {
				return fmt.Errorf("took %v (%v), want a success over %v", took, err, than)
			}
			return nil
		}
	}
	failed := func(took time.Duration, err error) error {
		if err == nil {
			return fmt.Errorf("succeeded in %v", took)
		}
		return nil
	}
	always := outageRun - time.Second
	return []disorder{
		{"latency", time.Second, always, func(l *party.Line) {
			l.Poison(party.Toxic{Type: "latency", Attributes: map[string]int{"latency": 2000}})
		}, slower(2 * time.Second), false, true},
		{"bandwidth", time.Second, always, func(l *party.Line) {
			l.Poison(party.Toxic{Type: "bandwidth", Attributes: map[string]int{"rate": 1}}) // KB/s
		}, slower(time.Second), false, true},
		{"slow-close", time.Second, always, func(l *party.Line) {
			l.Poison(party.Toxic{Type: "slow_close", Attributes: map[string]int{"delay": 5000}})
		}, nil, false, true}, // an answer that says how long it is does not wait for the close
		{"reset", outageFrom, outageFor, func(l *party.Line) {
			l.Poison(party.Toxic{Type: "reset_peer", Upstream: true, Attributes: map[string]int{"timeout": 0}})
		}, failed, true, false},
		{"reset-unheard", outageFrom, outageFor, func(l *party.Line) {
			l.Poison(party.Toxic{Type: "reset_peer", Attributes: map[string]int{"timeout": 0}})
		}, failed, true, true},
		{"half-open", outageFrom, outageFor, func(l *party.Line) {
			l.Poison(party.Toxic{Type: "timeout", Upstream: true, Attributes: map[string]int{"timeout": 0}})
		}, failed, true, false},
		{"half-open-unheard", outageFrom, outageFor, func(l *party.Line) {
			l.Poison(party.Toxic{Type: "timeout", Attributes: map[string]int{"timeout": 0}})
		}, failed, true, true},
		{"outage", outageFrom, outageFor, (*party.Line).Cut, failed, true, false},
	}
}

// TestOutages has clients ask without pause while the line to their issuer is slow, reset, dead or cut, inside the life of a token
// of a minute. None of them fails, and the issuer is not asked more than it would have been by much.
func TestOutages(t *testing.T) {
	o := newOutages(t)
	goSDK, node, boto3 := party.GoClient(t), party.NodeClient(t), party.Boto3Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asking sync.WaitGroup
	for _, happens := range o.all {
		a := o.askers[happens.name]
		if err := a.ask(t.Context()); err != nil {
			t.Fatalf("%s, before anything happens: %v", happens.name, err)
		}
		asking.Go(func() { a.loop(ctx) })
	}
	o.began = time.Now()
	var programs []*program
	for _, happens := range o.all {
		sdks := []party.Client{goSDK}
		if happens.name == "outage" || happens.name == "half-open-unheard" {
			sdks = append(sdks, node, boto3)
		}
		for _, sdk := range sdks {
			programs = append(programs, o.daemon.program(t, happens.name+"-aws", sdk, workload(o.server, outageRun-time.Since(o.began))))
		}
	}

	o.run(ctx, t)
	for _, p := range programs {
		p.want(t, outageRun)
	}
	cancel()
	asking.Wait()
	for _, happened := range o.all {
		o.askers[happened.name].want(t, happened.name)
	}
	o.daemon.stop(t)
	audit, err := o.daemon.readAudit()
	if err != nil {
		t.Fatal(err)
	}
	for _, happened := range o.all {
		o.settle(t, happened, audit)
	}
}

// outages is a daemon with an identity, and an AWS identity made from it, behind each of a number of lines to one issuer.
type outages struct {
	all    []disorder
	idp    *party.IdP
	server *party.S3
	daemon *daemon
	began  time.Time
	lines  map[string]*party.Line // disorder → where it happens
	askers map[string]*asker      // disorder → who meets it
	since  map[string]time.Time   // disorder → when it began
}

func newOutages(t *testing.T) *outages {
	t.Helper()
	o := &outages{all: disorders(), lines: map[string]*party.Line{}, askers: map[string]*asker{}, since: map[string]time.Time{}}
	clients := []party.OIDCClient{party.PostClient("onlooker", "secret")}
	for _, d := range o.all {
		clients = append(clients, party.PostClient(d.name, "secret"))
	}
	o.idp = party.OIDC(t, party.OIDCConfig{
		TTL: time.Minute, Clients: clients, Audiences: map[string]string{resource: audience}, Claims: map[string]any{"policy": "readwrite"},
	})
	o.server = party.MinIO(t, party.MinIOConfig{OIDCConfigURL: o.idp.ConfigURL(), ClientID: audience})
	toxics := party.Toxics(t)
	secret, listen := rand.Text()+rand.Text(), party.FreeAddress(t)
	dir := t.TempDir()
	clientSecret := writeSecret(t, filepath.Join(dir, "client-secret"), "secret")
	config, names := "identities:\n", []string{}
	for _, d := range o.all {
		line := toxics.Line(o.idp.Issuer)
		o.lines[d.name] = line
		o.askers[d.name] = &asker{config: clientcredentials.Config{ClientID: d.name, ClientSecret: secret, TokenURL: "http://" + listen + "/token"}}
		names = append(names, d.name)
		config += fmt.Sprintf(`
  %[1]s: {source: oauth2, token_url: %[2]s/token, client_id: %[1]s, auth: post, client_secret: {file: %[3]q}, resource: %[4]s}
  %[1]s-aws: {source: aws-web-identity, role_arn: "arn:minio:iam:::role/dummy", from: %[1]s, endpoint: %[5]s, region: us-east-1}
`, d.name, line.URL, clientSecret, resource, o.server.URL)
	}
	o.daemon = serve(t, config+fmt.Sprintf("\nendpoints:\n  - {endpoint: oauth-token, listen: %q, identities: [%s], secret: {file: %q}}\n",
		listen, strings.Join(names, ", "), writeSecret(t, filepath.Join(dir, "endpoint-secret"), secret)))
	return o
}

// run has each disorder begin and end at its time, and asks the issuer over the line itself whether it is what it is said to be.
func (o *outages) run(ctx context.Context, t *testing.T) {
	var looking sync.WaitGroup
	defer looking.Wait()
	for _, at := range timetable(o.all) {
		<-time.After(time.Until(o.began.Add(at.when)))
		line := o.lines[at.name]
		if at.over {
			line.Heal()
			continue
		}
		at.do(line)
		o.since[at.name] = time.Now()
		if at.met == nil {
			continue
		}
		looking.Go(func() {
			onlooker := &asker{config: clientcredentials.Config{ClientID: "onlooker", ClientSecret: "secret", TokenURL: line.URL + "/token",
				AuthStyle: oauth2.AuthStyleInParams, EndpointParams: url.Values{"resource": {resource}}}}
			limited, stop := context.WithTimeout(ctx, 4*time.Second)
			defer stop()
			sent := time.Now()
			err := onlooker.ask(limited)
			if err := at.met(time.Since(sent), err); err != nil {
				t.Errorf("%s is not what happens: a request over the line: %v", at.name, err)
			}
		})
	}
}

// settle compares what the issuer saw of a disorder, and what freshet did about it, with what it may be.
func (o *outages) settle(t *testing.T, happened disorder, audit ledger) {
	t.Helper()
	name := happened.name
	asked, meanwhile := 0, 0
	for _, a := range o.idp.Arrivals() {
		if a.Client != name {
			continue
		}
		asked++
		// A request may have been on its way when the disorder began, or is let through as it ends.
		if in := a.At.Sub(o.since[name]); in > time.Second/2 && in < happened.length-time.Second/2 {
			meanwhile++
		}
	}
	ok, failed := len(audit.fingerprints[name]), audit.failed[name]
	t.Logf("%s: %d token requests at the issuer, %d of them meanwhile; retrievals: %d ok, %d failed; of AWS keys: %d ok, %d failed",
		name, asked, meanwhile, ok, failed, len(audit.fingerprints[name+"-aws"]), audit.failed[name+"-aws"])
	if happened.down == (failed == 0) {
		t.Errorf("%s: %d failed retrievals", name, failed)
	}
	if ok < 2 || ok > 4 {
		t.Errorf("%s: got %d successful retrievals in %v, want 2 to 4", name, ok, outageRun)
	}
	// Attempts are apart by a tenth of the life: 6 s.
	if want := 5; failed > want {
		t.Errorf("%s: got %d failed retrievals, want at most %d", name, failed, want)
	}
	if happened.reached == (meanwhile == 0) {
		t.Errorf("%s: the issuer was asked %d times meanwhile", name, meanwhile)
	}
	if want := ok + failed; asked > want {
		t.Errorf("%s: got %d token requests, want at most one a retrieval: %d", name, asked, want)
	}
}

// moment is when a disorder begins or ends.
type moment struct {
	disorder
	when time.Duration
	over bool
}

func timetable(all []disorder) []moment {
	var list []moment
	for _, d := range all {
		list = append(list, moment{d, d.from, false}, moment{d, d.from + d.length, true})
	}
	slices.SortStableFunc(list, func(a, b moment) int { return cmp.Compare(a.when, b.when) })
	return list
}

// TestColdKeyIsHeld has programs ask for what freshet has never had, while the issuer is down for 12 s. With nothing to serve they
// are held until it is back. (Python's client gives up after 2 s by itself, so it is not among them.)
func TestColdKeyIsHeld(t *testing.T) {
	const down = 12 * time.Second
	idp := party.OIDC(t, party.OIDCConfig{
		TTL: time.Minute, Clients: []party.OIDCClient{party.PostClient("one", "secret"), party.PostClient("two", "secret")},
		Audiences: map[string]string{resource: audience}, Claims: map[string]any{"policy": "readwrite"},
	})
	server := party.MinIO(t, party.MinIOConfig{OIDCConfigURL: idp.ConfigURL(), ClientID: audience})
	toxics := party.Toxics(t)
	dir := t.TempDir()
	secret := rand.Text() + rand.Text()
	tokens, keys := party.FreeAddress(t), party.FreeAddress(t)
	one, two := toxics.Line(idp.Issuer), toxics.Line(idp.Issuer)
	d := serve(t, fmt.Sprintf(`
identities:
  one: {source: oauth2, token_url: %[1]s/token, client_id: one, auth: post, client_secret: {file: %[3]q}, resource: %[4]s}
  two: {source: oauth2, token_url: %[2]s/token, client_id: two, auth: post, client_secret: {file: %[3]q}, resource: %[4]s}
  aws: {source: aws-web-identity, role_arn: "arn:minio:iam:::role/dummy", from: two, endpoint: %[5]s, region: us-east-1}
endpoints:
  - {endpoint: oauth-token,   listen: %[6]q, identities: [one], secret: {file: %[8]q}}
  - {endpoint: aws-container, listen: %[7]q, identity: aws, secret: {file: %[8]q}}
`, one.URL, two.URL, writeSecret(t, filepath.Join(dir, "client-secret"), "secret"), resource, server.URL,
		tokens, keys, writeSecret(t, filepath.Join(dir, "endpoint-secret"), secret)))

	goSDK, node := party.GoClient(t), party.NodeClient(t)
	one.Cut()
	two.Cut()
	began := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asking sync.WaitGroup
	a := &asker{config: clientcredentials.Config{ClientID: "one", ClientSecret: secret, TokenURL: "http://" + tokens + "/token"}}
	asking.Go(func() { a.loop(ctx) })
	var programs []*program
	for _, sdk := range []party.Client{goSDK, node} {
		argv := sdk.Args(workload(server, 2*down))
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(callerEnv(d.home), "AWS_REGION=us-east-1",
			"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://"+keys+"/creds", "AWS_CONTAINER_AUTHORIZATION_TOKEN="+secret)
		programs = append(programs, startProgram(t, sdk.Name, cmd))
	}
	<-time.After(time.Until(began.Add(down)))
	if counts := idp.Counts(); counts["one"].Requests+counts["two"].Requests > 0 {
		t.Errorf("token requests at the issuer while it could not be reached: %v", counts)
	}
	one.Heal()
	two.Heal()
	for _, p := range programs {
		p.want(t, 2*down)
	}
	cancel()
	asking.Wait()
	a.want(t, "one")
	for _, client := range []string{"one", "two"} {
		if got, want := idp.Counts()[client], (party.Count{Requests: 1, Successes: 1}); got != want {
			t.Errorf("token requests of %s: got %+v, want %+v", client, got, want)
		}
	}
	audit, err := d.readAudit()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("failed retrievals: %v", audit.failed)
	if got := audit.failed["one"]; got == 0 || got > 8 {
		t.Errorf("failed retrievals of one: got %d, want some, and at most 8 in %v", got, down)
	}
	d.stop(t)
}
