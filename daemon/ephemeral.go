package daemon

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sysctls is where Linux tells of its ports; elsewhere there is nothing.
const sysctls = "/proc/sys/net/ipv4"

// ephemeral says why an address may not be free when the daemon starts: its port is of those that the kernel gives to outgoing
// connections. "" if it is not, or is reserved, or if the system does not say.
func ephemeral(sysctls, listen string) string {
	_, s, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	port, err := strconv.Atoi(s)
	if err != nil {
		return ""
	}
	b, err := os.ReadFile(filepath.Join(sysctls, "ip_local_port_range"))
	if err != nil {
		return ""
	}
	var low, high int
	if n, _ := fmt.Sscan(string(b), &low, &high); n < 2 || port < low || port > high {
		return ""
	}
	if b, err = os.ReadFile(filepath.Join(sysctls, "ip_local_reserved_ports")); err == nil && reserved(string(b), port) {
		return ""
	}
	return fmt.Sprintf("while the daemon is down, any outgoing connection can take port %d, and the daemon then does not start: "+
		"choose one below %d, or add it to net.ipv4.ip_local_reserved_ports", port, low)
}

// reserved reports whether a port is in a list such as 8080,9148-9150.
func reserved(list string, port int) bool {
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		low, err1 := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		if err1 == nil && err2 == nil && low <= port && port <= high {
			return true
		}
	}
	return false
}
