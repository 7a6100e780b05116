package kubeexec

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/corpus"
)

// FuzzInfo holds that the version printed is one of those that are known and the one asked for, and that an error shows nothing of
// what was set: client-go puts the cluster's certificate in it.
func FuzzInfo(f *testing.F) {
	for _, golden := range corpus.Of(f, "testdata/*.json") {
		f.Add(golden)
	}
	for _, text := range []string{
		"", info("client.authentication.k8s.io/v1"), info("client.authentication.k8s.io/v1alpha1"), `{"apiVersion":"planted-secret"}`, `{"APIVERSION":"client.authentication.k8s.io/v1"}`,
		`{"apiVersion":1}`, "null", "[]", "planted-secret",
	} {
		f.Add(text)
	}
	c, err := freshet.NewBearer("token", "", freshet.Validity{Lifetime: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, err := Render(freshet.Answer{Credential: c}, text)
		if err != nil {
			e, ok := err.(*freshet.Error)
			if len(out) != 0 || !ok || e.Kind != freshet.Invalid || e.Hint == "" || strings.Contains(e.Error()+e.Hint, "planted-secret") {
				t.Errorf("%q: got %q and %v", text, out, err)
			}
			return
		}
		var doc struct{ APIVersion, Kind string }
		if err := json.Unmarshal(out, &doc); err != nil || doc.Kind != kind || doc.APIVersion != group+"v1" && doc.APIVersion != group+"v1beta1" {
			t.Fatalf("%q: got %q (%v)", text, out, err)
		}
		if text != "" && !strings.Contains(strings.ReplaceAll(text, `\`, ""), "v1") && !strings.Contains(text, `\u`) {
			t.Errorf("%q asks for no version, and gets %q", text, doc.APIVersion)
		}
	})
}
