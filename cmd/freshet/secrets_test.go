package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// plants are the secrets of a hunt: where each is planted → the secret.
type plants map[string]string

// plant makes a secret. It looks like nothing that a redaction would know, so that only not printing it helps.
func (p plants) plant(where string) string {
	s := "planted" + rand.Text()
	p[where] = s
	return s
}

// hunt is what is searched: where it was printed → the text.
type hunt map[string]string

const huntConfig = `version: 1
log: {level: debug, format: FORMAT}
audit: {file: DIR/audit.log}
metrics: {listen: 127.0.0.1:0}
endpoints:
  - {endpoint: oauth-token, listen: 127.0.0.1:0, identities: [basic, failing], secret: {env: DOOR}}
  - {endpoint: aws-container, listen: 127.0.0.1:0, identity: keys, secret: {file: DIR/secrets/door}}
identities:
  basic: {source: oauth2, token_url: "ISSUER/token", client_id: me, client_secret: {env: BASIC}, scopes: [a, b]}
  post: {source: oauth2, token_url: "ISSUER/token", client_id: me, auth: post, client_secret: {file: DIR/secrets/post}}
  printed: {source: oauth2, token_url: "ISSUER/token", client_id: me, client_secret: {command: [cat, DIR/secrets/printed]}}
  signed: {source: oauth2, token_url: "ISSUER/token", client_id: me, private_key: {file: DIR/secrets/key}}
  refused: {source: oauth2, token_url: "ISSUER/refuse", client_id: me, client_secret: {env: BASIC}}
  broken: {source: oauth2, token_url: "ISSUER/broken", client_id: me, client_secret: {env: BASIC}}
  down: {source: oauth2, token_url: "ISSUER/down", client_id: me, client_secret: {env: BASIC}}
  moved: {source: oauth2, token_url: "ISSUER/moved", client_id: me, auth: post, client_secret: {env: BASIC}}
  role: {source: aws-web-identity, from: basic, role_arn: 'arn:aws:iam::123456789012:role/a', endpoint: "ISSUER/sts", region: us-east-1}
  keys: {source: process, command: [cat, DIR/secrets/keys], lifetime: 1h}
  helper: {source: process, command: [sh, DIR/helper.sh], env: {HELPER_PASSWORD: "HELPER"}, lifetime: 1h}
  failing: {source: process, command: [sh, DIR/failing.sh], env: {HELPER_PASSWORD: "HELPER"}}
  garbage: {source: process, command: [cat, DIR/secrets/garbage]}
  text: {source: file, path: DIR/secrets/text, lifetime: 1h}
  withheld: {source: file, path: DIR/secrets/text, lifetime: 1h, release: false}
`

// TestSecretsStayInside plants a secret in every place there is for one, has freshet do everything it can, well and badly, and
// searches all that came out of it but the results that were asked for.
func TestSecretsStayInside(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks into /proc")
	}
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			huntSecrets(t, format)
		})
	}
}

