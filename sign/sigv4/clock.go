package sigv4

import (
	"net/http"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch"
)

const (
	// minSkew is under what AWS refuses: its services put up with five minutes at least, S3 with fifteen.
	minSkew = 4 * time.Minute
	// maxSkew is as far off as a clock is believed to be. It is far beyond AWS's fifteen minutes, since only what is beyond those is
	// refused everywhere, and a clock that was set to local time instead of UTC is hours off. It bounds for how long somebody who
	// gets hold of a signature could use it, if an upstream lies about its time.
	maxSkew = 24 * time.Hour
)

// learn finds out whether a signature was refused because of its time, by the Date of the answer, and notes by how much this
// machine's clock is off. It reports whether signing again now gives another time, and one that may be right.
//
// The upstream wrote Date just before the answer came, however long the request took on its way, and the answer was judged as soon
// as it came: so Date is compared with the clock now, which is off by the answer's way at most. What an Age says to be a cache's
// answer counts nothing (RFC 9111 §5.1).
func (s *Signer) learn(resp *http.Response) bool {
	date := fetch.Date(resp.Header)
	if date.IsZero() || resp.Request == nil {
		return false
	}
	at, err := time.Parse("20060102T150405Z", resp.Request.Header.Get("X-Amz-Date"))
	if err != nil || date.Sub(at).Abs() <= minSkew {
		return false // nothing is wrong with its time
	}
	ahead := date.Sub(freshet.Now().Wall())
	if ahead.Abs() > maxSkew {
		return false
	}
	// Otherwise another answer was the first to tell, or the request has waited for minutes after it was signed.
	if (ahead - time.Duration(s.offset.Load())).Abs() > minSkew {
		s.offset.Store(int64(ahead))
	}
	return true
}
