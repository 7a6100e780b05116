package config

import (
	"errors"
	"slices"
	"strconv"

	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
)

// reservedName is what routes are called together that are opened for a while, and are in no file.
const reservedName = "ad-hoc"

// Check looks at all that one entry can get wrong alone.
func (p *Proxy) Check() error {
	var errs []error
	if p.Name != "" && (!isName(p.Name) || p.Name == reservedName) {
		help := nameForm
		if p.Name == reservedName {
			help = "that is what routes are called that are in no file"
		}
		errs = append(errs, &field.Error{Field: "name", Why: "not a name for a proxy", Help: help})
	}
	errs = append(errs, p.checkListen(), p.checkUpstream(), p.checkFilter(), field.Prefix("path", p.Path))
	if p.MaxSpool == 0 {
		errs = append(errs, &field.Error{Field: "max_spool", Why: "want 1B or more"})
	}
	if p.Retries < 0 || p.Retries > 5 {
		errs = append(errs, &field.Error{Field: "retries", Why: "want 0 to 5"})
	}
	if p.Connections < 0 {
		errs = append(errs, &field.Error{Field: "connections", Why: "want 0 or more", Help: "0 is no limit"})
	}
	return errors.Join(errs...)
}

// Check wants a certificate wherever there is TLS at all.
func (t ProxyTLS) Check() error {
	switch {
	case t.CertFile == "" && t.KeyFile != "":
		return &field.Error{Field: "key_file", Why: "given without cert_file"}
	case t.CertFile != "" && t.KeyFile == "":
		return &field.Error{Field: "cert_file", Why: "given without key_file"}
	case t.CertFile == "" && t.ClientCAFile != "":
		return &field.Error{Field: "client_ca_file", Why: "given without cert_file and key_file"}
	}
	return nil
}

// Check wants times in which something can happen.
func (t ProxyTimeouts) Check() error {
	if t.Connect <= 0 {
		return &field.Error{Field: "connect", Why: "want more than 0s"}
	}
	if t.Idle <= 0 {
		return &field.Error{Field: "idle", Why: "want more than 0s"}
	}
	return nil
}

func (p *Proxy) checkListen() error {
	if _, err := field.Listen("", p.Listen); err == nil && (p.Allow.UIDs != nil || p.Allow.Groups != nil) {
		return &field.Error{Field: "allow", Why: "users are known on a Unix socket alone", Help: "listen on unix:/path, or remove it"}
	}
	return checkServer(p.Listen, p.Secret, p.TLS, p.Expose)
}

// checkServer wants callers who can be told from others: by a secret, a certificate, or as users of this machine.
func checkServer(listen string, callers secret.Ref, tls ProxyTLS, expose bool) error {
	_, unix, err := field.Socket("listen", listen)
	if err != nil {
		return err
	}
	if unix {
		switch {
		case tls != ProxyTLS{}:
			return &field.Error{Field: "tls", Why: "a Unix socket has none", Help: "remove it: callers are known by their user"}
		case expose:
			return &field.Error{Field: "expose", Why: "a Unix socket is this machine's alone", Help: "remove it"}
		}
		return nil
	}
	addr, err := field.Listen("listen", listen)
	if err != nil {
		return err
	}
	switch outside := !addr.Addr().IsLoopback(); {
	case outside && !expose:
		return &field.Error{
			Field: "listen", Why: "other machines can reach this address", Help: "listen on 127.0.0.1, or add expose: true and tls: if they may",
		}
	case outside && tls.CertFile == "":
		return &field.Error{Field: "expose", Why: "there is no tls", Help: "add tls: {cert_file: PATH, key_file: PATH}"}
	case callers.IsZero() && tls.ClientCAFile == "":
		return &field.Error{
			Why: "its callers have nothing to show", Help: "add secret:, or tls: with client_ca_file, or listen on unix:/path",
		}
	}
	return nil
}

func (p *Proxy) checkUpstream() error {
	to, err := field.Upstream("upstream", p.Upstream)
	switch {
	case err != nil:
		return err
	case to.Scheme == "http" && p.CAFile != "":
		return &field.Error{Field: "ca_file", Why: "an http upstream shows no certificate", Help: "remove it"}
	case to.Scheme == "https" && p.HTTP2:
		return &field.Error{Field: "http2", Why: "given for an https upstream", Help: "remove it: over https, HTTP/2 is agreed on"}
	}
	return nil
}

