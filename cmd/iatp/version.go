package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/inter-agent-trust/iatp"
)

// versions says what this program is.
type versions struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Protocol string `json:"protocol"`
}

func readVersions() versions {
	v := versions{Version: "(unknown)", Protocol: iatp.ProtocolVersion}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version, v.Go = info.Main.Version, info.GoVersion
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String is what a person reads, a line or two.
func (v versions) String() string {
	text := fmt.Sprintf("iatp %s, protocol %s, %s", v.Version, v.Protocol, v.Go)
	if v.Revision != "" {
		text += "\nrevision " + v.Revision
	}
	if v.Modified {
		text += ", with local changes"
	}
	return text
}

// versionFlag makes --version of a group say what the command says. The flag that cobra
// has for that links text/template, after which the linker keeps every exported method:
// three megabytes.
func (p *program) versionFlag(group *cobra.Command) {
	wanted := group.Flags().Bool("version", false, "say which version this is")
	run := group.RunE
	group.RunE = func(cmd *cobra.Command, args []string) error {
		if *wanted {
			p.out.line("%s", readVersions())
			return nil
		}
		return run(cmd, args)
	}
}

func (p *program) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Say which version this is",
		Example: "  iatp version\n  iatp version --json",
		Args:    takes(),
		RunE: func(*cobra.Command, []string) error {
			v := readVersions()
			if asJSON {
				return writeJSON(p.stdout, v)
			}
			p.out.line("%s", v)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, jsonUsage)
	return cmd
}

// jsonUsage describes --json, which every reading command has.
const jsonUsage = "write JSON for programs"
