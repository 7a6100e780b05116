package interop

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// TestRotation is the promise in one run: 25 programs with four vendors' clients, one daemon, tokens of 30 s, and no
// client notices a rotation; while the issuer is asked once per rotation and not once per client.
func TestRotation(t *testing.T) {
	r := newRotation(t)
	var callers []*caller
	for _, client := range fleet(t) {
		callers = append(callers, r.start(t, client))
	}
	r.finish(t, callers)
	r.settle(t)
}

// TestRotationCancelled kills half of the callers over and over, and has others reset connections in the middle of a
// request. What a caller loses by that must not cost the others a failure, nor the issuer a request.
func TestRotationCancelled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("FRESHET_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("FRESHET_SEED: %v", err)
		}
	}
	t.Logf("FRESHET_SEED=%d", seed)

	r := newRotation(t)
	abort := party.AbortClient(t)
	callers := []*caller{r.start(t, abort), r.start(t, abort)}
	var cancelling sync.WaitGroup
	var kills atomic.Int64
	deadline := time.Now().Add(r.length)
	for i, client := range fleet(t) {
		if i%2 == 0 {
			callers = append(callers, r.start(t, client))
			continue
		}
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		cancelling.Go(func() { kills.Add(r.cancel(t, client, random, deadline)) })
	}
	cancelling.Wait()
	r.finish(t, callers)
	r.settle(t)
	t.Logf("%d callers killed", kills.Load())
	if kills.Load() == 0 {
		t.Error("no caller was killed")
	}
}

// TestRotationOutage has the issuer answer 503 for 12 s from just before a refresh is due. Refreshing at half of the
// life leaves time to sit that out (at three quarters, a prototype had 29 failures).
func TestRotationOutage(t *testing.T) {
	r := newRotation(t)
	var callers []*caller
	for _, client := range fleet(t) {
		callers = append(callers, r.start(t, client))
	}
	// A refresh is due 12 to 15 s after the one before: half of the life, less up to a tenth of it.
	after := r.idp.Counts()["minio"].Successes
	err := party.Poll(tokenLife, func() error {
		if r.idp.Counts()["minio"].Successes == after {
			return errors.New("no refresh to start from")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(tokenLife/2 - tokenLife/10 - time.Second)
	r.idp.Inject(party.Fault{Status: 503, For: 12 * time.Second})
	r.finish(t, callers)
	if faulted := r.idp.Faulted(); faulted == 0 {
		t.Error("no token request met the outage")
	} else {
		t.Logf("%d token requests met the outage", faulted)
	}
	r.settle(t)
}

// tokenLife is the shortest life that clients of second-grained expiries can be asked to live with.
const tokenLife = 30 * time.Second

// rotation is one daemon between an issuer and the callers of an S3 server.
type rotation struct {
	length time.Duration
	idp    *party.IdP
	server *party.S3
	sts    *party.STSProxy
	daemon *daemon
}

// newRotation starts it all but the callers. FRESHET_ROTATION sets how long callers will run.
func newRotation(t *testing.T) *rotation {
	t.Helper()
	r := &rotation{length: 2 * time.Minute}
	if testing.Short() {
		r.length = 45 * time.Second
	}
	if d := os.Getenv("FRESHET_ROTATION"); d != "" {
		var err error
		if r.length, err = time.ParseDuration(d); err != nil {
			t.Fatalf("FRESHET_ROTATION: %v", err)
		}
	}
	const secret = "the client's secret"
	r.idp = party.OIDC(t, party.OIDCConfig{
		TTL:       tokenLife,
		Clients:   []party.OIDCClient{party.PostClient("minio", secret)},
		Audiences: map[string]string{resource: audience},
		Claims:    map[string]any{"policy": "readwrite"},
	})
	r.server = party.MinIO(t, party.MinIOConfig{OIDCConfigURL: r.idp.ConfigURL(), ClientID: audience})
	r.sts = party.CountingProxy(t, r.server.URL)
	r.daemon = serve(t, fmt.Sprintf(`
identities:
  idp:
    source: oauth2
    token_url: %s
    client_id: minio
    auth: post
    client_secret: {file: %s}
    resource: %s
  minio:
    source: aws-web-identity
    role_arn: "arn:minio:iam:::role/dummy"
    from: idp
    endpoint: %s
    region: us-east-1
`, r.idp.TokenURL(), writeSecret(t, t.TempDir()+"/secret", secret), resource, r.sts.URL))
	return r
}

// fleet is the callers' clients: 25 processes are what two cores carry, with two of them at most being awscli loops.
func fleet(t *testing.T) []party.Client {
	t.Helper()
	var clients []party.Client
	for _, some := range []struct {
		client party.Client
		n      int
	}{
		{party.GoClient(t), 9}, {party.Boto3Client(t), 7}, {party.NodeClient(t), 7}, {party.AWSCLIClient(t), 2},
	} {
		for range some.n {
			clients = append(clients, some.client)
		}
	}
	return clients
}

// settle compares what the issuer and the STS counted with what the audit says, once all callers have left.
func (r *rotation) settle(t *testing.T) {
	t.Helper()
	// The audit is asynchronous, and a refresh may be under way: neither is anything to stop the daemon in.
	err := party.Poll(15*time.Second, func() error {
		audit, err := r.daemon.readAudit()
		if err != nil {
			return err
		}
		return errors.Join(r.disagreements(audit)...)
	})
	if err != nil {
		t.Errorf("before the daemon's end: %v", err)
	}
	r.daemon.stop(t)
	audit, err := r.daemon.readAudit()
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range r.disagreements(audit) {
		t.Error(err)
	}
	for _, identity := range []string{"idp", "minio"} {
		if err := distinct(audit.fingerprints[identity]); err != nil {
			t.Errorf("%s: %v", identity, err)
		}
	}
	rotations := len(audit.fingerprints["minio"]) - 1
	if want := int(r.length / tokenLife); rotations < want {
		t.Errorf("rotations: got %d, want %d or more in %v", rotations, want, r.length)
	}
	t.Logf("%d rotations in %v; token requests %+v, STS %d of %d; retrievals idp %d, minio %d; failed %v; hand-outs %d",
		rotations, r.length, r.idp.Counts()["minio"], r.sts.Successes(), r.sts.Requests(),
		len(audit.fingerprints["idp"]), len(audit.fingerprints["minio"]), audit.failed, audit.handOuts)
}

// disagreements are the counts that differ. A token request that met an injected fault is in none of them.
func (r *rotation) disagreements(audit ledger) []error {
	var all []error
	tokens := r.idp.Counts()["minio"]
	for _, count := range []struct {
		name      string
		got, want int
	}{
		{"token requests at the issuer", tokens.Requests, len(audit.fingerprints["idp"])},
		{"tokens issued", tokens.Successes, len(audit.fingerprints["idp"])},
		{"requests at the STS", r.sts.Requests(), len(audit.fingerprints["minio"])},
		{"credentials issued", r.sts.Successes(), len(audit.fingerprints["minio"])},
	} {
		if count.got != count.want {
			all = append(all, fmt.Errorf("%s: got %d, want the %d retrievals in the audit", count.name, count.got, count.want))
		}
	}
	return all
}

// distinct is an error unless each retrieval yielded a version of its own.
func distinct(fingerprints []string) error {
	seen := map[string]bool{}
	for _, f := range fingerprints {
		if f == "" || seen[f] {
			return fmt.Errorf("retrievals: fingerprint %q is empty or not the only one", f)
		}
		seen[f] = true
	}
	return nil
}
