package azurecli

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
)

// failure turns a run that gave no token into one of our errors.
func (s *Source) failure(req freshet.Request, out child.Output, err error) *freshet.Error {
	e := &freshet.Error{Kind: freshet.Unavailable, Why: "az: could not be run", Cause: err}
	c, ok := errors.AsType[*child.Error](err)
	if !ok {
		return e
	}
	e.Why = "az" + strings.TrimPrefix(c.Error(), c.Program) // the error names the program by its path
	e.Hint = c.Hint()
	switch c.Reason {
	case child.NotFound, child.NotExecutable:
		e.Kind = freshet.Invalid
	case child.Overflow:
		e.Kind = freshet.Malformed
	case child.Exited, child.Signaled:
		if strings.HasPrefix(out.Stderr, "freshet:") {
			// A copy of ours that stands for az, or a shim of one whose file is gone, which program does not know for such.
			e.Kind, e.Why, e.Hint = freshet.Invalid, "az: what runs by this name is a freshet, and not the Azure CLI", "name the real az as program:"
			return e
		}
		if said := child.Redact(out.Stderr); said != "" {
			e.Why += ": " + said
		}
		s.classify(e, req, c, strings.Join(strings.Fields(out.Stderr), " "))
	}
	return e
}

// usage is the status with which az says that it does not know an argument.
const usage = 2

// classify reads what az said: it has one exit status for everything but arguments that it does not know. It offers az login
// after whatever Entra refused, so a code of Entra's counts for more.
func (s *Source) classify(e *freshet.Error, req freshet.Request, c *child.Error, said string) {
	code := ""
	if m := entra().FindStringSubmatch(said); m != nil {
		code = m[1]
	}
	switch {
	case c.Code == usage && c.Reason == child.Exited:
		e.Kind, e.Hint = freshet.Invalid, "update the Azure CLI: this one does not know the arguments"
	case slices.Contains(denials, code):
		e.Kind = freshet.Denied
	case slices.Contains(throttles, code):
		e.Status = http.StatusTooManyRequests
	case slices.Contains(outages, code):
	case strings.Contains(said, "az login"):
		e.Kind, e.Hint = freshet.LoginNeeded, "run "+s.login(req)
	case code != "":
		e.Kind = freshet.Denied
	case slices.ContainsFunc(misfits, func(m string) bool { return strings.Contains(said, m) }):
		e.Kind = freshet.Invalid
	}
}

// entra finds the code of a refusal of Microsoft Entra's.
var entra = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`AADSTS([0-9]{4,7})\b`) })

// denials are refusals that no login of the same person changes: an account that is disabled, unknown or not assigned, a policy
// that blocks, an application or a resource that is not there, or a service principal's own secret.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var denials = []string{
	"50020", "50034", "50057", "50105", "53003", "53004", "65002", "65004", "90002", "90094", "500011", "500014", "700016", "700024",
	"7000112", "7000215", "7000222",
}

// throttles are how Entra says that too much is asked of it: a client in a loop, and a tenant's requests altogether.
var throttles = []string{"50196", "90055"}

// outages are Entra's own, which pass.
var outages = []string{"90006", "90012", "90024", "90025", "90033", "90036", "900384"}

// misfits are what az says of arguments that do not go with the account it is logged in with.
var misfits = []string{
	"Tenant shouldn't be specified", "specify only one of subscription and tenant", "' not found. Check the spelling",
}
