package azurecli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
)

// defaultTimeout is long for az, which takes 2 s on an idle machine, and enough on a busy one with a slow network.
const defaultTimeout = field.Duration(30 * time.Second)

// Config is the settings of one login. None is needed.
type Config struct {
	Tenant       string         `yaml:"tenant" doc:"tenant of callers that ask for none; default: that of az's current subscription"`
	Subscription string         `yaml:"subscription" doc:"subscription, by name or id, whose account and tenant are used; default: az's current one"`
	ConfigDir    string         `yaml:"config_dir" format:"path" doc:"folder of az's login, AZURE_CONFIG_DIR to az; default: that of freshet's environment, else ~/.azure"`
	Program      string         `yaml:"program" format:"path" doc:"path of the Azure CLI; default: the first az on PATH that is not freshet itself"`
	Timeout      field.Duration `yaml:"timeout" default:"30s" doc:"longest that one run may take"`
}

// Check says what is wrong with the settings, as field errors.
func (c Config) Check() error {
	var errs []error
	add := func(name, why, help string) { errs = append(errs, &field.Error{Field: name, Why: why, Help: help}) }
	if c.Tenant != "" && c.Subscription != "" {
		add("subscription", "given beside tenant, of which az takes one", "remove tenant: the subscription has its own")
	}
	if c.Tenant != "" && unfit(c.Tenant, tenantRunes) {
		add("tenant", "not a tenant's id or domain", "")
	}
	// az reads a file where an argument begins with @, or has @ behind a =.
	if strings.HasPrefix(c.Subscription, "-") || strings.HasPrefix(c.Subscription, "@") || strings.Contains(c.Subscription, "=@") ||
		strings.ContainsFunc(c.Subscription, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		add("subscription", "not a subscription's name or id", "write its id")
	}
	return errors.Join(errs...)
}

// String names nothing: there is no secret among the settings, and no need to show them.
func (c Config) String() string { return "azure-cli" }

// Format implements fmt.Formatter, for every verb alike.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalText implements encoding.TextMarshaler, so that JSON shows no more than String.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// invalid is an error of the settings as one of the library's.
func invalid(err error) *freshet.Error {
	e := freshet.Errorf(freshet.Invalid, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	if f, ok := errors.AsType[*field.Error](err); ok {
		e.Hint = f.Help
	}
	return e
}
