package demo_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/sidecar"
	"github.com/inter-agent-trust/iatp/trust"
)

// examples is the directory whose files these tests hold to what they say.
var examples = filepath.Join("..", "..", "examples")

// TestManifests: every example manifest reads without a fault, and scores what
// examples/README.md says.
func TestManifests(t *testing.T) {
	scores := map[string]int{"securebank": 10, "honeypot": 0, "backend": 8, "coder": 9, "reviewer": 8, "booking": 10, "travel": 7}
	files := glob(t, "manifests/*.json")
	if len(files) != len(scores) {
		t.Errorf("%d manifests, want %d", len(files), len(scores))
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := iatp.ParseOperatorManifest(data)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		a := trust.Assess(trust.Input{
			Manifest: m,
			Claims:   []trust.Claim{{Evidence: trust.E6, Ceiling: iatp.VerifiedPartner}},
		})
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if want, ok := scores[name]; !ok || a.Score != want {
			t.Errorf("%s scores %d, want %d", file, a.Score, want)
		}
		if m.Reversibility.Level.Undoes() != (m.Reversibility.CompensationEndpoint != "") {
			t.Errorf("%s: reversibility %q with the endpoint %q", file, m.Reversibility.Level, m.Reversibility.CompensationEndpoint)
		}
		for _, w := range m.Warnings() {
			if !strings.Contains(w, "unsigned") { // the operator's own file needs no signature
				t.Errorf("%s: %s", file, w)
			}
		}
	}
}

// TestPolicies: the rule files load, one by one and together.
func TestPolicies(t *testing.T) {
	files := glob(t, "policies/*.yaml")
	if _, err := policy.Load(files...); err != nil {
		t.Error(err)
	}
}

// TestConfigs: the configurations are valid, and the files they name exist.
func TestConfigs(t *testing.T) {
	for _, file := range glob(t, "configs/*.yaml") {
		c := sidecar.DefaultConfig()
		if err := sidecar.LoadConfig(file, &c); err != nil {
			t.Error(err)
			continue
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, name := range append([]string{c.Manifest}, c.Policy...) {
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// TestReadme: every program, configuration and rule file is named in README.md.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(examples, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(glob(t, "*/main.go"), glob(t, "*/*.yaml")...) {
		name = strings.TrimSuffix(filepath.ToSlash(strings.TrimPrefix(name, examples+string(filepath.Separator))), "/main.go")
		if !strings.Contains(string(readme), name) {
			t.Errorf("README.md does not name %s", name)
		}
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(examples, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s matches nothing: %v", pattern, err)
	}
	return files
}
