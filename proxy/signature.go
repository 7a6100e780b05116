package proxy

import (
	"errors"
	"net/http"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/sigv4"
)

// maxUnknown bounds a body that has to be read before its sender is known: who signs for services other than S3 does not say the
// body's hash. It holds the largest that Bedrock takes, 25 MB.
const maxUnknown = 32 << 20

const (
	// unknownBodies is how many such bodies there may be in files at once. Those of up to 1 MiB are in memory.
	unknownBodies = 8
	// unknownTime is how long such a body may take to come.
	unknownTime = 30 * time.Second
)

// signature checks that the request was signed with the secret (Signature Version 4), and takes the signature away.
func (c *Callers) signature(x *exchange, r *http.Request) error {
	sig, found, err := sigv4.Find(r)
	switch {
	case err != nil:
		return &refused{freshet.AsError(err), http.StatusForbidden, "IncompleteSignature"}
	case !found:
		return refusal(freshet.Denied, http.StatusUnauthorized, "MissingAuthenticationToken",
			"this proxy wants its own secret: as Bearer token, API key, password, or as the secret access key to sign with")
	}
	if err := sig.Verify(r, string(c.Secret), freshet.Now().Wall(), func() (string, error) { return x.hashUnknown(r) }); err != nil {
		code := ""
		switch {
		case errors.Is(err, sigv4.ErrSignature):
			code = "SignatureDoesNotMatch"
		case errors.Is(err, sigv4.ErrTime):
			code = "RequestTimeTooSkewed"
		case errors.Is(err, sigv4.ErrExpired):
			code = "AccessDenied" // as S3 says of it
		default:
			return err // the body's
		}
		return &refused{freshet.AsError(err), http.StatusForbidden, code}
	}
	sigv4.Strip(r)
	return nil
}

// hashUnknown reads and hashes the body of somebody who may turn out to be nobody.
func (x *exchange) hashUnknown(r *http.Request) (string, error) {
	if r.ContentLength == 0 {
		return sigv4.Nothing, nil
	}
	if err := x.route.forwards(x, r); err != nil { // for which there is nothing to read
		return "", err
	}
	if r.ContentLength < 0 || r.ContentLength > spoolMemory { // a file of a stranger's
		select {
		case x.route.unknown <- struct{}{}:
			defer func() { <-x.route.unknown }()
		case <-time.After(unknownTime):
			return "", refusal(freshet.Unavailable, http.StatusServiceUnavailable, "ServiceUnavailable", "too many bodies have to be read before their senders are known")
		case <-x.Done():
			return "", x.Err()
		}
	}
	_ = x.control.SetReadDeadline(freshet.Now().Wall().Add(unknownTime))
	s, err := newSpool(r.Body, min(maxUnknown, x.route.cfg.MaxSpool))
	_ = x.control.SetReadDeadline(time.Time{})
	if err != nil {
		return "", err
	}
	x.spool = s
	if r.Body, r.ContentLength, r.TransferEncoding = s.open(), s.size, nil; s.size == 0 {
		r.Body = http.NoBody
	}
	return s.hash(), nil
}
