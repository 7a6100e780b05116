package field

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// URL checks the address of an issuer or an upstream: absolute, https, or http where the host is this machine, and
// nothing in it that could carry a secret or be dropped on the way. The empty value is an error too.
func URL(field, value string) error {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "":
		return refuse(field, "not a URL", "write it in full, as https://host/path")
	case u.User != nil:
		return refuse(field, "a URL with a name or password in it", "secrets are never written in the configuration")
	case u.Fragment != "" || strings.Contains(value, "#"):
		return refuse(field, "a URL with a fragment", "remove the # and what follows it")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && Loopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return refuse(field, "http to another host", "use https: only this machine's own addresses may be http")
	}
	return refuse(field, "not an https URL", "write it in full, as https://host/path")
}

// Loopback reports whether a host, without its port, is this machine by its name or number: no name is looked up, as
// the answer could change.
func Loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && ip.IsLoopback() && ip.Zone() == ""
}

// maxRegion is longer than any region's name, and short enough for a DNS label.
const maxRegion = 32

// Region checks the name of a region. It becomes a part of a host's name, so it must be a DNS label, which can alter
// nothing else of it.
func Region(field, value string) error {
	ok := value != "" && len(value) <= maxRegion && strings.Trim(value, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		value[0] != '-' && value[len(value)-1] != '-'
	if !ok {
		return refuse(field, "not a region", "regions are lowercase letters, digits and hyphens, as us-east-1")
	}
	return nil
}

// Listen splits and checks an address to listen on: an IP address or localhost, and a port. Other names are refused,
// as what they resolve to could change.
func Listen(field, value string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(value)
	if err == nil && strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	}
	addr, addrErr := netip.ParseAddr(host)
	number, portErr := parseDigits(port)
	if err != nil || addrErr != nil || portErr != nil || number > 65535 || addr.Zone() != "" {
		return netip.AddrPort{}, refuse(field, "not an address and port", "write it as 127.0.0.1:9911")
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), nil
}

func refuse(field, why, help string) *Error {
	return &Error{Field: field, Why: why, Help: help}
}
