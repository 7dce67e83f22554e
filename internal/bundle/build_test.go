package bundle_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/bundle"
)

// An export reads the manifests that it needs, and not all that a sidecar has kept
// of everybody.
func TestBuildReadsTheManifestsThatItNeeds(t *testing.T) {
	p := call(t)
	if err := p.a.Stop(); err != nil {
		t.Fatal(err)
	}
	took := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		build(t, p.a, p.trace, bundle.Options{})
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	few := took()
	store, err := bundle.OpenManifests(p.a.Data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		m, err := iatp.ParseManifest(fmt.Appendf(nil, `{"identity":{"agent_id":"agent-%d"},"trust_level":"trusted","note":%q}`, i, strings.Repeat("x", 60<<10)))
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Keep(m); err != nil {
			t.Fatal(err)
		}
	}
	if many := took(); many > few+2<<20 {
		t.Errorf("with 100 more manifests an export takes %d KiB, without them %d KiB", many>>10, few>>10)
	}
}

// A key is found in any manifest that is kept of its agent, where the one that the
// receipt names is not kept any more.
func TestKeyFromAnotherManifest(t *testing.T) {
	p := call(t)
	if err := p.a.Stop(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(p.a.Data, "manifests")
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	moved := 0
	for i, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if m, err := iatp.ParseManifest(text); err != nil || m.Identity.URI != p.pb.URL {
			continue
		}
		if err := os.Rename(filepath.Join(dir, f.Name()), filepath.Join(dir, fmt.Sprintf("%043d.json", i))); err != nil {
			t.Fatal(err)
		}
		moved++
	}
	r := verify(build(t, p.a, p.trace, bundle.Options{}), nil)
	if moved != 1 || !r.Valid || !strings.Contains(texts(r), "is signed by "+p.pb.URL) || !strings.Contains(texts(r), "remark the manifest that it names by digest is not in the bundle") {
		t.Errorf("%d manifests of b\n%s", moved, texts(r))
	}
}
