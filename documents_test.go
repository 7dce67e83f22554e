package iatp_test

import (
	"encoding"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp/sidecar"
)

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark|Example)[A-Z][A-Za-z0-9_]*)`")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w+)\(`)
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestDocumentsTellTheTruth holds the documents to the tree: links lead
// somewhere, and tests that a document relies on exist.
func TestDocumentsTellTheTruth(t *testing.T) {
	documents, tests := map[string]string{}, map[string]bool{}
	each(t, func(name, text string) {
		switch {
		case path.Ext(name) == ".md":
			documents[name] = text
		case strings.HasSuffix(name, "_test.go"):
			for _, m := range testFunc.FindAllStringSubmatch(text, -1) {
				tests[m[1]] = true
			}
		}
	})
	for name, text := range documents {
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			if !tests[m[1]] {
				t.Errorf("%s names the test %s, which does not exist", name, m[1])
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			checkLink(t, name, m[1], documents)
		}
	}
}

func checkLink(t *testing.T, from, target string, documents map[string]string) {
	t.Helper()
	if strings.Contains(target, "://") {
		return
	}
	file, anchor, _ := strings.Cut(target, "#")
	to := from
	if file != "" {
		to = path.Join(path.Dir(from), file)
	}
	if _, err := os.Stat(filepath.FromSlash(to)); err != nil {
		t.Errorf("%s links to %s, which does not exist", from, target)
		return
	}
	if anchor != "" && !slices.Contains(anchors(documents[to]), anchor) {
		t.Errorf("%s links to %s, but there is no such heading", from, target)
	}
}

// anchors are the fragments under which a document's headings are found.
func anchors(text string) []string {
	var all []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		plain := noAnchor.ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(plain, " ", "-"))
	}
	return all
}

// TestOperatingNamesEverySetting and TestOperatingNamesEveryMetric keep the
// operator's manual whole.
func TestOperatingNamesEverySetting(t *testing.T) {
	manual := read(t, "doc/operating.md")
	for _, key := range keys(reflect.TypeFor[sidecar.Config](), "") {
		if !strings.Contains(manual, "| `"+key+"` |") {
			t.Errorf("doc/operating.md has no row for the configuration key %s", key)
		}
	}
}

// keys are the paths of a configuration's keys, as "limits.body".
func keys(t reflect.Type, under string) []string {
	var all []string
	for i := range t.NumField() {
		f := t.Field(i)
		key := under + f.Tag.Get("yaml")
		if f.Type.Kind() == reflect.Struct && !f.Type.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
			all = append(all, keys(f.Type, key+".")...)
		} else {
			all = append(all, key)
		}
	}
	return all
}

func TestOperatingNamesEveryMetric(t *testing.T) {
	manual := read(t, "doc/operating.md")
	names := regexp.MustCompile(`"(iatp_[a-z_]+)"`).FindAllStringSubmatch(read(t, "sidecar/metrics.go"), -1)
	if len(names) == 0 {
		t.Fatal("no metrics found in sidecar/metrics.go")
	}
	for _, m := range names {
		if !strings.Contains(manual, "`"+m[1]+"`") && !strings.Contains(manual, "`"+m[1]+"{") {
			t.Errorf("doc/operating.md has no row for the metric %s", m[1])
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// each calls f with every Go file and every document of the tree.
func each(t *testing.T, f func(name, text string)) {
	t.Helper()
	root := os.DirFS(".")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && strings.HasPrefix(name, ".") {
			return fs.SkipDir
		}
		if ext := path.Ext(name); ext != ".go" && ext != ".md" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		f(name, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
