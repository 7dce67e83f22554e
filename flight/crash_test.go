package flight

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// child appends to the log in dir for ever and prints the seq of every record
// that was acknowledged. FLIGHT_TEST_LIMIT bounds the size of its files.
func child(dir string) int {
	if limit, _ := strconv.ParseUint(os.Getenv("FLIGHT_TEST_LIMIT"), 10, 64); limit > 0 {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
	}
	l, err := Open(dir, Options{SegmentBytes: 256 << 10})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var wg sync.WaitGroup
	for p := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				seq, err := l.Append(entry(i), Ack((p+i)%2))
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				os.Stdout.WriteString(strconv.FormatInt(seq, 10) + "\n")
			}
		})
	}
	wg.Wait()
	if l.Err() == nil || l.Close() == nil {
		return 2
	}
	return 3 // the disk failed, as the test wanted
}

func childCommand(dir string, env ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), os.Args[0])
	cmd.Env = append(append(os.Environ(), "FLIGHT_TEST_CHILD="+dir), env...)
	return cmd
}

// runAndKill runs the child, kills it after d and returns the seqs that it said
// were acknowledged.
func runAndKill(t *testing.T, dir string, d time.Duration) []int64 {
	t.Helper()
	cmd := childCommand(dir)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	cmd.Process.Kill()
	cmd.Wait()
	if stderr.Len() > 0 {
		t.Fatalf("the child says: %s", &stderr)
	}
	return seqs(t, &out)
}

func seqs(t *testing.T, out *bytes.Buffer) []int64 {
	t.Helper()
	var all []int64
	for s := bufio.NewScanner(out); s.Scan(); {
		seq, err := strconv.ParseInt(s.Text(), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, seq)
	}
	return all
}

// TestKill kills a process that appends, again and again on one directory, and
// looks for every record that it acknowledged.
func TestKill(t *testing.T) {
	runs := 50
	if testing.Short() {
		runs = 10
	}
	dir := t.TempDir()
	var size int64
	for run := range runs {
		acked := runAndKill(t, dir, time.Duration(20+rand.IntN(60))*time.Millisecond)
		r, err := Verify(dir, "")
		if errors.Is(err, os.ErrNotExist) && len(acked) == 0 {
			continue // killed before the first start had made its keys
		}
		if err != nil || !r.OK() {
			t.Fatalf("run %d: Verify before recovery = %+v, %v", run, r, err)
		}
		l, err := Open(dir, Options{SegmentBytes: 256 << 10})
		if err != nil {
			t.Fatalf("run %d: %v", run, err)
		}
		for _, seq := range acked {
			if seq < size || seq >= l.Size() {
				t.Fatalf("run %d: record %d was acknowledged; the log had %d before and has %d", run, seq, size, l.Size())
			}
		}
		size = l.Size()
		mustClose(t, l)
		checkLog(t, dir, size)
	}
	if size < 100 {
		t.Errorf("only %d records in %d runs", size, runs)
	}
}

// TestTornAtEveryByte cuts a log in its last record, at every byte, with and
// without preallocated room behind it. Only that record may be lost.
func TestTornAtEveryByte(t *testing.T) {
	dir := written(t, 5, Options{})
	base := copyDir(t, dir)
	l := mustOpen(t, base, Options{})
	mustAppend(t, l, entry(5), Durable)
	unsigned, err := os.ReadFile(segmentPath(l.dir, 0))
	if err != nil {
		t.Fatal(err)
	}
	unsigned = bytes.TrimRight(unsigned, "\x00")
	mustClose(t, l)
	before, err := os.ReadFile(segmentPath(filepath.Join(dir, "log"), 0))
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(before); cut <= len(unsigned); cut++ {
		for _, tailBytes := range []string{"", strings.Repeat("\x00", 100_000), "\x00\x00garbage\n{}\n"} {
			want := int64(5)
			if cut >= len(unsigned)-1 {
				want = 6 // only the newline is missing, or nothing
			}
			torn := cut > len(before) && want == 5 || strings.Contains(tailBytes, "garbage")
			tornCase(t, copyDir(t, dir), string(unsigned[:cut])+tailBytes, want, torn, cut)
		}
	}
}

