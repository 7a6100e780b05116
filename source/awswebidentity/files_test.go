package awswebidentity

import (
	"slices"
	"testing"
)

func TestFilesIsTheCAFile(t *testing.T) {
	if got := (&Source{cfg: Config{CAFile: "/etc/ca.pem"}}).Files(); !slices.Equal(got, []string{"/etc/ca.pem"}) {
		t.Errorf("got %q", got)
	}
	if got := (&Source{}).Files(); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}
