// Package corpus makes seeds for fuzz targets of golden files, so that there is one copy of each example.
package corpus

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// seconds finds the times of golden files as seconds since 1970.
var seconds = regexp.MustCompile(`\b9466[0-9]{5}\b`)

// Of reads the files that match one of the patterns, of which each must match one. Golden files are of the first day of 2000, so
// that their credentials have expired: each file is followed by a copy whose times are tomorrow's.
func Of(t testing.TB, patterns ...string) []string {
	t.Helper()
	began := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	days := freshet.Now().Wall().Sub(began).Truncate(24*time.Hour) + 24*time.Hour
	tomorrow := began.Add(days).Format(time.DateOnly)
	var texts []string
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: no golden files (%v)", pattern, err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			later := seconds.ReplaceAllStringFunc(strings.ReplaceAll(string(b), began.Format(time.DateOnly), tomorrow), func(s string) string {
				n, _ := strconv.ParseInt(s, 10, 64)
				return strconv.FormatInt(n+int64(days/time.Second), 10)
			})
			texts = append(texts, string(b), later)
		}
	}
	return texts
}
