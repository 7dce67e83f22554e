package sidecar

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCleanMappings(t *testing.T) {
	const smaps = `00400000-00b19000 r-xp 00000000 fe:00 123 /opt/iatp 2
Size:               7268 kB
Rss:                6308 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00b19000-01248000 r--p 00719000 fe:00 123 /opt/iatp 2
Anonymous:             0 kB
01248000-012e0000 rw-p 00e48000 fe:00 123 /opt/iatp 2
Anonymous:             0 kB
02000000-02001000 r--p 00e48000 fe:00 123 /opt/iatp 2
Anonymous:             4 kB
c000000000-c000400000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 9 /lib/other.so
Anonymous:             0 kB
7f0000002000-7f0000003000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
`
	got, err := cleanMappings(strings.NewReader(smaps), "/opt/iatp 2")
	want := []mapping{{0x400000, 0xb19000}, {0xb19000, 0x1248000}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mapping{})); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if _, err := cleanMappings(strings.NewReader("xyz-1 r-xp 0 0 0 /opt/iatp\n"), "/opt/iatp"); err == nil {
		t.Error("an address that is none is taken")
	}
}

// TestDropProgram takes the pages of the test's own program away, and goes on.
func TestDropProgram(t *testing.T) {
	resident := func() (file int) {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "RssFile:")
		if _, err := fmt.Sscan(rest, &file); err != nil {
			t.Fatal(err)
		}
		return file
	}
	before := resident()
	if err := dropProgram(); err != nil {
		t.Fatal(err)
	}
	if after := resident(); after > before-1024 { // of some 20 MB
		t.Errorf("%d kB of files are in memory, %d kB before", after, before)
	}
}
