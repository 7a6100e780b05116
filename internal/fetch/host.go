package fetch

import (
	"net"
	"net/url"
	"strings"
)

// Host names an issuer by its address, as in freshet.Target: the host in lower case, with the port unless that is the
// scheme's own. It is empty for what is no URL with a host.
func Host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	switch {
	case port != "" && port != map[string]string{"https": "443", "http": "80"}[u.Scheme]:
		return net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		return "[" + host + "]"
	}
	return host
}
