package expiry

import (
	"testing"
	"time"

	"freshet.dev/internal/corpus"
)

// FuzzLocal holds that a local time which is read is shown the same again, and is the earlier where there are two of it.
func FuzzLocal(f *testing.F) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		f.Skip("no time zones on this machine: install tzdata")
	}
	was := time.Local
	time.Local = berlin
	f.Cleanup(func() { time.Local = was })
	for _, text := range corpus.Of(f, "../../format/az/testdata/*.json") {
		f.Add(text)
	}
	for _, text := range []string{
		"2026-07-01 09:00:00.123456", "2026-10-25 02:30:00", "2026-03-29 02:30:00", "2026-10-25 02:30:00,5", "0000-01-01 00:00:00", "9999-12-31 23:59:60", "2026-7-1 9:00:00",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := Local(text)
		if err != nil {
			return
		}
		const layout = "2006-01-02 15:04:05"
		shown := at.Format(layout)
		if again, err := Local(shown); err != nil || again.Sub(at.Truncate(time.Second)).Abs() >= time.Second {
			t.Errorf("%q is %v, and %q is %v (%v)", text, at, shown, again, err)
		}
		if before := at.Add(-time.Hour); before.Format(layout) == shown {
			t.Errorf("%q is %v, and %v is the same by the clock", text, at, before)
		}
	})
}