func tornCase(t *testing.T, dir, segment string, want int64, torn bool, cut int) {
	t.Helper()
	if strings.Contains(segment, "garbage") && want == 6 && !strings.Contains(segment, "\n\x00\x00garbage") {
		want, torn = 5, true // the last line goes on after its end: it is not whole
	}
	if err := os.WriteFile(segmentPath(filepath.Join(dir, "log"), 0), []byte(segment), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(dir, "")
	if err != nil || !r.OK() || r.Records != want || r.TornBytes > 0 != torn {
		t.Fatalf("cut at %d: Verify = %+v, %v; want %d records, torn %v", cut, r, err, want, torn)
	}
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatalf("cut at %d: %v", cut, err)
	}
	size := l.Size()
	mustClose(t, l)
	all := lines(t, dir)
	if !torn {
		if size != want {
			t.Fatalf("cut at %d: %d records, want %d", cut, size, want)
		}
		checkLog(t, dir, want)
		return
	}
	var rec struct {
		Type    string `json:"type"`
		OldSize int64  `json:"old_size"`
		NewSize int64  `json:"new_size"`
	}
	if err := json.Unmarshal(all[len(all)-1], &rec); err != nil {
		t.Fatal(err)
	}
	if size != want+1 || rec.Type != "recovery" || rec.NewSize != want || rec.OldSize <= want {
		t.Fatalf("cut at %d: %d records, the last is %+v; want a recovery record with new_size %d", cut, size, rec, want)
	}
	checkLog(t, dir, want+1)
}

// TestPowerLoss keeps the image of the last sync and a random subset of the
// pages written after it, as a disk may. Everything that was durable must
// survive, and what the log signed must stay true.
func TestPowerLoss(t *testing.T) {
	const page = 4096
	rng := rand.New(rand.NewPCG(1, 2))
	for trial := range 60 {
		dir := t.TempDir()
		l := mustOpen(t, dir, Options{})
		for i := range 20 + rng.IntN(50) {
			mustAppend(t, l, entry(i), Written)
		}
		durable := mustAppend(t, l, entry(0), Durable) + 1
		path := segmentPath(l.dir, 0)
		image, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := l.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		saved := copyDir(t, dir) // tiles and checkpoint of about now
		for i := range 30 + rng.IntN(200) {
			mustAppend(t, l, entry(i), Written)
		}
		later, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
		image = append(image, make([]byte, max(0, len(later)-len(image)))...)
		for off := 0; off < len(later); off += page {
			if rng.IntN(2) == 0 {
				copy(image[off:min(off+page, len(later))], later[off:min(off+page, len(later))])
			}
		}
		saved = afterPowerLoss(t, saved, image, durable, trial)
		if r, err := Verify(saved, "", signed); err != nil || !r.OK() {
			t.Fatalf("trial %d: Verify against the checkpoint of before = %+v, %v", trial, r, err)
		}
	}
}

func afterPowerLoss(t *testing.T, dir string, image []byte, durable int64, trial int) string {
	t.Helper()
	if err := os.WriteFile(segmentPath(filepath.Join(dir, "log"), 0), image, 0o600); err != nil {
		t.Fatal(err)
	}
	if trial%2 == 0 { // tiles are not synced
		os.RemoveAll(filepath.Join(dir, "log", "tile"))
	}
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatalf("trial %d: %v", trial, err)
	}
	if l.Size() < durable {
		t.Fatalf("trial %d: %d records after power loss, %d were durable", trial, l.Size(), durable)
	}
	size := l.Size()
	mustClose(t, l)
	checkLog(t, dir, size)
	return dir
}

// TestFullDisk lets the kernel refuse to make a file longer.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	cmd := childCommand(dir, "FLIGHT_TEST_LIMIT="+strconv.Itoa(40<<10))
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("child: %v, want exit code 3\n%s", err, &stderr)
	}
	if !strings.Contains(stderr.String(), "make room in "+dir) {
		t.Errorf("the error does not say what to do:\n%s", &stderr)
	}
	acked := seqs(t, &out)
	l := mustOpen(t, dir, Options{})
	if int64(len(acked)) > l.Size() || len(acked) == 0 {
		t.Errorf("%d records were acknowledged, the log has %d", len(acked), l.Size())
	}
	size := l.Size()
	mustClose(t, l)
	checkLog(t, dir, size)
}

// TestFailedSyncIsFinal closes the file under the log.
func TestFailedSyncIsFinal(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	mustAppend(t, l, entry(0), Durable)
	for l.zeroesUnderWay() {
		time.Sleep(time.Millisecond)
	}
	l.seg.file.Close()
	if _, err := l.Append(entry(1), Durable); err == nil {
		t.Fatal("Append to a closed file succeeded")
	}
	first := l.Err()
	if first == nil {
		t.Fatal("Err = nil after a failed write")
	}
	if _, err := l.Append(entry(1), Written); err != first {
		t.Errorf("second Append: %v, want %v", err, first)
	}
	if err := l.Close(); err != first {
		t.Errorf("Close: %v, want %v", err, first)
	}
}
