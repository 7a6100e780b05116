package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"freshet.dev/interop/internal/party"
)

// signedLife is how long MinIO's credentials live in the runs of the proxy: at half of it, less up to a tenth, they are replaced.
const signedLife = 20 * time.Second

// signedLength is how long each of the runs takes: FRESHET_ROTATION, or 25 s.
func signedLength(t *testing.T) time.Duration {
	t.Helper()
	length := 25 * time.Second
	if d := os.Getenv("FRESHET_ROTATION"); d != "" {
		var err error
		if length, err = time.ParseDuration(d); err != nil {
			t.Fatalf("FRESHET_ROTATION: %v", err)
		}
	}
	return length
}

// TestProxyRotation has 25 callers send requests through the proxy without pause, while the credentials that it signs with are replaced
// every ten seconds. None fails, whatever the server thinks of signatures that have parts of two versions; and the issuer is asked
// once for each version. So it is with callers that leave at random moments, and while the issuer is down for less than a life.
func TestProxyRotation(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("FRESHET_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("FRESHET_SEED: %v", err)
		}
	}
	s, length := newSigned(t, signedLife, "", ""), signedLength(t)
	s.clients = []party.Client{party.Boto3Client(t), party.Boto3Client(t), party.Boto3Client(t), party.NodeClient(t), party.NodeClient(t), party.NodeClient(t)}
	began := time.Now()
	t.Run("in peace", func(t *testing.T) {
		programs := s.programs(t, length)
		callers := s.callers(t, 25-len(programs), length, nil)
		for _, p := range programs {
			p.want(t, length)
		}
		callers.want(t)
	})
	t.Run("with callers that leave", func(t *testing.T) {
		t.Logf("FRESHET_SEED=%d", seed)
		programs := s.programs(t, length)
		leavers := s.callers(t, 12, length, rand.New(rand.NewPCG(seed, 1)))
		stayers := s.callers(t, 13-len(programs), length, nil)
		for _, p := range programs {
			p.want(t, length)
		}
		stayers.want(t)
		leavers.want(t)
		t.Logf("%d requests were left", leavers.left.Load())
		if leavers.left.Load() == 0 {
			t.Error("nobody has left")
		}
	})
	t.Run("with the issuer down", func(t *testing.T) {
		programs := s.programs(t, length)
		callers := s.callers(t, 25-len(programs), length, nil)
		after := s.idp.Counts()["minio"].Successes
		err := party.Poll(signedLife, func() error {
			if s.idp.Counts()["minio"].Successes == after {
				return errors.New("no refresh to start from")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(signedLife/2 - signedLife/10 - time.Second)
		s.idp.Inject(party.Fault{Status: http.StatusServiceUnavailable, For: 6 * time.Second})
		for _, p := range programs {
			p.want(t, length)
		}
		callers.want(t)
		if s.idp.Faulted() == 0 {
			t.Error("no token request met the outage")
		}
	})
	s.settle(t, time.Since(began))
}

// programs are callers in processes of their own, of other vendors' clients.
func (s *signed) programs(t *testing.T, length time.Duration) []*program {
	t.Helper()
	var all []*program
	for _, client := range s.clients {
		argv := client.Args(workload(s.via(), length))
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = keysEnv(s.daemon.home, placeholder(s.secret))
		all = append(all, startProgram(t, client.Name, cmd))
	}
	return all
}

// callers are some in this process.
type callers struct {
	done          sync.WaitGroup
	calls, failed atomic.Int64
	left          atomic.Int64 // requests that were left on purpose
	mu            sync.Mutex
	errs          []string // the first few
	slowest       time.Duration
}

// callers start. random, if it is not nil, has each leave some of its requests.
func (s *signed) callers(t *testing.T, n int, length time.Duration, random *rand.Rand) *callers {
	t.Helper()
	c := &callers{}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	t.Cleanup(cancel)
	for i := range n {
		var own *rand.Rand
		if random != nil {
			own = rand.New(rand.NewPCG(random.Uint64(), uint64(i)))
		}
		c.done.Go(func() { s.call(ctx, c, i, own) })
	}
	return c
}

// call sends one request after another: it reads the object, writes one of its own, and lists.
func (s *signed) call(ctx context.Context, c *callers, number int, random *rand.Rand) {
	server := s.via()
	client := server.Client(placeholder(s.secret))
	key := fmt.Sprintf("rotation/caller %d;+", number)
	ways := []func(context.Context) error{
		func(ctx context.Context) error {
			object, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &server.Bucket, Key: &server.Key})
			if err != nil {
				return err
			}
			defer object.Body.Close()
			if n, err := io.Copy(io.Discard, object.Body); err != nil || n != 1024 {
				return fmt.Errorf("%d bytes of the object: %w", n, err)
			}
			return nil
		},
		func(ctx context.Context) error {
			_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &server.Bucket, Key: &key, Body: strings.NewReader(strings.Repeat("x", 20_000))})
			return err
		},
		func(ctx context.Context) error {
			prefix := "rotation/caller " + strconv.Itoa(number) + ";"
			_, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &server.Bucket, Prefix: &prefix})
			return err
		},
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := number; ctx.Err() == nil; n++ {
		if random != nil && random.IntN(2) == 0 {
			s.leave(random)
			c.left.Add(1)
		}
		asking, cancel := context.WithTimeout(ctx, time.Minute)
		gone := false
		if random != nil && random.IntN(3) == 0 {
			gone = true
			time.AfterFunc(time.Duration(random.Int64N(int64(20*time.Millisecond))), cancel)
		}
		began := time.Now()
		err := ways[n%len(ways)](asking)
		cancel()
		switch {
		case ctx.Err() != nil: // the end of the run cuts a call short
			return
		case gone && errors.Is(err, context.Canceled):
			c.left.Add(1)
		default:
			c.note(time.Since(began), err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// leave begins to upload an object, as a caller who is let in, and resets the connection somewhere in the middle.
func (s *signed) leave(random *rand.Rand) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		return
	}
	defer conn.Close()
	request := fmt.Sprintf("PUT /%s/left HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 65536\r\n\r\n%s",
		s.server.Bucket, strings.TrimPrefix(s.url, "http://"), s.secret, strings.Repeat("x", 65536))
	_, _ = io.WriteString(conn, request[:random.IntN(len(request)+1)])
	if random.IntN(2) == 0 {
		_ = conn.SetReadDeadline(time.Now().Add(time.Duration(random.Int64N(int64(10 * time.Millisecond)))))
		_, _ = conn.Read(make([]byte, 1))
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
}

func (c *callers) note(took time.Duration, err error) {
	c.calls.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slowest = max(c.slowest, took)
	if err == nil {
		return
	}
	if c.failed.Add(1); len(c.errs) < 3 {
		c.errs = append(c.errs, fmt.Sprintf("after %v: %v", took.Round(time.Millisecond), err))
	}
}

// want waits for the callers' end, and holds them to it that all went well that they did not leave.
func (c *callers) want(t *testing.T) {
	t.Helper()
	c.done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Logf("callers: %d calls, %d failures, the slowest took %v", c.calls.Load(), c.failed.Load(), c.slowest.Round(time.Millisecond))
	if c.calls.Load() == 0 || c.failed.Load() > 0 {
		t.Errorf("callers: got %d failures of %d calls, want calls and no failure: %q", c.failed.Load(), c.calls.Load(), c.errs)
	}
}

// settle holds the daemon to one retrieval a version, and to as many versions as the length has lives.
func (s *signed) settle(t *testing.T, length time.Duration) {
	t.Helper()
	s.daemon.stop(t)
	audit, err := s.daemon.readAudit()
	if err != nil {
		t.Fatal(err)
	}
	versions := audit.fingerprints["minio"]
	if err := distinct(versions); err != nil {
		t.Error(err)
	}
	if got := s.sts.Successes(); got != len(versions) {
		t.Errorf("credentials issued: got %d, want the %d retrievals in the audit", got, len(versions))
	}
	if want := int(length / s.life); len(versions)-1 < want {
		t.Errorf("rotations: got %d, want %d or more in %v", len(versions)-1, want, length)
	}
	t.Logf("%d rotations in %v; token requests %+v; failed retrievals %v", len(versions)-1, length.Round(time.Second), s.idp.Counts()["minio"], audit.failed)
}
