package daemon

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"freshet.dev/builtin"
	"freshet.dev/config"
	"freshet.dev/freshet"
)

// Warnings are what a configuration may do and its author may not want, a line each.
func Warnings(cfg *config.File) []string {
	var w []string
	types := make(map[string]string)
	for i := range cfg.Identities {
		id := &cfg.Identities[i]
		row := builtin.SourceNamed(id.Source)
		types[id.Name] = string(row.Type)
		if row.Warn == nil {
			continue
		}
		if why := row.Warn(id.Settings); why != "" {
			w = append(w, fmt.Sprintf("%s:%d:%d: identities.%s: %s", cfg.Path, id.Pos.Line, id.Pos.Col, id.Name, why))
		}
	}
	for i := range cfg.Endpoints {
		e := &cfg.Endpoints[i]
		at := fmt.Sprintf("%s:%d:%d: endpoint %s", cfg.Path, e.Pos.Line, e.Pos.Col, e.Kind)
		carries := string(builtin.EndpointNamed(e.Kind).Type)
		for _, name := range e.Names() {
			if t := types[name]; t != "" && t != carries {
				w = append(w, fmt.Sprintf("%s: identity %s yields %s credentials, and this dialect carries %s alone", at, name, t, carries))
			}
		}
		w = append(w, fmt.Sprintf("%s: while the daemon is down, any program on this machine can listen at %s and be sent the endpoint's secret", at, e.Listen))
		if why := ephemeral(sysctls, e.Listen); why != "" {
			w = append(w, at+": "+why)
		}
	}
	for i := range cfg.Proxies {
		p := &cfg.Proxies[i]
		at := fmt.Sprintf("%s:%d:%d: proxy %s", cfg.Path, p.Pos.Line, p.Pos.Col, p.Name)
		signs := builtin.SignerNamed(p.Signer).Types
		if t := types[p.Identity]; t != "" && !slices.Contains(signs, freshet.Type(t)) {
			w = append(w, fmt.Sprintf("%s: identity %s yields %s credentials, and %s does not sign with such", at, p.Identity, t, p.Signer))
		}
		if !p.Secret.IsZero() && p.TLS.CertFile == "" && !strings.HasPrefix(p.Listen, "unix:") {
			w = append(w, fmt.Sprintf("%s: while the daemon is down, any program on this machine can listen at %s and be sent the proxy's secret", at, p.Listen))
		}
		if why := ephemeral(sysctls, p.Listen); why != "" {
			w = append(w, at+": "+why)
		}
	}
	for i := range cfg.MCP {
		m := &cfg.MCP[i]
		at := fmt.Sprintf("%s:%d:%d: mcp %s", cfg.Path, m.Pos.Line, m.Pos.Col, m.Name)
		for j := range m.Upstreams {
			u := &m.Upstreams[j]
			if info, err := os.Stat(u.Pin); err == nil && info.Mode().Perm()&0o022 != 0 { // one that is not pinned has no such file
				w = append(w, fmt.Sprintf("%s: pin: others can write %s, and have agents get other tools: chmod go-w %s", at, u.Pin, u.Pin))
			}
			if u.Signer == "" {
				continue // what the identity yields decides
			}
			signs := builtin.SignerNamed(u.Signer).Types
			for _, name := range u.Names() {
				if t := types[name]; t != "" && !slices.Contains(signs, freshet.Type(t)) {
					w = append(w, fmt.Sprintf("%s: identity %s yields %s credentials, and %s does not sign with such", at, name, t, u.Signer))
				}
			}
		}
		if !m.Secret.IsZero() && m.TLS.CertFile == "" && !strings.HasPrefix(m.Listen, "unix:") {
			w = append(w, fmt.Sprintf("%s: while the daemon is down, any program on this machine can listen at %s and be sent the bridge's secret", at, m.Listen))
		}
		if why := ephemeral(sysctls, m.Listen); why != "" {
			w = append(w, at+": "+why)
		}
	}
	if why := ephemeral(sysctls, cfg.Metrics.Listen); why != "" {
		w = append(w, fmt.Sprintf("%s: metrics: %s", cfg.Path, why))
	}
	return w
}
