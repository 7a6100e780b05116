package builtin

import (
	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/source/awsprofile"
	"freshet.dev/source/awsrole"
	"freshet.dev/source/awswebidentity"
	"freshet.dev/source/azurecli"
	"freshet.dev/source/file"
	"freshet.dev/source/lab"
	"freshet.dev/source/oauth2"
	"freshet.dev/source/process"
)

// Sources are the kinds of source there are, in the order of their names.
func Sources() []Source {
	helper := source("process", "", process.New)
	helper.Warn = func(settings any) string {
		if settings.(*process.Config).Placeholders() != 0 {
			return ""
		}
		return "its command has no {scope}, {tenant} or {audience}, so it cannot know what a caller asks for"
	}
	role := source("aws-role", freshet.AWS, alone(awsrole.New))
	role.Warn = func(settings any) string { return settings.(*awsrole.Config).Warning() }
	az := source("azure-cli", freshet.Bearer, azurecli.New)
	az.Azure = true
	return []Source{
		source("aws-profile", freshet.AWS, awsprofile.New),
		role,
		source("aws-web-identity", freshet.AWS, alone(awswebidentity.New)),
		az,
		source("file", freshet.Bearer, alone(file.New)),
		source("lab", "", alone(lab.New)),
		source("oauth2", freshet.Bearer, oauth2.New),
		helper,
	}
}

// SourceNamed returns the source of a name, or nil.
func SourceNamed(name string) *Source {
	return find(Sources(), name, func(s *Source) string { return s.Name })
}

// alone adapts the constructor of a source that runs no children.
func alone[C any, S freshet.Source](construct func(C) (S, error)) func(C, *child.Runner) (S, error) {
	return func(c C, _ *child.Runner) (S, error) { return construct(c) }
}
