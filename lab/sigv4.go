package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"freshet.dev/internal/sigv4"
)

// caller is who signed a request.
type caller struct{ arn, userID string }

// caller finds out who signed a request to STS, in its Authorization header.
func (c *Cloud) caller(r *request) (caller, *stsError) {
	sig, found, err := sigv4.Find(r.Request)
	switch {
	case !found && r.Header.Get("Authorization") == "", sig.Query:
		return caller{}, &stsError{403, "MissingAuthenticationToken", "Request is missing Authentication Token"}
	case !found, err != nil, sig.Service != "sts":
		return caller{}, &stsError{400, "IncompleteSignature", "The request signature does not conform to AWS standards."}
	}
	token := r.Header.Get("X-Amz-Security-Token")
	who := caller{"arn:aws:iam::" + Account + ":user/lab", "AIDALAB"}
	secret := c.credentials.SecretAccessKey
	var s session
	if sig.AccessKeyID != c.credentials.AccessKeyID || token != "" {
		var ok bool
		if s, ok = c.vault.open(token); !ok || s.AccessKeyID != sig.AccessKeyID {
			return caller{}, &stsError{403, "InvalidClientTokenId", "The security token included in the request is invalid."}
		}
		who = caller{s.ARN, roleID + ":" + s.ARN[strings.LastIndexByte(s.ARN, '/')+1:]}
		secret = c.vault.secret(s.AccessKeyID)
	}
	sum := sha256.Sum256(r.body)
	hash := hex.EncodeToString(sum[:])
	err = sig.Verify(r.Request, secret, r.now(), func() (string, error) { return hash, nil })
	said, ok := sig.Payload(r.Request)
	switch {
	case ok && said != hash, errors.Is(err, sigv4.ErrSignature):
		return caller{}, &stsError{403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method."}
	case err != nil && sig.Time.Before(r.now()):
		return caller{}, &stsError{403, "SignatureDoesNotMatch", "Signature expired: the request's time is too far from the server's."}
	case err != nil:
		return caller{}, &stsError{403, "SignatureDoesNotMatch", "Signature not yet current: the request's time is too far from the server's."}
	case token != "" && s.expired():
		// STS says so of signed requests; of a web identity token it says ExpiredTokenException.
		return caller{}, &stsError{403, "ExpiredToken", "The security token included in the request is expired"}
	}
	return who, nil
}
