package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPortOfOutgoingConnectionsIsWarnedOf(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	warned := func(listen string) bool {
		t.Helper()
		why := ephemeral(dir, listen)
		if why != "" && !strings.Contains(why, "choose one below 32768, or add it to net.ipv4.ip_local_reserved_ports") {
			t.Errorf("%s: got %q", listen, why)
		}
		return why != ""
	}
	if warned("127.0.0.1:40000") {
		t.Error("a system that does not say is warned of")
	}
	write("ip_local_port_range", "32768\t60999\n")
	check := func(wants map[string]bool) {
		t.Helper()
		for listen, want := range wants {
			if got := warned(listen); got != want {
				t.Errorf("%s: warned of: %v, want %v", listen, got, want)
			}
		}
	}
	check(map[string]bool{
		"127.0.0.1:9911": false, "127.0.0.1:0": false, "127.0.0.1:32767": false, "127.0.0.1:32768": true, "[::1]:40000": true,
		"127.0.0.1:60999": true, "127.0.0.1:61000": false, "localhost:http": false, "nonsense": false,
	})
	write("ip_local_reserved_ports", "8080,40000-40002,50000\n")
	check(map[string]bool{
		"127.0.0.1:39999": true, "127.0.0.1:40000": false, "127.0.0.1:40002": false, "127.0.0.1:40003": true, "127.0.0.1:50000": false,
	})
	write("ip_local_reserved_ports", "\n")
	check(map[string]bool{"127.0.0.1:40000": true})
	for _, odd := range []string{"", "x y", "32768"} {
		write("ip_local_port_range", odd)
		check(map[string]bool{"127.0.0.1:40000": false})
	}
}

// TestWarningsTellOfAPortThatMayBeTaken goes by what this system says of its ports.
func TestWarningsTellOfAPortThatMayBeTaken(t *testing.T) {
	b, err1 := os.ReadFile(filepath.Join(sysctls, "ip_local_port_range"))
	var low, high int
	_, err2 := fmt.Sscan(string(b), &low, &high)
	if err := errors.Join(err1, err2); err != nil {
		t.Skipf("the system does not tell of its ports: %v", err)
	}
	port := high
	for ; port >= low && ephemeral(sysctls, fmt.Sprintf("127.0.0.1:%d", port)) == ""; port-- { // those that are reserved
	}
	if port < low {
		t.Skip("all of its ports are reserved")
	}
	cfg := load(t, fmt.Sprintf("%sendpoints:\n  - {endpoint: aws-container, listen: 127.0.0.1:%d, identity: api, secret: {env: DOOR}}\nmetrics: {listen: 127.0.0.1:%d}\n",
		twoIdentities, port, port))
	got := strings.Join(Warnings(cfg), "\n")
	for _, want := range []string{
		fmt.Sprintf("c.yaml:7:5: endpoint aws-container: while the daemon is down, any outgoing connection can take port %d,", port),
		fmt.Sprintf("c.yaml: metrics: while the daemon is down, any outgoing connection can take port %d,", port),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}
