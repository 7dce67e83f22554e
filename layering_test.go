package iatp_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// module is the import path of the tree's root.
const module = "github.com/inter-agent-trust/iatp"

// room is what one folder may lean on.
type room struct {
	floor   int
	may     []string // folders of this module that its production files may import
	beside  []string // the same, on its own floor: each is an exception that was decided
	outside []string // libraries beyond the standard library; sub-packages included
	tests   bool     // holds tests only, which may look at everything
}

// plan is the table of doc/architecture.md. Imports point to the ground. A
// folder with Go files that is not here, or one here without Go files, fails
// the test: the plan is changed together with the house.
var plan = map[string]room{
	"internal/ijson":  {floor: 0},
	"internal/socket": {floor: 0},

	".": {floor: 1, may: []string{"internal/ijson"}},

	"trust":    {floor: 2, may: []string{"."}},
	"policy":   {floor: 2, may: []string{".", "internal/ijson"}, beside: []string{"trust", "privacy"}, outside: []string{"github.com/goccy/go-yaml"}},
	"privacy":  {floor: 2, may: []string{".", "internal/ijson"}, outside: []string{"github.com/andybalholm/brotli", "github.com/klauspost/compress"}},
	"recovery": {floor: 2, may: []string{"."}},
	"flight":   {floor: 2, may: []string{".", "internal/ijson"}, outside: []string{"golang.org/x/mod", "golang.org/x/sys"}},
	"api":      {floor: 2, may: []string{"."}},

	"internal/httpsig":  {floor: 2, may: []string{"."}},
	"internal/upstream": {floor: 2, may: []string{"internal/socket"}},

	"internal/keyring": {floor: 2, may: []string{"."}, outside: []string{"golang.org/x/sys"}},

	"client": {floor: 3, may: []string{".", "api"}},

	// The desks never lean on one another; two of them keep sealed things.
	"internal/handshake": {floor: 3, may: []string{".", "trust", "recovery", "flight", "internal/httpsig", "internal/upstream"}},
	"internal/vault":     {floor: 3, may: []string{".", "flight"}},
	"internal/once":      {floor: 3, may: []string{".", "trust", "recovery", "flight"}, beside: []string{"internal/vault"}},
	"internal/undo":      {floor: 3, may: []string{".", "trust", "recovery", "flight"}, beside: []string{"internal/vault"}},
	"internal/budget":    {floor: 3, may: []string{".", "trust", "recovery", "flight"}},
	"internal/bundle":    {floor: 3, may: []string{".", "internal/ijson", "flight"}, outside: []string{"golang.org/x/mod"}},

	"internal/witness":    {floor: 3, may: []string{".", "flight"}},
	"internal/agreements": {floor: 3, may: []string{".", "flight"}},

	"sidecar": {
		floor: 5,
		may: []string{
			".", "internal/ijson", "trust", "policy", "privacy", "recovery", "flight", "api",
			"internal/socket", "internal/keyring", "internal/httpsig", "internal/upstream", "internal/handshake", "internal/once", "internal/budget", "internal/undo", "internal/agreements", "internal/bundle", "internal/witness",
		},
		outside: []string{"github.com/goccy/go-yaml", "github.com/prometheus/client_golang", "golang.org/x/sys", "golang.org/x/time"},
	},

	"iatptest":      {floor: 6, may: []string{"sidecar", "client", ".", "trust", "policy", "privacy", "recovery", "flight", "api"}},
	"internal/demo": {floor: 6, may: []string{"sidecar", "client", ".", "trust", "policy", "privacy", "recovery", "flight", "api"}},
	"cmd/iatp": {
		floor:   6,
		may:     []string{"sidecar", "client", "internal/keyring", "internal/bundle", "internal/handshake", ".", "trust", "policy", "privacy", "recovery", "flight", "api"},
		beside:  []string{"internal/demo"},
		outside: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/sys"},
	},

	// SQLite must not come into the binary: it would raise what iatp run holds.
	"internal/office": {floor: 6, may: []string{"."}, outside: []string{"modernc.org/sqlite"}},

	// It measures the built binary from outside.
	"experiments/reversibility": {floor: 7, may: []string{".", "flight", "internal/office"}, outside: []string{"modernc.org/sqlite"}},
	"experiments/load":          {floor: 7},

	"examples/*": {floor: 7, may: []string{"iatptest", "client", "internal/demo", "internal/office", ".", "trust", "policy", "privacy", "recovery", "flight", "api"}},
	"e2e":        {floor: 7, tests: true},
}

