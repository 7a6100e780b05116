package fetch

import (
	"crypto/x509"
	"os"
	"sync"

	"freshet.dev/freshet"
)

// roots is a CA file, and which of its contents was read last.
type roots struct {
	path string

	mu   sync.Mutex
	info os.FileInfo // nil: none was read
}

// changed reports whether the file is another than the one read last.
func (r *roots) changed() bool {
	info, err := os.Stat(r.path)
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.info == nil || !os.SameFile(info, r.info) || info.Size() != r.info.Size() || !info.ModTime().Equal(r.info.ModTime())
}

// read reads the certificates. A file is looked at before it is read, so that what changes between is read again.
func (r *roots) read() (*x509.CertPool, error) {
	info, err := os.Stat(r.path)
	var pem []byte
	if err == nil {
		pem, err = os.ReadFile(r.path)
	}
	if err != nil {
		return nil, &freshet.Error{Kind: freshet.Invalid, Why: "ca_file: cannot be read", Hint: "check the path and its permissions", Cause: err}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, freshet.Errorf(freshet.Invalid, "ca_file: no PEM certificate in it")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.info = info
	return pool, nil
}
