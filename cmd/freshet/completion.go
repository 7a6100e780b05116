package main

import (
	"io"

	"github.com/spf13/cobra"

	"freshet.dev/freshet"
)

func completionCommand() *cobra.Command {
	shells := map[string]func(*cobra.Command, io.Writer) error{
		"bash": func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"zsh":  func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
		"fish": func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
	}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a shell's completions",
		Long: `Print what makes a shell complete freshet's commands, flags, formats, and the names of the
configured identities. Bash needs its package bash-completion.`,
		Example: `  source <(freshet completion bash)                                    this shell
  freshet completion bash > /etc/bash_completion.d/freshet             every one
  freshet completion zsh > "${fpath[1]}/_freshet"
  freshet completion fish > ~/.config/fish/completions/freshet.fish`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      want("SHELL"),
		RunE: func(c *cobra.Command, a []string) error {
			generate := shells[a[0]]
			if generate == nil {
				return usage(c, freshet.Errorf(freshet.Invalid, "unknown shell %q: there are bash, zsh and fish", a[0]))
			}
			return generate(c.Root(), c.OutOrStdout())
		},
	}
}

// completeIdentity completes a command's first argument with the configured identities. It asks nobody but the file.
func (g *global) completeIdentity(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	cfg, _, err := g.load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, id := range cfg.Identities {
		names = append(names, id.Name+"\t"+id.Source)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