// vague are names that say nothing about what a package is for.
var vague = []string{"util", "utils", "common", "helper", "helpers", "model", "models", "type", "types", "manager", "engine", "misc", "base"}

func TestLayering(t *testing.T) {
	house := os.DirFS(".")
	for _, f := range walk(t, house).faults() {
		t.Error(f)
	}
}

// TestDependenciesHaveAReason holds doc/decisions/0001 to the plan.
func TestDependenciesHaveAReason(t *testing.T) {
	text, err := os.ReadFile("doc/decisions/0001-dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for folder, r := range plan {
		for _, lib := range r.outside {
			if !strings.Contains(string(text), lib) {
				t.Errorf("%s imports %s, of which doc/decisions/0001-dependencies.md says nothing", folder, lib)
			}
		}
	}
}

// TestPlanStandsOnTheGround checks the table itself.
func TestPlanStandsOnTheGround(t *testing.T) {
	for folder, r := range plan {
		for _, other := range r.may {
			if below, ok := plan[other]; !ok || below.floor >= r.floor {
				t.Errorf("plan: %s on floor %d may not lean on %s on floor %d", folder, r.floor, other, below.floor)
			}
		}
		for _, other := range r.beside {
			if plan[other].floor != r.floor || slices.Contains(plan[other].beside, folder) {
				t.Errorf("plan: %s and %s must be on one floor, and only one of them may lean on the other", folder, other)
			}
		}
	}
}