func huntSecrets(t *testing.T, format string) {
	w := newWorld(t)
	p, h := plants{}, hunt{}
	issuer, upstream := plantingIssuer(t, p), plantingUpstream(t, p)
	tmp := w.path("tmp")
	for _, dir := range []string{"secrets", "tmp"} {
		if err := os.Mkdir(w.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	basic, door, helper := p.plant("client secret in the environment"), p.plant("endpoint secret in the environment"), p.plant("env: of a process")
	w.env = append(w.env, "BASIC="+basic, "DOOR="+door+door)
	for i := range w.env {
		if strings.HasPrefix(w.env[i], "TMPDIR=") {
			w.env[i] = "TMPDIR=" + tmp
		}
	}
	w.write("secrets/post", p.plant("client secret in a file"))
	w.write("secrets/printed", p.plant("client secret of a command"))
	w.write("secrets/door", strings.Repeat(p.plant("endpoint secret in a file"), 2))
	w.write("secrets/key", plantKey(t, p))
	w.write("secrets/text", p.plant("token in a file"))
	w.write("secrets/garbage", `{"access_token": `+p.plant("garbage of a process"))
	w.write("secrets/keys", fmt.Sprintf(`{"Version":1,"AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":%q,"SessionToken":%q}`,
		p.plant("AWS secret key"), p.plant("AWS session token")))
	w.write("helper.sh", "env >DIR/helper.env\ntr '\\0' ' ' </proc/$$/cmdline >DIR/helper.argv\necho "+p.plant("token of a process"))
	w.write("failing.sh", "echo my password is $HELPER_PASSWORD >&2\nexit 1\n")
	config := strings.NewReplacer("FORMAT", format, "ISSUER", issuer.URL, "HELPER", helper).Replace(huntConfig)
	w.write("c.yaml", config)

	claims := `{"access_token":{"acrs":{"value":"` + p.plant("claims") + `"}}}`
	claims64 := base64.StdEncoding.EncodeToString([]byte(claims))
	p["claims in base64"] = claims64
	presented := p.plant("wrong secret of an endpoint's caller")

	do := func(mode string) {
		all := func(code int, args ...string) (stdout string) {
			t.Helper()
			stdout, stderr := w.freshet(code, args...)
			h[mode+" stderr of "+strings.Join(args[:2], " ")+" "+strconv.Itoa(len(h))] = stderr
			return stdout
		}
		// Results are where secrets belong: seeing one proves that it was planted where it mattered.
		if got := all(0, "token", "basic"); !strings.Contains(got, p["issued token"]) {
			t.Errorf("token: got %q", got)
		}
		for _, id := range []string{"post", "printed", "signed", "text", "helper", "role", "keys"} {
			all(0, "token", id, "--format", "json")
		}
		for id, code := range map[string]int{"refused": 4, "broken": 5, "down": 5, "moved": 5, "failing": 5, "garbage": 5, "withheld": 4} {
			h[mode+" stdout of a failure of "+id] = all(code, "token", id)
			h[mode+" stdout of a failed exec of "+id] = all(125, "exec", id, "true")
		}
		h[mode+" stdout of a claims challenge"] = all(2, "token", "basic", "--claims", claims64)
		all(2, "token", "basic", "--claims", "!"+claims64)
		h[mode+" stdout of raw keys"] = all(2, "token", "keys", "--format", "raw")
		h[mode+" check"] = all(0, "check", "--config", w.path("c.yaml"))
		h[mode+" schema"] = all(0, "check", "--schema")
		session := all(0, "exec", "basic,keys", "sh", "-c", "echo $FRESHET_CLIENT_SECRET; cat /proc/$PPID/cmdline >>"+w.path("exec.argv"))
		if p[mode+" session secret"] = strings.TrimSpace(session); len(strings.TrimSpace(session)) < 32 {
			t.Errorf("session secret: got %q", session)
		}
		huntProxies(w, p, h, mode, upstream.URL)
		huntBridges(w, h, mode, upstream.URL)
		inside := w.start("freshet", "exec", "basic,keys,role", "sh", "-c", "sdk oauth >/dev/null; sdk aws >/dev/null; echo $FRESHET_CLIENT_SECRET >inside; echo $$ >pid; exec sleep 1000")
		pid := w.awaitPID("pid")
		p[mode+" session secret of a living exec"] = strings.TrimSpace(w.read("inside"))
		for name, id := range map[string]int{"exec": inside.cmd.Process.Pid, "its program": pid} {
			h[mode+" argv of "+name] = w.procFile(id, "cmdline")
		}
		w.hunted(h, mode+" run-time folder", w.run)
		w.hunted(h, mode+" temp folder", tmp)
		inside.signal(syscall.SIGTERM)
		inside.wait()
		h[mode+" stderr of exec inside"] = inside.stderr.String()
		if err := os.Remove(w.path("pid")); err != nil {
			t.Error(err)
		}
	}
	do("private")
	d := w.serve()
	do("daemon")

	socket := filepath.Join(w.run, "freshet", "freshet.sock")
	for _, path := range []string{"/v1/status", "/metrics", "/healthz", "/readyz", "/nothing"} {
		h["GET "+path] = w.overSocket(socket, "GET", path, "")
	}
	h["a rejection"] = w.overSocket(socket, "POST", "/v1/identities/basic/reject", `{"fingerprint":"`+presented+`"}`)
	h["no JSON"] = w.overSocket(socket, "POST", "/v1/identities/basic/credential", presented)
	h["claims"] = w.overSocket(socket, "POST", "/v1/identities/basic/credential", `{"claims":"`+claims64+`"}`)
	for name, address := range listeners(t, d.stderr.String()) {
		base := "http://" + address
		for what, req := range map[string]*http.Request{
			"metrics":         newRequest(t, "GET", base+"/metrics", "", ""),
			"wrong secret":    newRequest(t, "GET", base+"/creds", presented, ""),
			"wrong client":    newRequest(t, "POST", base+"/token", "Basic "+base64.StdEncoding.EncodeToString([]byte("basic:"+presented)), "grant_type=client_credentials"),
			"secret in query": newRequest(t, "POST", base+"/token?client_secret="+presented, "", "client_id=basic&client_secret="+presented),
			"foreign host":    withHeader(newRequest(t, "GET", base+"/creds", presented, ""), "Host", presented+".example"),
			"origin":          withHeader(newRequest(t, "GET", base+"/creds", presented, ""), "Origin", "http://"+presented+".example"),
			"unknown path":    newRequest(t, "GET", base+"/"+presented, presented, ""),
			"failing":         newRequest(t, "POST", base+"/token", "", "grant_type=client_credentials&client_id=failing&client_secret="+door+door),
		} {
			h[name+" "+what] = roundTrip(t, req)
		}
	}

	h["argv of the daemon"] = w.procFile(d.cmd.Process.Pid, "cmdline")
	h["argv of a helper"] = w.read("helper.argv")
	h["argv of execs"] = w.read("exec.argv")
	h["audit log"] = w.read("audit.log")
	d.signal(syscall.SIGQUIT) // the runtime prints every goroutine and its arguments
	d.wait()
	if !strings.Contains(d.stderr.String(), "goroutine ") {
		t.Error("no goroutines were printed")
	}
	h["log and crash output"] = d.stderr.String()
	h["audit log at the end"] = w.read("audit.log")

	for where, secret := range p {
		for at, text := range h {
			if strings.Contains(text, secret) {
				t.Errorf("%s: shows the %s:\n%s", at, where, text)
			}
		}
	}
	// A helper sees its own env, and no other secret of freshet's environment.
	for where, secret := range p {
		if where != "env: of a process" && strings.Contains(w.read("helper.env"), secret) {
			t.Errorf("a helper's environment has the %s", where)
		}
	}
	for _, want := range []string{"audit log", "log and crash output", "GET /metrics", "GET /v1/status", "argv of a helper"} {
		if h[want] == "" {
			t.Errorf("%s: nothing to search", want)
		}
	}
}

// huntProxies has programs use routes of the signing proxy, well and badly. A local secret, and every credential that is put on a
// request, is nowhere but where it is for.
func huntProxies(w *world, p plants, h hunt, mode, upstream string) {
	w.Helper()
	program := `cat /proc/$PPID/cmdline /proc/$$/cmdline >>` + w.path("exec.argv") + `; echo $FRESHET_PROXY_SECRET >inside; sdk send $FRESHET_PROXY_URL/refuse Authorization "Bearer $FRESHET_PROXY_SECRET" >answer; sdk send $FRESHET_PROXY_URL/other Authorization "Bearer $(cat wrong)" >>answer`
	w.write("wrong", p["wrong secret of an endpoint's caller"])
	for route, code := range map[string]int{"openai+" + upstream + "/v1=basic": 0, "s3+" + upstream + "=keys": 0, upstream + "=failing": 125, upstream + "=garbage": 125, upstream + "=withheld": 125} {
		out, stderr := w.freshet(code, "exec", "--proxy", route, "--", "sh", "-c", program)
		h[mode+" exec --proxy "+route], h[mode+" stderr of exec --proxy "+route] = out, stderr
		if local := strings.TrimSpace(w.read("inside")); code == 0 {
			p[mode+" local secret of "+route] = local
			if len(local) < 32 {
				w.Errorf("the local secret of %s is %q", route, local)
			}
		}
		// What freshet itself answers to a wrong secret; the other answer is the upstream's.
		for line := range strings.Lines(w.read("answer")) {
			if strings.HasPrefix(line, "401 {") {
				h[mode+" answer to a wrong secret "+route] += line
			}
		}
	}
	r := w.proxy("--to", upstream, "--as", "basic", "--secret-file", "secrets/local-"+mode)
	p[mode+" local secret of a proxy"] = r.secret()
	h[mode+" argv of proxy"] = w.procFile(r.cmd.Process.Pid, "cmdline")
	h[mode+" proxy: no secret"] = roundTrip(w.T, newRequest(w.T, "GET", r.base+"/a", p["wrong secret of an endpoint's caller"], ""))
	_ = roundTrip(w.T, newRequest(w.T, "GET", r.base+"/refuse", "Bearer "+r.secret(), "")) // the upstream says what it likes
	r.signal(syscall.SIGTERM)
	r.wait()
	h[mode+" stdout of proxy"], h[mode+" stderr of proxy"] = r.stdout.String(), r.stderr.String()
}

// huntBridges has an agent call a server that refuses and one that answers nothing of use, as identities that work and that do not. All that
// the agent is told is searched, and the log at its most.
func huntBridges(w *world, h hunt, mode, upstream string) {
	w.Helper()
	for _, id := range []string{"basic", "keys", "failing", "garbage", "refused", "withheld"} {
		args := []string{"mcp", upstream + "/refuse", "--as", id, "--log-level", "debug", "--tool-timeout", "2s", "--timeout", "2s"}
		if id == "keys" {
			args = append(args, "--service", "s3", "--region", "us-east-1")
		}
		cmd := w.command("freshet", args...)
		in, err := cmd.StdinPipe()
		if err != nil {
			w.Fatal(err)
		}
		r := w.begin(cmd)
		fmt.Fprintln(in, initialize+"\n"+initialized+"\n"+listTwo+"\n"+callOne)
		w.await("three answers to an agent of "+id, func() bool {
			select {
			case <-r.ended: // an identity that is known to be withheld is refused at once
				return true
			default:
				return strings.Count(r.stdout.String(), "\n") >= 3
			}
		})
		if id == "basic" {
			h[mode+" argv of mcp"] = w.procFile(cmd.Process.Pid, "cmdline")
		}
		in.Close()
		r.wait()
		h[mode+" stdout of mcp "+id], h[mode+" stderr of mcp "+id] = r.stdout.String(), r.stderr.String()
		pin := w.start("freshet", "mcp", "pin", upstream+"/refuse", "--as", id, "--timeout", "2s", "--service", "s3", "--region", "us-east-1")
		pin.wait()
		h[mode+" stdout of pin "+id], h[mode+" stderr of pin "+id] = pin.stdout.String(), pin.stderr.String()
	}
	a := w.start("freshet", "approve", "--json")
	a.wait()
	h[mode+" approve"] = a.stdout.String() + a.stderr.String()
}

// plantingUpstream refuses what is signed, in words with planted secrets.
func plantingUpstream(t *testing.T, p plants) *httptest.Server {
	said := p.plant("upstream's words")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/refuse") {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="`+said+`"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = io.WriteString(w, said)
	}))
	t.Cleanup(s.Close)
	return s
}

