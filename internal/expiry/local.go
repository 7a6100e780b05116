package expiry

import "time"

// Local reads the local time that az prints as expiresOn; a fraction of a second is accepted. In the hour that is repeated when
// summer time ends it is the earlier of the two instants: a token replaced too soon does no harm.
func Local(text string) (time.Time, error) {
	const layout = "2006-01-02 15:04:05"
	t, err := time.ParseInLocation(layout, text, time.Local)
	if err != nil {
		return time.Time{}, err
	}
	if earlier := t.Add(-time.Hour); earlier.Format(layout) == t.Format(layout) {
		return earlier, nil
	}
	return t, nil
}
