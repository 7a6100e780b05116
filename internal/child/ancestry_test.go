package child

import (
	"testing"

	"freshet.dev/freshet"
)

func TestChildKnowsWhatItServes(t *testing.T) {
	ctx := freshet.WithAncestry(t.Context(), "outer", "inner")
	out, err := new(Runner).Run(ctx, Command{Args: []string{"/bin/sh", "-c", `printf %s "$FRESHET_ANCESTRY"`}, Env: map[string]string{EnvAncestry: "forged"}})
	if err != nil || string(out.Stdout) != "outer,inner" {
		t.Errorf("got %q, %v, want the names of what it serves, whatever else is said", out.Stdout, err)
	}
	if out, err = new(Runner).Run(t.Context(), Command{Args: []string{"/bin/sh", "-c", `printf %s "${FRESHET_ANCESTRY-none}"`}}); err != nil || string(out.Stdout) != "none" {
		t.Errorf("got %q, %v of a child that serves nobody", out.Stdout, err)
	}
}
