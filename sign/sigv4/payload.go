package sigv4

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/internal/signing"
	"freshet.dev/internal/sigv4"
)

type plan = signing.Plan

// contentHash is the header that has the body's hash, or a word in its place.
const contentHash = "X-Amz-Content-Sha256"

// streamed is a body in chunks that are not signed, with checksums at its end.
const streamed = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

// payload plans what is signed of the body. It is what is in X-Amz-Content-Sha256 then, or else the hash of a body that is read first.
//
// A hash that the caller gives is signed as it is, and the body sent as it comes. That is safe: what is signed is the caller's own
// word for its own body, and the upstream refuses a body of another hash, as it does with any other client. But S3 takes no body
// of unknown length, so such a one is read, and has to have the hash.
func (s *Signer) payload(r *http.Request) (plan, error) {
	said := ""
	if values := r.Header[contentHash]; len(values) == 1 {
		said = values[0]
	}
	s3 := sigv4.OnceEscaped(s.service)
	put := func(hash string) (plan, error) {
		r.Header[contentHash] = []string{hash}
		return plan{}, nil
	}
	switch {
	case s.unsigned && s.service == lattice:
		return put(sigv4.Unsigned)
	case strings.HasPrefix(said, "STREAMING-") && (said != streamed || !s3):
		return s.unchunk(r, said)
	case said == streamed:
		return put(said) // its chunks have no signatures in them
	case sigv4.IsHash(said) && (r.ContentLength >= 0 || !s3):
		return put(said)
	case sigv4.IsHash(said):
		return plan{Hash: true}, nil
	case r.Body == nil || r.Body == http.NoBody: // reading costs nothing
	case (s.unsigned || said == sigv4.Unsigned && s3 && s.secure) && (r.ContentLength >= 0 || !s3):
		return put(sigv4.Unsigned)
	}
	delete(r.Header, contentHash)
	return plan{Hash: true}, nil
}

// unchunk puts a decoder in place of the body: signatures of its chunks were made with a key that the upstream does not know.
func (s *Signer) unchunk(r *http.Request, said string) (plan, error) {
	n, err := strconv.ParseUint(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 63)
	if err != nil {
		return plan{}, freshet.Errorf(freshet.Invalid, "a body in signed chunks needs X-Amz-Decoded-Content-Length")
	}
	names, err := trailerNames(r.Header["X-Amz-Trailer"])
	if err != nil {
		return plan{}, err
	}
	d := newDecoder(r.Body, int64(n), said != streamed, names)
	encodings := strings.Split(strings.Join(r.Header["Content-Encoding"], ","), ",")
	var kept []string
	for _, e := range encodings {
		if e = strings.TrimSpace(e); e != "" && !strings.EqualFold(e, "aws-chunked") {
			kept = append(kept, e)
		}
	}
	for _, name := range []string{"Content-Encoding", "Content-Length", "X-Amz-Decoded-Content-Length", "X-Amz-Trailer", contentHash} {
		delete(r.Header, name)
	}
	if len(kept) > 0 {
		r.Header["Content-Encoding"] = []string{strings.Join(kept, ",")}
	}
	r.Body, r.ContentLength, r.TransferEncoding, r.GetBody = d, int64(n), nil, nil
	return plan{Hash: true, Read: d.trailer}, nil
}

// trailerNames are the headers that come at the body's end: checksums, in lowercase.
func trailerNames(values []string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "" {
			continue
		}
		if !strings.HasPrefix(name, "x-amz-checksum-") || len(names) == maxTrailers {
			return nil, freshet.Errorf(freshet.Invalid, "X-Amz-Trailer names what is no checksum")
		}
		names = append(names, name)
	}
	return names, nil
}

// hint is what the first of some field errors advises.
func hint(err error) string {
	if f, ok := errors.AsType[*field.Error](err); ok {
		return f.Help
	}
	return ""
}
