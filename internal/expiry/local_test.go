package expiry

import (
	"testing"
	"time"
)

// TestLocalTime is in a zone whose clocks are set: what az prints is told in it.
func TestLocalTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones on this machine: install tzdata")
	}
	was := time.Local
	time.Local = berlin
	t.Cleanup(func() { time.Local = was })
	for text, want := range map[string]string{
		"2026-07-01 12:00:00.000000": "2026-07-01T10:00:00Z",
		"2026-12-01 12:00:00.123456": "2026-12-01T11:00:00Z",
		"2026-12-01 12:00:00":        "2026-12-01T11:00:00Z",
		"2026-10-25 02:30:00.000000": "2026-10-25T00:30:00Z", // twice that day: the earlier
	} {
		got, err := Local(text)
		if err != nil || got.UTC().Truncate(time.Second).Format(time.RFC3339) != want {
			t.Errorf("%s: got %v, %v, want %s", text, got.UTC(), err, want)
		}
	}
}
