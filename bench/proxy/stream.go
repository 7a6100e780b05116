package proxy

import (
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"time"

	"freshet.dev/bench/internal/measure"
)

func streamCase() measure.Case {
	c := measure.Case{
		Name: "proxy/stream", Title: "10 GB through a proxy, up and down", Rounds: 3,
		About: "One request whose body has 10 GB, and one that is answered with as many. *memory* is the most that the proxy's process had in " +
			"memory meanwhile, above what it had before; it is started anew for each. With Signature Version 4 the upload's caller " +
			"gives the body's hash, as SDKs do; the upstream here does not compare it.",
		Columns: []measure.Column{
			{Name: "upload", Unit: measure.Nanoseconds, Compare: true},
			{Name: "memory", Unit: measure.Bytes},
			{Name: "download", Unit: measure.Nanoseconds, Compare: true},
			{Name: "memory", Unit: measure.Bytes},
		},
	}
	if runtime.GOOS != "linux" {
		c.Missing = "it is Linux that tells the most memory that a process had in a while"
	}
	w := new(world)
	for _, y := range []*way{bearer, signature, bare} {
		c.Subjects = append(c.Subjects, measure.Subject{Name: y.name, Role: y.role, Note: y.note, Start: func(s *measure.Setup) (measure.Round, error) {
			if err := w.begin(s); err != nil {
				return nil, err
			}
			begin, err := y.prepare(s, w.url())
			if err != nil {
				return nil, err
			}
			return y.streamRound(s, begin), nil
		}})
	}
	return c
}

func (y *way) streamRound(s *measure.Setup, begin start) measure.Round {
	size := int64(s.Size(10_000_000_000, 4_000_000))
	return func() (values []float64, err error) {
		for _, stream := range []func(*client, *measure.Setup, int64) error{(*client).upload, (*client).download} {
			took, memory, err := y.stream(s, begin, func(c *client) error { return stream(c, s, size) })
			if err != nil {
				return nil, err
			}
			values = append(values, took, memory)
		}
		return values, nil
	}
}

// stream starts a proxy, and stops it again: memory that it has had it keeps.
func (y *way) stream(s *measure.Setup, begin start, through func(*client) error) (took, memory float64, err error) {
	v, err := y.server(begin)
	if err != nil {
		return 0, 0, err
	}
	defer v.process.Stop()
	if err := v.check(s); err != nil {
		return 0, 0, err
	}
	before, err := v.process.Memory()
	if err != nil {
		return 0, 0, err
	}
	if err := v.process.ForgetPeak(); err != nil {
		return 0, 0, err
	}
	c := v.client()
	defer c.close()
	began := time.Now()
	if err := through(c); err != nil {
		return 0, 0, err
	}
	took = float64(time.Since(began))
	most, err := v.process.Peak()
	return took, max(0, most-before), err
}

// chunk is what callers write and read at once.
const chunk = 64 << 10

func (c *client) upload(s *measure.Setup, size int64) error {
	hash := "X-Amz-Content-Sha256: " + strings.Repeat("0", 64)
	resp, err := c.send(s, "PUT", "/upload", io.LimitReader(zeros{}, size), size, hash)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && string(got) != strconv.FormatInt(size, 10) {
		err = fmt.Errorf("%w: the upstream got %q of %d bytes", measure.ErrWrong, got, size)
	}
	return err
}

func (c *client) download(s *measure.Setup, size int64) error {
	resp, err := c.send(s, "GET", "/download?bytes="+strconv.FormatInt(size, 10), nil, 0)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, chunk))
	if err == nil && got != size {
		err = fmt.Errorf("%w: %d of %d bytes came", measure.ErrWrong, got, size)
	}
	return err
}

// zeros is a body of any length, which costs nothing to read.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
