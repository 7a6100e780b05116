package sigv4

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"freshet.dev/freshet"
)

func hashOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

func TestWhatIsSignedOfABody(t *testing.T) {
	claimed := hashOf("hello")
	const https, local = "https://up.example", "http://127.0.0.1:9000"
	for _, c := range []struct {
		name, service, upstream, payload string
		said, body                       string
		unknown                          bool // its length
		hash                             bool // the body is read first
		want                             string
	}{
		{"no body", "s3", https, "", "", "", false, true, ""},
		{"no body, unsigned", "s3", https, "unsigned", "UNSIGNED-PAYLOAD", "", false, true, ""},
		{"a body", "s3", https, "", "", "hello", false, true, ""},
		{"a body whose hash is told", "s3", https, "", claimed, "hello", false, false, claimed},
		{"another service's", "sts", https, "", claimed, "hello", false, false, claimed},
		{"of unknown length", "sts", https, "", claimed, "hello", true, false, claimed},
		{"of unknown length, which S3 refuses", "s3", https, "", claimed, "hello", true, true, claimed},
		{"no hash", "s3", https, "", "ABCD", "hello", false, true, ""},
		{"a hash in capitals", "s3", https, "", strings.ToUpper(claimed), "hello", false, true, ""},
		{"unsigned by the caller", "s3", https, "", "UNSIGNED-PAYLOAD", "hello", false, false, "UNSIGNED-PAYLOAD"},
		{"unsigned, of unknown length", "s3", https, "", "UNSIGNED-PAYLOAD", "hello", true, true, ""},
		{"unsigned over http", "s3", local, "", "UNSIGNED-PAYLOAD", "hello", false, true, ""},
		{"unsigned over http, where settings say so", "s3", local, "unsigned", "UNSIGNED-PAYLOAD", "hello", false, false, "UNSIGNED-PAYLOAD"},
		{"unsigned, elsewhere", "sts", https, "", "UNSIGNED-PAYLOAD", "hello", false, true, ""},
		{"unsigned by the settings", "s3", https, "unsigned", "", "hello", false, false, "UNSIGNED-PAYLOAD"},
		{"unsigned by the settings, told", "s3", https, "unsigned", claimed, "hello", false, false, claimed},
		{"VPC Lattice", "vpc-lattice-svcs", https, "", claimed, "", false, false, "UNSIGNED-PAYLOAD"},
		{"unsigned chunks", "s3", https, "", streamed, "0\r\n\r\n", true, false, streamed},
	} {
		s := signerFor(t, Config{Service: c.service, Region: "r", Payload: c.payload}, c.upstream)
		r := request(t, "PUT", c.upstream+"/b/k", c.body)
		if c.said != "" {
			r.Header.Set(contentHash, c.said)
		}
		if c.unknown {
			r.ContentLength = -1
		}
		plan, err := s.Prepare(r)
		if err != nil || plan.Hash != c.hash || plan.Read != nil || r.Header.Get(contentHash) != c.want {
			t.Errorf("%s: got %v, %v, %q, want %v and %q", c.name, plan.Hash, err, r.Header.Get(contentHash), c.hash, c.want)
		}
	}
}

func TestAHashToldTwiceIsNone(t *testing.T) {
	s := signerFor(t, Config{Service: "s3", Region: "r"}, "https://up.example")
	r := request(t, "PUT", "https://up.example/b/k", "hello", contentHash, hashOf("hello"), contentHash, hashOf("other"))
	if plan, err := s.Prepare(r); err != nil || !plan.Hash || r.Header[contentHash] != nil {
		t.Errorf("got %v, %v, %v", plan.Hash, err, r.Header)
	}
}

func TestServicesThatWantTheHashAreTold(t *testing.T) {
	for service, want := range map[string]bool{"s3": true, "s3express": true, "glacier": true, "aoss": true, "sts": false, "bedrock": false} {
		s := signerFor(t, Config{Service: service, Region: "r"}, "https://up.example")
		got := send(t, s, request(t, "PUT", "https://up.example/b/k", "hello"), awsKeys(t, "AKIA", planted, ""))
		verified(t, got, planted)
		if _, told := got.Header[contentHash]; told != want {
			t.Errorf("%s: told: %v, want %v", service, told, want)
		}
	}
}