// plantKey makes a private key whose encoding is planted line by line.
func plantKey(t *testing.T, p plants) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for i, line := range strings.Split(text, "\n") {
		if line != "" && !strings.HasPrefix(line, "-----") {
			p["private key, line "+strconv.Itoa(i)] = line
		}
	}
	return text
}

// plantingIssuer answers with planted secrets, in success and in every failure.
func plantingIssuer(t *testing.T, p plants) *httptest.Server {
	token, said, page, location := p.plant("issued token"), p.plant("issuer's error description"), p.plant("issuer's error page"), p.plant("redirect")
	secret, session := p.plant("STS secret key"), p.plant("STS session token")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/token":
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 600})
		case "/refuse":
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]any{"error": "invalid_client", "error_description": said, "error_uri": said})
		case "/broken":
			_, _ = io.WriteString(w, `{"access_token":"`+token+`","expires_in":"`+said+`"}`)
		case "/down":
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, "<html>"+page)
		case "/moved":
			http.Redirect(w, r, "/"+location+"?code="+location, http.StatusTemporaryRedirect)
		case "/sts", "/sts/":
			w.Header().Set("Content-Type", "text/xml")
			fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, secret, session, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// hunted adds every file of a folder to what is searched.
func (w *world) hunted(h hunt, what, dir string) {
	w.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		h[what+": name "+path] = path
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		h[what+": "+path] = string(b)
		return err
	})
	if err != nil {
		w.Error(err)
	}
}

