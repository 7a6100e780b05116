package azureappservice

import (
	"net/url"
	"strings"
)

// query is what a request asks for.
type query struct {
	version, resource, clientID string
	named                       bool // it names one of several identities, in whichever way
}

// readQuery reads the parameters, and says why it cannot. Those that are not known are ignored: msal-node adds xms_cc, others
// what a proxy or their version wants.
func readQuery(raw string) (q query, why string) {
	seen := make(map[string]bool)
	for pair := range strings.SplitSeq(raw, "&") {
		key, value, _ := strings.Cut(pair, "=")
		key, err1 := url.QueryUnescape(key)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return q, "the query cannot be read"
		}
		switch key {
		case "api-version":
			q.version = value
		case "resource":
			q.resource = value
		case "client_id":
			q.clientID = value
			q.named = q.named || value != ""
		case "mi_res_id", "object_id", "principal_id", "msi_res_id":
			q.named = q.named || value != ""
		default:
			continue
		}
		if seen[key] {
			return q, key + " is there more than once"
		}
		seen[key] = true
	}
	return q, ""
}
