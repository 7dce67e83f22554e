package privacy

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// TestMemoryAtStart compares two programs that differ in this package only: with
// it, one that has scanned something holds less than 3 MiB more.
func TestMemoryAtStart(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	const most = 3 << 10 // KiB
	with, without := resident(t, "with"), resident(t, "without")
	t.Logf("%d KiB with the package, %d KiB without", with, without)
	if with-without > most {
		t.Errorf("the package holds %d KiB after start, at most %d are allowed", with-without, most)
	}
}

// resident returns the memory of a program after its start, in KiB: the least of
// three runs.
func resident(t *testing.T, name string) int {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", program, "./testdata/memory/"+name)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	least := 1 << 30
	for range 3 {
		out, err := exec.Command(program).Output()
		if err != nil {
			t.Fatal(err)
		}
		size := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(out)
		if size == nil {
			t.Skip("the kernel does not tell the resident size")
		}
		kib, err := strconv.Atoi(string(size[1]))
		if err != nil {
			t.Fatal(err)
		}
		least = min(least, kib)
	}
	return least
}
