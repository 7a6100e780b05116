package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"syscall"

	"freshet.dev/freshet"
)

// Failure turns an error of net/http into ours. Only the host and the class of the cause become public: a url.Error prints the
// whole URL, and other errors quote what the server sent.
func Failure(req *http.Request, err error) *freshet.Error {
	if e, ok := errors.AsType[*freshet.Error](err); ok {
		return e
	}
	if ended := req.Context().Err(); ended != nil {
		err = ended // whatever it broke on the way, such as a DNS lookup
	}
	kind, why, hint := classify(err)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "proxyconnect" {
		why, hint = "proxy: "+why, "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
	}
	return &freshet.Error{Kind: kind, Why: req.URL.Host + ": " + why, Hint: hint, Cause: err}
}

// classify says what an error of net/http means.
func classify(err error) (kind freshet.Kind, why, hint string) {
	if why, hint := classifyTLS(err); why != "" {
		return freshet.Unavailable, why, hint
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return freshet.Unavailable, "DNS lookup failed", "check the host's name and this machine's resolver"
	}
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return freshet.Unavailable, "cancelled", ""
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return freshet.Unavailable, "timed out", ""
	case errors.Is(err, syscall.ECONNREFUSED):
		return freshet.Unavailable, "connection refused", ""
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return freshet.Unavailable, "connection reset", ""
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return freshet.Unavailable, "no route to it", ""
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return freshet.Unavailable, "connection closed before the answer ended", ""
	case notHTTP(err):
		return freshet.Malformed, "not an HTTP answer", ""
	}
	return freshet.Unavailable, "request failed", ""
}

func classifyTLS(err error) (why, hint string) {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return "not a TLS server", "check the address: https, host and port"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" { // crypto/tls's word for an alert received
		return "TLS handshake refused by it", ""
	}
	verification, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		return "", ""
	}
	if _, ok := errors.AsType[x509.HostnameError](verification.Err); ok {
		return "TLS certificate is for another host", "check the address, which must be a name the certificate has"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](verification.Err); ok && invalid.Reason == x509.Expired {
		return "TLS certificate has expired, or is not valid yet", "check this machine's clock"
	}
	return "TLS certificate not trusted", "if a private authority signed it, name that one's certificate in ca_file"
}

// notHTTP recognises what net/http says of an answer it cannot parse. Most of those errors have no type of their own.
func notHTTP(err error) bool {
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "malformed HTTP") || strings.Contains(text, "response headers exceeded")
}
