package sigv4

import (
	"bufio"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"freshet.dev/freshet"
)

// Bounds of what stands around the bytes of a body in chunks.
const (
	maxChunkHeader = 256     // a size, and a signature of at most 144 characters
	maxTrailer     = 4 << 10 // all that follows the last chunk
	maxTrailers    = 8
	maxChunkSize   = 1 << 40 // more than an object of S3 can have
)

// decoder reads a body of content-encoding aws-chunked, and gives what is in it:
//
//	10000;chunk-signature=HEX\r\n BYTES \r\n … 0;chunk-signature=HEX\r\n
//	[x-amz-checksum-crc32:BASE64\r\n x-amz-trailer-signature:HEX\r\n] \r\n
//
// Those of STREAMING-UNSIGNED-PAYLOAD-TRAILER have no signatures. The end of a line may lack its carriage return in the trailer,
// and a blank line may stand before the trailer's signature, since minio-go writes it that way.
type decoder struct {
	body   io.ReadCloser
	from   *bufio.Reader
	left   int64 // of the current chunk
	rest   int64 // of the whole, as it was announced
	begun  bool  // a chunk was read, whose end has to follow
	signed bool
	names  []string          // of the trailer, as they were announced
	found  map[string]string // name → checksum
	end    error             // what every further Read gives
}

func newDecoder(body io.ReadCloser, length int64, signed bool, names []string) *decoder {
	if body == nil {
		body = http.NoBody
	}
	return &decoder{body: body, from: bufio.NewReaderSize(body, 32<<10), rest: length, signed: signed, names: names}
}

func bad(why string) error {
	return freshet.Errorf(freshet.Invalid, "the body is not in chunks as %s says: %s", contentHash, why)
}

// Close implements io.Closer.
func (d *decoder) Close() error { return d.body.Close() }

// Read implements io.Reader. Errors about the form are of kind Invalid; those of the body are passed on.
func (d *decoder) Read(b []byte) (int, error) {
	if d.end == nil && d.left == 0 {
		d.end = d.next()
	}
	if d.end != nil || len(b) == 0 {
		return 0, d.end
	}
	n, err := d.from.Read(b[:min(int64(len(b)), d.left)])
	d.left -= int64(n)
	d.rest -= int64(n)
	if err != nil {
		d.end = cut(err)
	}
	if n > 0 {
		return n, nil
	}
	return 0, d.end
}

// cut is the error of a body that ends too soon.
func cut(err error) error {
	if err == io.EOF {
		return bad("it ends in the middle")
	}
	return err
}

// next reads a chunk's header, or all that follows the last chunk: then it gives io.EOF.
func (d *decoder) next() error {
	if d.begun {
		line, err := d.line(2)
		if err != nil {
			return err
		}
		if line != "" {
			return bad("a chunk is longer than its size")
		}
	}
	line, err := d.line(maxChunkHeader)
	if err != nil {
		return err
	}
	digits, extension, _ := strings.Cut(line, ";")
	size, err := strconv.ParseUint(digits, 16, 63)
	switch {
	case err != nil || strings.HasPrefix(digits, "+") || size > maxChunkSize:
		return bad("a chunk has no size")
	case d.signed != signedChunk(extension) || !d.signed && extension != "":
		return bad("a chunk has no signature where it should, or one where it should not")
	case int64(size) > d.rest:
		return bad("it is longer than X-Amz-Decoded-Content-Length")
	case size > 0:
		d.left, d.begun = int64(size), true
		return nil
	case d.rest > 0:
		return bad("it is shorter than X-Amz-Decoded-Content-Length")
	}
	return d.last()
}

// signedChunk reports whether a chunk's extension has the form of a signature: of hex digits, which those of version 4a fill up with
// asterisks.
func signedChunk(extension string) bool {
	sign, ok := strings.CutPrefix(extension, "chunk-signature=")
	return ok && len(sign) >= 64 && len(sign) <= 144 && strings.Trim(sign, "0123456789abcdef*") == ""
}

// line reads a line that ends in \r\n, and gives it without that.
func (d *decoder) line(most int) (string, error) {
	line, err := d.from.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull, err == nil && len(line) > most+2:
		return "", bad("a line is too long")
	case err != nil:
		return "", cut(err)
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok {
		return "", bad("a line does not end as lines do")
	}
	return text, nil
}

// last reads the trailer. The last line is blank, or the body was cut.
func (d *decoder) last() error {
	text, err := io.ReadAll(io.LimitReader(d.from, maxTrailer+1))
	switch {
	case err != nil:
		return err
	case len(text) > maxTrailer:
		return bad("what follows its last chunk is too long")
	case len(text) == 0 || text[len(text)-1] != '\n':
		return cut(io.EOF)
	}
	found := make(map[string]string)
	blank := false
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if blank = line == ""; blank {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case !ok:
			return bad("its trailer has a line that is no header")
		case name == "x-amz-trailer-signature" && d.signed:
			continue
		case !slices.Contains(d.names, name) || found[name] != "":
			return bad("its trailer has what X-Amz-Trailer does not name, or has it twice")
		case value == "" || strings.Trim(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-") != "":
			return bad("its trailer has a checksum that is none")
		}
		found[name] = value
	}
	switch {
	case !blank:
		return cut(io.EOF)
	case len(found) != len(d.names):
		return bad("its trailer lacks what X-Amz-Trailer names")
	}
	d.found = found
	return io.EOF
}

// trailer puts the checksums of the body's end into a header: they are of what was decoded.
func (d *decoder) trailer(h http.Header) error {
	if d.end != io.EOF {
		return freshet.Errorf(freshet.Bug, "a body's trailer is wanted before its end")
	}
	for name, value := range d.found {
		h[http.CanonicalHeaderKey(name)] = []string{value}
	}
	return nil
}
