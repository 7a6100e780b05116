package secret

import (
	"slices"
	"testing"
)

func TestFilesAreThoseOfFileSecretsAndNeverASecretInTheirPlace(t *testing.T) {
	for _, test := range []struct {
		ref  Ref
		want []string
	}{
		{Ref{File: "/run/secrets/x"}, []string{"/run/secrets/x"}},
		{Ref{File: "/run/secrets/x", Shared: true}, []string{"/run/secrets/x"}},
		{Ref{File: "planted-secret-0123456789"}, nil},
		{Ref{Env: "/run/secrets/x"}, nil},
		{Ref{Command: []string{"/bin/cat", "/run/secrets/x"}}, nil},
		{Ref{}, nil},
	} {
		if got := test.ref.Files(); !slices.Equal(got, test.want) {
			t.Errorf("%v: got %q, want %q", test.ref, got, test.want)
		}
	}
}