// procFile reads a file of a process.
func (w *world) procFile(pid int, name string) string {
	w.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		w.Error(err)
	}
	return string(b)
}

// overSocket makes a request to the local API and returns the whole answer.
func (w *world) overSocket(socket, method, path, body string) string {
	w.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	return send(w.T, c, newRequest(w.T, method, "http://freshet"+path, "", body))
}

// listeners are the TCP addresses of a ready line, by what listens there.
func listeners(t *testing.T, log string) map[string]string {
	t.Helper()
	list := make(map[string]string)
	line, _, _ := strings.Cut(log, "\n")
	for _, part := range strings.Split(line, "; ") {
		if name, address, ok := strings.Cut(part, " at "); ok {
			list[name] = address
		}
	}
	if len(list) != 2 {
		t.Fatalf("got %v of %q, want two", list, line)
	}
	return list
}

func newRequest(t *testing.T, method, url, authorization, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	if method == "POST" && !strings.HasPrefix(body, "{") {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req
}

func withHeader(req *http.Request, name, value string) *http.Request {
	if name == "Host" {
		req.Host = value
	} else {
		req.Header.Set(name, value)
	}
	return req
}

func roundTrip(t *testing.T, req *http.Request) string {
	t.Helper()
	return send(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, req)
}

// send returns a whole answer, header and body.
func send(t *testing.T, c *http.Client, req *http.Request) string {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := httputil.DumpResponse(resp, true)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
