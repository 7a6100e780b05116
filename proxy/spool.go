package proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"freshet.dev/freshet"
)

// spoolMemory is how much of a body that has to be read first is kept in memory; the rest goes to a file that has no name.
const spoolMemory = 1 << 20

// spool is a body that was read whole.
type spool struct {
	begin []byte
	file  *os.File // the rest; nil: there is none
	size  int64
	sum   [sha256.Size]byte
}

// newSpool reads a body to its end, and hashes it.
func newSpool(body io.Reader, most int64) (_ *spool, err error) {
	s := new(spool)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	h := sha256.New()
	source := &source{r: body, left: most}
	in := io.TeeReader(source, h)
	if s.begin, err = io.ReadAll(io.LimitReader(in, spoolMemory)); err != nil {
		return nil, source.blame(err)
	}
	s.size = int64(len(s.begin))
	if s.size == spoolMemory {
		if s.file, err = nameless(); err != nil {
			return nil, err
		}
		n, err := io.Copy(s.file, in)
		if err != nil {
			return nil, source.blame(err)
		}
		s.size += n
	}
	h.Sum(s.sum[:0])
	return s, nil
}

// source tells a body's errors from those of the file it goes to, and bounds it.
type source struct {
	r    io.Reader
	left int64
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if s.left -= int64(n); s.left < 0 {
		err = errSpool
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// errSpool refuses what cannot be read first.
var errSpool = &refused{
	freshet.Errorf(freshet.Invalid, "the body has to be read before it can be signed, and is larger than this proxy keeps").
		WithHint("max_spool: in the configuration says how large it may be"),
	http.StatusRequestEntityTooLarge, "EntityTooLarge",
}

func (s *source) blame(err error) error {
	tooLarge, own := (*http.MaxBytesError)(nil), (*refused)(nil)
	switch {
	case s.err == nil:
		return noRoom(err)
	case errors.As(s.err, &tooLarge), errors.As(s.err, &own):
		return s.err
	}
	if e, ok := errors.AsType[*freshet.Error](s.err); ok { // a decoder's
		return asRefusal(e)
	}
	return fmt.Errorf("%w: %w", errBody, s.err)
}

// noRoom is a failure to keep a body.
func noRoom(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return freshet.Errorf(freshet.Unavailable, "the body has to be read before it can be signed, and cannot be kept: %w", err).
		WithHint("free the disk of %s, or set TMPDIR to another folder", os.TempDir())
}

// nameless makes a file that nobody can open, and that is gone once it is closed, however this process ends.
func nameless() (*os.File, error) {
	f, err := os.CreateTemp("", "freshet-body-*")
	if err != nil {
		return nil, noRoom(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, noRoom(err)
	}
	return f, nil
}

// hash is the hex SHA-256 of it all.
func (s *spool) hash() string { return hex.EncodeToString(s.sum[:]) }

// spooled is one reading of a spool.
type spooled struct {
	io.Reader
	spool *spool
}

func (s *spool) open() *spooled {
	if s.file == nil {
		return &spooled{bytes.NewReader(s.begin), s}
	}
	return &spooled{io.MultiReader(bytes.NewReader(s.begin), io.NewSectionReader(s.file, 0, s.size-int64(len(s.begin)))), s}
}

// Close leaves the spool, which other attempts may read.
func (*spooled) Close() error { return nil }

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
	}
}
