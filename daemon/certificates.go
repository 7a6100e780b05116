package daemon

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"syscall"

	"freshet.dev/config"
	"freshet.dev/internal/field"
)

// digest tells contents of files apart.
type digest [sha256.Size]byte

func digestOf(parts ...[]byte) digest {
	h := sha256.New()
	for _, p := range parts {
		one := sha256.Sum256(p)
		h.Write(one[:])
	}
	return digest(h.Sum(nil))
}

// maxPEM bounds a file of certificates: the public authorities together are a quarter of it.
const maxPEM = 1 << 20

// readPEM reads a file of certificates or of a key; "" is none.
func readPEM(key, path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := openFile(path)
	if err != nil {
		return nil, &field.Error{Field: key, Why: "cannot be read: " + reason(err).Error(), Help: "check the path and its permissions"}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	switch {
	case err != nil:
		return nil, &field.Error{Field: key, Why: "cannot be read: " + reason(err).Error()}
	case len(b) > maxPEM:
		return nil, &field.Error{Field: key, Why: "is larger than 1 MiB"}
	}
	return b, nil
}

// openFile opens a file that is one: what a pipe or a device in its place would say has no end, or no beginning.
func openFile(path string) (*os.File, error) {
	// Without O_NONBLOCK, a pipe in the file's place would hold us until somebody writes.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errIrregular
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

var errIrregular = errors.New("not a regular file")

// authorities are certificates to trust.
func authorities(key string, pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, &field.Error{Field: key, Why: "no PEM certificate in it"}
	}
	return pool, nil
}

// clientTLS reads the authorities of an upstream, if it has its own; nil for the system's. Errors are [field.Error]s.
func clientTLS(path string) (*tls.Config, digest, error) {
	pem, err := readPEM("ca_file", path)
	if pem == nil {
		return nil, digest{}, err
	}
	pool, err := authorities("ca_file", pem)
	if err != nil {
		return nil, digest{}, err
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, digestOf(pem), nil
}

// serverTLS reads what a proxy shows its callers and asks of them; nil for none. Errors are [field.Error]s.
func serverTLS(c config.ProxyTLS) (*tls.Config, digest, error) {
	if c.CertFile == "" {
		return nil, digest{}, nil
	}
	cert, err := readPEM("tls.cert_file", c.CertFile)
	if err != nil {
		return nil, digest{}, err
	}
	key, err := readPEM("tls.key_file", c.KeyFile)
	if err != nil {
		return nil, digest{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil { // its text names what is wrong, and quotes nothing
		return nil, digest{}, &field.Error{Field: "tls.cert_file", Why: "no certificate with the key in key_file: " + err.Error()}
	}
	clients, err := readPEM("tls.client_ca_file", c.ClientCAFile)
	if err != nil {
		return nil, digest{}, err
	}
	t := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if c.ClientCAFile != "" {
		t.ClientAuth = tls.RequireAndVerifyClientCert
		if t.ClientCAs, err = authorities("tls.client_ca_file", clients); err != nil {
			return nil, digest{}, err
		}
	}
	return t, digestOf(cert, key, clients), nil
}
