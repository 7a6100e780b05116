package shell

import (
	"os/exec"
	"testing"
)

func TestShellReadsWhatWasQuoted(t *testing.T) {
	if Quote("") != "''" {
		t.Error("an empty text is no word")
	}
	for _, text := range []string{"", "a", "Bob's own", "$(id) `id` $HOME", "a\nb\\", `"'"'`, "-n", "*", "/tmp/ü", "é\x01"} {
		out, err := exec.Command("/bin/sh", "-c", "printf %s "+Quote(text)+"; printf .").Output()
		if err != nil || string(out) != text+"." {
			t.Errorf("%q: a shell reads %q, %v", text, out, err)
		}
	}
}