// TestLayeringSees builds a house with every fault in it.
func TestLayeringSees(t *testing.T) {
	house := fstest.MapFS{
		"iatp.go":               file("package iatp\n\nimport (\n\t\"fmt\"\n\n\t\"golang.org/x/mod/sumdb/note\"\n)\n\nvar _ = note.Sign\nvar _ = fmt.Sprint\n"),
		"trust/trust.go":        file("package trust\n\nimport \"github.com/inter-agent-trust/iatp/sidecar\"\n\nfunc init() { _ = sidecar.New }\n"),
		"trust/trust_test.go":   file("package trust\n\nimport \"github.com/inter-agent-trust/iatp/cmd/iatp\"\n\nvar _ = iatp.Run\n"),
		"trust/user_test.go":    file("package trust_test\n\nimport \"github.com/inter-agent-trust/iatp/iatptest\"\n\nvar _ = iatptest.Start\n"),
		"sidecar/sidecar.go":    file("//go:build plan9\n\npackage sidecar\n\nimport \"github.com/inter-agent-trust/iatp/client\"\n\nvar _ = client.New\n"),
		"e2e/e2e.go":            file("package e2e\n"),
		"flight/util/x.go":      file("package util\n"),
		"attic/attic.go":        file("package attic\n"),
		"flight/testdata/ok.go": file("package whatever\n\nfunc init() {}\n"),
		"experiment/go.mod":     file("module other\n"),
		"experiment/x.go":       file("package other\n"),
	}
	var got []string
	for _, f := range walk(t, house).faults() {
		if !strings.HasPrefix(f, "plan: ") { // most of the plan's rooms are missing from this house
			got = append(got, f)
		}
	}
	want := []string{
		"attic/attic.go:1: attic has no floor; give it one in layering_test.go and doc/architecture.md",
		"e2e/e2e.go:1: e2e holds tests only",
		"flight/util/x.go:1: flight/util has no floor; give it one in layering_test.go and doc/architecture.md",
		"flight/util/x.go:1: package util: find the name of the thing it is",
		"iatp.go:6: . may not import golang.org/x/mod/sumdb/note",
		"sidecar/sidecar.go:5: sidecar (floor 5) may not import client (floor 3)",
		"trust/trust.go:3: trust (floor 2) may not import sidecar (floor 5)",
		"trust/trust.go:5: func init: make what it does a call that somebody can see",
		"trust/trust_test.go:3: a test inside trust (floor 2) may not import cmd/iatp (floor 6)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

// source is one parsed Go file.
type source struct {
	name string // slash-separated, from the root of the tree
	ast  *ast.File
	set  *token.FileSet
}

type tree []source

// walk parses every Go file of this module under root, whatever its build
// constraints say.
func walk(t *testing.T, root fs.FS) tree {
	t.Helper()
	var files tree
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return enter(root, name)
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
		files = append(files, source{name, parsed, set})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// enter leaves out what the go command leaves out: dot and underscore folders,
// testdata, and other modules.
func enter(root fs.FS, dir string) error {
	if dir == "." {
		return nil
	}
	base := path.Base(dir)
	if base[0] == '.' || base[0] == '_' || base == "testdata" {
		return fs.SkipDir
	}
	if _, err := fs.Stat(root, path.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

// faults are all departures from the plan, sorted, each with file and line.
func (files tree) faults() []string {
	var all []string
	seen := map[string]bool{}
	for _, f := range files {
		folder := roomOf(path.Dir(f.name))
		seen[folder] = true
		all = append(all, f.faults(folder)...)
	}
	for folder := range plan {
		if !seen[folder] {
			all = append(all, fmt.Sprintf("plan: %s has no Go files; a folder appears with its first real code", folder))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// roomOf is the plan's name for a folder: its own, or the pattern it matches.
func roomOf(folder string) string {
	if _, ok := plan[folder]; ok {
		return folder
	}
	for pattern := range maps.Keys(plan) {
		if ok, err := path.Match(pattern, folder); err == nil && ok {
			return pattern
		}
	}
	return folder
}

func (f source) faults(folder string) []string {
	var all []string
	say := func(at token.Pos, format string, args ...any) {
		all = append(all, fmt.Sprintf("%s:%d: %s", f.name, f.set.Position(at).Line, fmt.Sprintf(format, args...)))
	}
	name := strings.TrimSuffix(f.ast.Name.Name, "_test")
	if slices.Contains(vague, name) {
		say(f.ast.Package, "package %s: find the name of the thing it is", name)
	}
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			say(fn.Pos(), "func init: make what it does a call that somebody can see")
		}
	}
	here, ok := plan[folder]
	if !ok {
		say(f.ast.Package, "%s has no floor; give it one in layering_test.go and doc/architecture.md", folder)
		return all
	}
	test := strings.HasSuffix(f.name, "_test.go")
	if here.tests && !test {
		say(f.ast.Package, "%s holds tests only", folder)
	}
	if test && name != f.ast.Name.Name {
		return all // an external test is a user of its package: it may live anywhere
	}
	for _, imp := range f.ast.Imports {
		if what := f.judge(imp, folder, here, test); what != "" {
			say(imp.Pos(), "%s", what)
		}
	}
	return all
}

// judge says what is wrong with one import, or nothing. A test inside its
// package may look at its own floor and everything below, and at any library.
func (f source) judge(imp *ast.ImportSpec, folder string, here room, test bool) string {
	to, err := strconv.Unquote(imp.Path.Value)
	if err != nil {
		return err.Error()
	}
	inside, ours := strings.CutPrefix(to+"/", module+"/")
	if !ours {
		if test || standard(to) || slices.ContainsFunc(here.outside, func(lib string) bool { return to == lib || strings.HasPrefix(to, lib+"/") }) {
			return ""
		}
		return fmt.Sprintf("%s may not import %s", folder, to)
	}
	target := roomOf(path.Clean(inside))
	there := plan[target]
	if test {
		if there.floor > here.floor {
			return fmt.Sprintf("a test inside %s (floor %d) may not import %s (floor %d)", folder, here.floor, target, there.floor)
		}
		return ""
	}
	if slices.Contains(here.may, target) || slices.Contains(here.beside, target) {
		return ""
	}
	return fmt.Sprintf("%s (floor %d) may not import %s (floor %d)", folder, here.floor, target, there.floor)
}

// standard reports whether an import path is of the standard library: its
// first element has no dot.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}
