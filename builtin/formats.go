package builtin

import (
	"strings"

	"freshet.dev/format/awsprocess"
	"freshet.dev/format/az"
	"freshet.dev/format/azd"
	"freshet.dev/format/env"
	"freshet.dev/format/header"
	"freshet.dev/format/json"
	"freshet.dev/format/kubeexec"
	"freshet.dev/format/raw"
	"freshet.dev/freshet"
)

// Formats are the renderings there are.
func Formats() []Format {
	return []Format{
		{"raw", alike(raw.Render)},
		{"json", alike(json.Render)},
		{"header", alike(header.Render)},
		{"env", alike(env.Render)},
		{"aws-process", alike(awsprocess.Render)},
		{"kube-exec", func(a freshet.Answer, r Rendering) ([]byte, error) {
			return kubeexec.Render(a, r.Getenv(kubeexec.EnvInfo))
		}},
		{"az", func(a freshet.Answer, r Rendering) ([]byte, error) { return az.Render(a, r.Request.Tenant) }},
		{"azd", alike(azd.Render)},
	}
}

// FormatNamed returns the format of a name, or nil.
func FormatNamed(name string) *Format {
	return find(Formats(), name, func(f *Format) string { return f.Name })
}

// FormatNames lists the formats' names, for messages.
func FormatNames() string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// alike adapts a format that depends on the credential alone.
func alike(render func(freshet.Answer) ([]byte, error)) func(freshet.Answer, Rendering) ([]byte, error) {
	return func(a freshet.Answer, _ Rendering) ([]byte, error) { return render(a) }
}