func TestABodyOfAnotherHashThanToldIsRefused(t *testing.T) {
	s := signerFor(t, Config{Service: "s3", Region: "r"}, "https://up.example")
	r := request(t, "PUT", "https://up.example/b/k", "hello", contentHash, hashOf("other"))
	r.ContentLength = -1
	if plan, err := s.Prepare(r); err != nil || !plan.Hash {
		t.Fatalf("got %v, %v", plan, err)
	}
	if err := s.Sign(r, awsKeys(t, "AKIA", planted, ""), hashOf("hello")); !errors.Is(err, freshet.Invalid) {
		t.Errorf("got %v", err)
	}
}

const chunkSign = ";chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"

// chunked is a body in signed chunks.
func chunked(chunks ...string) string {
	var b strings.Builder
	for _, c := range chunks {
		fmt.Fprintf(&b, "%x%s\r\n%s\r\n", len(c), chunkSign, c)
	}
	return b.String() + "0" + chunkSign + "\r\n"
}

func TestBodiesInSignedChunksAreDecoded(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 8192)
	for _, c := range []struct {
		name, kind, body, trailer, encoding string
		want, checksum                      string
	}{
		{"one", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", chunked("hello") + "\r\n", "", "aws-chunked", "hello", ""},
		{"several", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", chunked("hel", "l", "o", big) + "\r\n", "", "gzip, aws-chunked", "hello" + big, ""},
		{"none", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", chunked() + "\r\n", "", "", "", ""},
		{"trailer", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", chunked("hello") + "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:ab\r\n\r\n", "x-amz-checksum-crc32c", "aws-chunked", "hello", "sOO8/Q=="},
		{"minio-go", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", chunked("hello") + "x-amz-checksum-crc32c:sOO8/Q==\n\r\nx-amz-trailer-signature:ab\r\n\r\n", "x-amz-checksum-crc32c", "aws-chunked", "hello", "sOO8/Q=="},
		{"version 4a", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "5;chunk-signature=" + strings.Repeat("a", 140) + "****\r\nhello\r\n0;chunk-signature=" + strings.Repeat("b", 144) + "\r\n\r\n", "", "aws-chunked", "hello", ""},
	} {
		for _, service := range []string{"s3", "execute-api"} {
			s := signerFor(t, Config{Service: service, Region: "r"}, "https://up.example")
			r := request(t, "PUT", "https://up.example/b/k", c.body, contentHash, c.kind, "X-Amz-Decoded-Content-Length", fmt.Sprint(len(c.want)))
			if c.encoding != "" {
				r.Header.Set("Content-Encoding", c.encoding)
			}
			if c.trailer != "" {
				r.Header.Set("X-Amz-Trailer", c.trailer)
			}
			r.Body = io.NopCloser(iotest.HalfReader(r.Body))
			got := send(t, s, r, awsKeys(t, "AKIA", planted, ""))
			body, err := io.ReadAll(got.Body)
			if err != nil || string(body) != c.want || got.ContentLength != int64(len(c.want)) {
				t.Errorf("%s: got %d bytes, %v", c.name, len(body), err)
			}
			if got.Header.Get("X-Amz-Checksum-Crc32c") != c.checksum || got.Header.Get("Content-Encoding") != strings.TrimSuffix(strings.TrimSuffix(c.encoding, "aws-chunked"), ", ") {
				t.Errorf("%s: got %v", c.name, got.Header)
			}
			for _, name := range []string{"X-Amz-Trailer", "X-Amz-Decoded-Content-Length"} {
				if value, ok := got.Header[name]; ok {
					t.Errorf("%s: %s: %s is sent", c.name, name, value)
				}
			}
			got.Body = io.NopCloser(strings.NewReader(string(body)))
			verified(t, got, planted)
		}
	}
}

func TestADecodedBodyHasItsOwnLength(t *testing.T) {
	s := signerFor(t, Config{Service: "s3", Region: "r"}, "https://up.example")
	r := request(t, "PUT", "https://up.example/b/k", chunked("hello")+"\r\n", contentHash, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "X-Amz-Decoded-Content-Length", "5", "Content-Length", "180")
	r.TransferEncoding = []string{"chunked"}
	plan, err := s.Prepare(r)
	if err != nil || !plan.Hash || plan.Read == nil || r.ContentLength != 5 || r.TransferEncoding != nil || r.GetBody != nil || r.Header["Content-Length"] != nil {
		t.Errorf("got %+v, %v, length %d, %v", plan, err, r.ContentLength, r.TransferEncoding)
	}
}

func TestUnsignedChunksPassForS3AndAreDecodedForOthers(t *testing.T) {
	const body = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
	for service, want := range map[string]string{"s3": body, "execute-api": "hello"} {
		s := signerFor(t, Config{Service: service, Region: "r"}, "https://up.example")
		r := request(t, "PUT", "https://up.example/b/k", body, contentHash, streamed, "X-Amz-Decoded-Content-Length", "5", "Content-Encoding", "aws-chunked", "X-Amz-Trailer", "x-amz-checksum-crc32")
		got := send(t, s, r, awsKeys(t, "AKIA", planted, ""))
		sent, err := io.ReadAll(got.Body)
		if err != nil || string(sent) != want {
			t.Errorf("%s: got %q, %v", service, sent, err)
		}
		if asIs := service == "s3"; (got.Header.Get("X-Amz-Trailer") != "") != asIs || (got.Header.Get("Content-Encoding") != "") != asIs || (got.Header.Get("X-Amz-Checksum-Crc32") == "") != asIs {
			t.Errorf("%s: got %v", service, got.Header)
		}
	}
}

func TestBodiesInChunksThatLieAreRefused(t *testing.T) {
	const signedKind, kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", streamed
	good := chunked("hello")
	for name, c := range map[string]struct{ kind, body, trailer string }{
		"cut in a chunk":             {signedKind, good[:95], ""},
		"cut after a chunk":          {signedKind, good[:len("5"+chunkSign+"\r\nhello")], ""},
		"cut before the last chunk":  {signedKind, good[:len("5"+chunkSign+"\r\nhello\r\n")], ""},
		"cut in a size":              {signedKind, good[:1], ""},
		"cut before the trailer":     {signedKind, good, ""},
		"cut in the trailer":         {signedKind, good + "x-amz-checksum-crc32:AA==", "x-amz-checksum-crc32"},
		"cut after the trailer":      {signedKind, good + "x-amz-checksum-crc32:AA==\r\n", "x-amz-checksum-crc32"},
		"nothing":                    {signedKind, "", ""},
		"too short":                  {signedKind, chunked("hell") + "\r\n", ""},
		"too long":                   {signedKind, chunked("hello", "!") + "\r\n", ""},
		"a chunk longer than stated": {signedKind, strings.Replace(good, "hello", "hello!", 1) + "\r\n", ""},
		"a size that is none":        {signedKind, "x" + good + "\r\n", ""},
		"a size with a sign":         {signedKind, "+" + good + "\r\n", ""},
		"a negative size":            {signedKind, "-" + good + "\r\n", ""},
		"a size past any":            {signedKind, "ffffffffffffffff" + good + "\r\n", ""},
		"a long line":                {signedKind, strings.Repeat("0", 300) + good + "\r\n", ""},
		"an endless line":            {signedKind, strings.Repeat("0", 100<<10) + good + "\r\n", ""},
		"no signature":               {signedKind, "5\r\nhello\r\n0\r\n\r\n", ""},
		"another extension":          {signedKind, strings.ReplaceAll(good, "chunk-signature", "evil") + "\r\n", ""},
		"a short signature":          {signedKind, strings.ReplaceAll(good, "ad80", "") + "\r\n", ""},
		"a bare line feed":           {signedKind, strings.ReplaceAll(good, "\r\n", "\n") + "\n", ""},
		"a signature unasked":        {kind, good + "\r\n", ""},
		"a trailer unannounced":      {signedKind, good + "x-amz-checksum-crc32:AA==\r\n\r\n", ""},
		"another trailer":            {signedKind, good + "x-amz-meta-a:AA==\r\n\r\n", "x-amz-checksum-crc32"},
		"a trailer twice":            {signedKind, good + "x-amz-checksum-crc32:AA==\r\nx-amz-checksum-crc32:BB==\r\n\r\n", "x-amz-checksum-crc32"},
		"no trailer":                 {signedKind, good + "\r\n", "x-amz-checksum-crc32"},
		"a trailer that is none":     {signedKind, good + "hello\r\n\r\n", "x-amz-checksum-crc32"},
		"a checksum that is none":    {signedKind, good + "x-amz-checksum-crc32:a\x00b\r\n\r\n", "x-amz-checksum-crc32"},
		"a long trailer":             {signedKind, good + "x-amz-trailer-signature:" + strings.Repeat("a", maxTrailer+1-len("x-amz-trailer-signature:\r\n\r\n")) + "\r\n\r\n\r\n", ""},
	} {
		s := signerFor(t, Config{Service: "execute-api", Region: "r"}, "https://up.example")
		r := request(t, "PUT", "https://up.example/b/k", c.body, contentHash, c.kind, "X-Amz-Decoded-Content-Length", "5", "X-Amz-Trailer", c.trailer)
		plan, err := s.Prepare(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(r.Body)
		if !errors.Is(err, freshet.Invalid) || len(got) > 5 {
			t.Errorf("%s: got %q, %v, want a refusal", name, got, err)
		}
		if n, again := r.Body.Read(make([]byte, 1)); n != 0 || again != err {
			t.Errorf("%s: after %v got %d bytes, %v", name, err, n, again)
		}
		if err := plan.Read(http.Header{}); err == nil {
			t.Errorf("%s: its trailer is read all the same", name)
		}
	}
	for name, header := range map[string][]string{
		"no length": {}, "a length that is none": {"X-Amz-Decoded-Content-Length", "-5"}, "a trailer that is no checksum": {"X-Amz-Decoded-Content-Length", "5", "X-Amz-Trailer", "x-amz-security-token"},
		"many trailers": {"X-Amz-Decoded-Content-Length", "5", "X-Amz-Trailer", strings.Repeat("x-amz-checksum-a,", 9)},
	} {
		s := signerFor(t, Config{Service: "s3", Region: "r"}, "https://up.example")
		if _, err := s.Prepare(request(t, "PUT", "https://up.example/b/k", good, append(header, contentHash, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")...)); !errors.Is(err, freshet.Invalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestABodysOwnErrorIsPassedOn(t *testing.T) {
	broken := errors.New("broken")
	d := newDecoder(io.NopCloser(io.MultiReader(strings.NewReader(chunked("hello")[:95]), iotest.ErrReader(broken))), 5, true, nil)
	if _, err := io.ReadAll(d); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// FuzzDecoder holds that whatever comes, what is decoded is of the length that was announced, or it is an error; and that what is
// decoded is the same in whatever pieces it comes.
func FuzzDecoder(f *testing.F) {
	f.Add(chunked("hello")+"\r\n", "", int64(5), true)
	f.Add("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n", "x-amz-checksum-crc32", int64(5), false)
	f.Add("0\r\n\r\n", "", int64(0), false)
	f.Add("5\r\nhello\r\n00000\n\n", "", int64(5), false)
	f.Fuzz(func(t *testing.T, body, trailer string, length int64, signed bool) {
		names, err := trailerNames([]string{trailer})
		if err != nil || length < 0 {
			return
		}
		var texts, ends [2]string
		for i, from := range []io.Reader{strings.NewReader(body), iotest.OneByteReader(strings.NewReader(body))} {
			d := newDecoder(io.NopCloser(from), length, signed, names)
			got, err := io.ReadAll(bufio.NewReaderSize(d, 16))
			if err == nil && int64(len(got)) != length || int64(len(got)) > length {
				t.Errorf("%q: got %d bytes of %d, %v", body, len(got), length, err)
			}
			if h := (http.Header{}); err == nil && (d.trailer(h) != nil || len(h) != len(names)) {
				t.Errorf("%q: got %v of %v", body, h, names)
			}
			texts[i], ends[i] = string(got), fmt.Sprint(err)
		}
		if texts[0] != texts[1] || ends[0] != ends[1] {
			t.Errorf("%q: got %q and %q (%s, %s)", body, texts[0], texts[1], ends[0], ends[1])
		}
	})
}

// FuzzSign holds that what is signed verifies, as it is on the wire.
func FuzzSign(f *testing.F) {
	f.Add("/b/a b+c;d//é", "a=b&c", "value", "body", true)
	f.Add("/../x/.", "x=+", " a  b ", "", false)
	f.Fuzz(func(t *testing.T, path, query, value, body string, s3 bool) {
		service := "execute-api"
		if s3 {
			service = "s3"
		}
		s := signerFor(t, Config{Service: service, Region: "r"}, "https://up.example")
		r := request(t, "PUT", "https://up.example/", body)
		r.URL.Path, r.URL.RawQuery = path, query
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(query, " #") || strings.ContainsFunc(query+value, func(c rune) bool { return c < ' ' || c > '~' }) {
			return
		}
		r.Header.Set("X-Amz-Meta-A", value)
		if _, err := s.Prepare(r.Clone(t.Context())); err != nil {
			return
		}
		r.Header.Set("X-Amz-Meta-A", strings.TrimSpace(value))
		verified(t, send(t, s, r, awsKeys(t, "AKIA", planted, session)), planted)
	})
}