// checkFilter wants a list of what passes to have something in it: an empty one reads as if nothing did.
func (p *Proxy) checkFilter() error {
	var errs []error
	for _, list := range []struct {
		key    string
		values []string
		check  func(field, value string) error
	}{{"methods", p.Methods, field.Method}, {"paths", p.Paths, field.Pattern}} {
		if list.values != nil && len(list.values) == 0 {
			errs = append(errs, &field.Error{Field: list.key, Why: "is empty", Help: "remove the key if all may pass"})
		}
		for i, value := range list.values {
			at := join(list.key, index(i))
			if slices.Index(list.values, value) < i {
				errs = append(errs, &field.Error{Field: at, Why: "listed twice"})
				continue
			}
			errs = append(errs, list.check(at, value))
		}
	}
	return errors.Join(errs...)
}

// address is where it listens, the same however it was written; "" if it is not right.
func (p *Proxy) address() string { return addressOf(p.Listen) }

func addressOf(listen string) string {
	if file, unix, err := field.Socket("", listen); unix && err == nil {
		return "unix:" + file
	}
	if addr, err := field.Listen("", listen); err == nil {
		return addr.String()
	}
	return ""
}

// listeners are what listens where that is neither a proxy nor a bridge: address → what.
func listeners(f *File) map[string]string {
	others := map[string]string{}
	if addr, err := field.Listen("", f.Metrics.Listen); err == nil {
		others[addr.String()] = "metrics"
	}
	for _, e := range f.Endpoints {
		if addr, err := field.Listen("", e.Listen); err == nil {
			others[addr.String()] = "an endpoint"
		}
	}
	if f.Socket.Path != "" {
		others["unix:"+f.Socket.Path] = "the local API"
	}
	return others
}

// crossCheckProxies finds what is wrong between proxies and the rest. unknown notes an identity that is not there.
func crossCheckProxies(f *File, byName map[string]*Identity, unknown func(at *places, path, wanted string)) Errors {
	var errs Errors
	others := listeners(f)
	named, routes, servers := map[string]*Proxy{}, map[string]*Proxy{}, map[string]*Proxy{} // name, address and path, address → first entry
	line := func(p *Proxy) string { return "the entry of line " + strconv.Itoa(p.Pos.Line) }
	for i := range f.Proxies {
		p := &f.Proxies[i]
		if id := byName[p.Identity]; id != nil {
			errs = append(errs, asks(p.at, p.Tenant, p.Audience, p.Scopes, id)...)
		} else if p.Identity != "" {
			unknown(p.at, "identity", p.Identity)
		}
		address := p.address()
		if address == "" {
			continue
		}
		if what := others[address]; what != "" {
			errs = append(errs, p.at.problem("listen", what+" listens there", "give the proxy another address"))
			continue
		}
		if first := routes[address+" "+p.Path]; first != nil {
			errs = append(errs, p.at.problem("path", line(first)+" has the same path there", "give one of them another path, or another address"))
			continue
		}
		routes[address+" "+p.Path] = p
		if first := named[p.Name]; first != nil {
			errs = append(errs, p.at.problem("name", line(first)+" has the same name", ""))
		}
		named[p.Name] = p
		if first := servers[address]; first == nil {
			servers[address] = p
		} else if first.TLS != p.TLS {
			errs = append(errs, p.at.problem("tls", line(first)+" has other TLS settings at this address", "make them the same"))
		}
	}
	return errs
}

// asks finds what an identity may not be asked for, and so would never give: what is in none of its lists, or another than its
// default where it has that alone.
func asks(at *places, tenant, audience string, scopes []string, id *Identity) Errors {
	var errs Errors
	for _, s := range []struct {
		key, asked, standard string
		list                 []string
	}{{"tenant", tenant, id.Tenant, id.Tenants}, {"audience", audience, id.Audience, id.Audiences}} {
		switch {
		case s.asked == "" || s.asked == s.standard || slices.Contains(s.list, s.asked):
		case len(s.list) > 0:
			errs = append(errs, at.problem(s.key, "not among the "+s.key+"s that its identity may be asked for", "add it there"))
		case s.standard != "":
			errs = append(errs, at.problem(s.key, "its identity has another, and no list of "+s.key+"s", "add "+s.key+"s: there, or remove it here"))
		}
	}
	for i, scope := range scopes {
		if len(id.Scopes) > 0 && !slices.Contains(id.Scopes, scope) {
			errs = append(errs, at.problem(join("scopes", index(i)), "not among the scopes that its identity may be asked for", "add it there"))
		}
	}
	return errs
}
