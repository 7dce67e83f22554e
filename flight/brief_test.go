package flight

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Lines stand where they belong whichever way they are written, and one of each way
// behind one of the other.
func TestWritesBrieflyAndOrdinarily(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "segment"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const room = 256 << 10
	s := segment{file: f, ready: room, local: onLocalDisk(f)}
	if err := fillZeros(f, 0, room); err != nil {
		t.Fatal(err)
	}
	var want []byte
	for i, size := range []int{1, 700, mostBrief, mostBrief + 1, 4096, 90 << 10, 3, room, 700} { // past ready in the end
		for _, calm := range []bool{true, false, true} {
			lines := bytes.Repeat([]byte{byte('a' + i)}, size)
			if err := s.write(lines, calm); err != nil {
				t.Fatal(err)
			}
			s.size += int64(size)
			want = append(want, lines...)
		}
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the segment does not hold what was written, in that order")
	}
}

// An error of a brief write is that of the ordinary one which follows, and leaves the
// segment as long as it was.
func TestBriefWriteFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	if err := os.WriteFile(path, []byte("a line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path) // only to be read
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := segment{file: f, size: 7, ready: 1 << 10, local: true}
	if err := s.write([]byte("another\n"), true); err == nil {
		t.Error("a line was written to a file that is only to be read")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "a line\n" {
		t.Errorf("the segment holds %q, %v", b, err)
	}
}

// After a write that took long the next ones are ordinary ones, for a while.
func TestWaryAfterALongWrite(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "segment"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := segment{file: f, ready: 1 << 20, local: true}
	s.beWary()
	for left := waryFor; left > 0; left-- {
		if s.wary != left {
			t.Fatalf("%d writes to go, and %d were expected", s.wary, left)
		}
		if err := s.write([]byte("a line\n"), true); err != nil {
			t.Fatal(err)
		}
		s.size += 7
	}
	if s.wary != 0 {
		t.Errorf("wary for %d writes too many", s.wary)
	}
	// The disk of another program's making: each time it lasts longer.
	for _, want := range []int{2 * waryFor, 4 * waryFor, 8 * waryFor} {
		if s.beWary(); s.wary != want {
			t.Errorf("wary for %d writes, not %d", s.wary, want)
		}
	}
	for range 100 {
		s.beWary()
	}
	if s.wary != mostWary {
		t.Errorf("wary for %d writes, not %d", s.wary, mostWary)
	}
}
