package e2e_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// TestCrashes kills the sidecar under load, fifty times, at random moments, and
// looks at what the next one finds: every request that the agent saw, and the
// end of every exchange whose answer the caller has. With 100,000 records in
// the log it still answers within a second of its start.
func TestCrashes(t *testing.T) {
	t.Run("young log", func(t *testing.T) { crashes(t, t.TempDir(), 40) })
	t.Run("100,000 records", func(t *testing.T) {
		data := t.TempDir()
		fill(t, data, 100_000)
		slowest := crashes(t, data, 10)
		t.Logf("the slowest start took %s", slowest.Round(time.Millisecond))
		if slowest > time.Second {
			t.Errorf("a start took %s, want at most a second", slowest)
		}
	})
}

// crashes returns the longest time from the start of a process to its first answer.
func crashes(t *testing.T, data string, rounds int) (slowest time.Duration) {
	t.Helper()
	a := startAgent(t, nil)
	at := setup{agent: a.url, data: data, fast: true}
	var last crash
	for round := range rounds {
		s, took := at.startTimed(t)
		slowest = max(slowest, took)
		last.check(t, s)
		if round%2 == 0 { // a directory in use can be checked as well
			wantSound(t, data, "fsck")
		}
		last = s.crashUnderLoad(t, a, time.Duration(30+rand.IntN(120))*time.Millisecond)
		if round%2 == 1 { // with the torn tail still on it
			wantSound(t, data, "verify")
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	s, took := at.startTimed(t)
	last.check(t, s)
	s.stop(t)
	checkLog(t, data)
	t.Logf("the agent saw %d calls in %d crashes", len(a.calls()), rounds)
	return max(slowest, took)
}

// fill makes a log of n records as a sidecar would have left it.
func fill(t *testing.T, data string, n int) {
	t.Helper()
	log, err := flight.Open(data, flight.Options{Origin: "friend/iatp"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n / 2 {
		id := iatp.TraceID(fmt.Sprintf("filler-%d", i))
		for _, e := range []flight.Entry{
			{Type: flight.Request, TraceID: id, Time: time.Now(), Dir: flight.Local, AgentID: "friend", Payload: []byte(trip)},
			{Type: flight.Response, TraceID: id, Time: time.Now(), Dir: flight.Local, AgentID: "friend", StatusCode: 200},
		} {
			if _, err := log.Append(&e, flight.Written); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// startTimed starts a sidecar and measures until it answers.
func (s setup) startTimed(t *testing.T) (*sidecar, time.Duration) {
	t.Helper()
	begun := time.Now()
	c := s.start(t)
	if r := c.get(t, "/health"); r.status != 200 {
		t.Fatalf("/health: %d %s", r.status, r.text)
	}
	return c, time.Since(begun)
}

// crash is what the world knows of a sidecar that was killed.
type crash struct {
	from  int64           // records before it
	seen  map[string]bool // trace ids at the agent
	acked map[string]bool // trace ids of whole 200 answers at the callers
}

// crashUnderLoad sends calls from eight callers and kills the sidecar under them.
func (s *sidecar) crashUnderLoad(t *testing.T, a *agent, after time.Duration) crash {
	t.Helper()
	c := crash{from: s.size(t), seen: map[string]bool{}, acked: map[string]bool{}}
	had := len(a.calls())
	var mu sync.Mutex
	var wg sync.WaitGroup
	under := make(chan struct{}) // the first answer came: the load is there
	begun := sync.OnceFunc(func() { close(under) })
	for caller := range 8 {
		header := []string{"Content-Type: application/json"}
		wg.Go(func() {
			for n := 0; ; n++ {
				if caller%4 == 0 { // on disk before it leaves
					header = append(header[:1], fmt.Sprintf("Idempotency-Key: %d-%d", caller, n))
				}
				r, err := s.send("POST", "/proxy", trip, header...)
				if err != nil {
					return
				}
				mu.Lock()
				c.acked[r.header.Get("X-Agent-Trace-ID")] = r.status == 200
				mu.Unlock()
				begun()
			}
		})
	}
	select {
	case <-under:
	case <-time.After(10 * time.Second): // said below
	}
	time.Sleep(after)
	s.kill()
	wg.Wait()
	for _, call := range a.calls()[had:] {
		c.seen[call.trace] = true
	}
	if len(c.acked) == 0 {
		t.Error("nothing was under way when the sidecar was killed")
	}
	return c
}

// check compares what the world knows with the records of the next sidecar.
func (c *crash) check(t *testing.T, s *sidecar) {
	t.Helper()
	if c.seen == nil {
		return
	}
	types := map[string]string{}
	for _, l := range s.records(t, c.from) {
		types[l.TraceID] += " " + l.Type
	}
	for id := range c.seen {
		if !strings.Contains(types[id], "request") {
			t.Errorf("the agent saw %s, of which there is no record", id)
		}
	}
	for id, ok := range c.acked {
		if !ok {
			t.Errorf("call %s was answered with a refusal", id)
		} else if types[id] != " request response" {
			t.Errorf("the answer of %s is at its caller, and its records are:%s", id, types[id])
		}
	}
}

// size is the number of records.
func (s *sidecar) size(t *testing.T) int64 {
	t.Helper()
	r := s.get(t, "/trace?limit=1", s.operator(t))
	n, ok := r.member("next").(float64)
	if !ok {
		t.Fatalf("GET /trace: %d %s", r.status, r.text)
	}
	return int64(n)
}

// TestTamperedLogDoesNotStart: below the signed checkpoint nothing may differ.
func TestTamperedLogDoesNotStart(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	fill(t, data, 2000)
	segment := data + "/log/00000000000000000000.jsonl"
	sound, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(sound), "\n")
	swapped := append([]string(nil), lines...)
	swapped[10], swapped[11] = lines[11], lines[10]
	for _, c := range []struct {
		name   string
		bad    string
		record string // the first that is not what was signed
		starts bool   // a sidecar looks at sequence and ends alone; contents are verify's to judge
	}{
		{"a flipped byte", strings.Replace(string(sound), `filler-50"`, `filler-60"`, 1), "record 100", true},
		{"a flipped byte at the end", string(sound[:len(sound)-9]) + "X" + string(sound[len(sound)-8:]), "record 1999", false},
		{"a line removed", strings.Join(append(append([]string(nil), lines[:10]...), lines[11:]...), ""), "record 10", false},
		{"a line twice", strings.Join(append(append([]string(nil), lines[:11]...), lines[10:]...), ""), "record 11", false},
		{"two lines swapped", strings.Join(swapped, ""), "record 10", false},
		{"the last line removed", strings.Join(lines[:len(lines)-2], ""), "record 1999", false},
		{"half of it", string(sound[:len(sound)/2]), "record ", false},
		{"nothing left", "", "record 0", false},
	} {
		write(t, segment, c.bad)
		if code, out, _ := tool(t, "log", "verify", "--data", data); code != 1 || !strings.Contains(out, c.record) {
			t.Errorf("%s: iatp log verify: exit %d, want %s: %s", c.name, code, c.record, out)
		}
		if c.starts {
			continue
		}
		s := setup{agent: "http://127.0.0.1:1", data: data}.launch(t)
		if code, text := s.exit(t, 10*time.Second), s.stderr.String(); code != 1 || !strings.Contains(text, c.record) || !strings.Contains(text, "restore") {
			t.Errorf("%s: run: exit %d, want %s and a remedy: %s", c.name, code, c.record, text)
		}
	}
	write(t, segment, string(sound))
	checkLog(t, data)
}

// TestFlippedBytes flips bytes all over a log. Verify sees each: what was signed
// is named, what can be made again is said to be so, and is, by fsck.
func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	s := setup{agent: startAgent(t, nil).url}.start(t)
	for range 300 { // more than a tile of 256 hashes
		s.post(t, trip)
	}
	s.stop(t)
	checkLog(t, s.data)
	var files []string
	err := filepath.WalkDir(filepath.Join(s.data, "log"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range append(files, filepath.Join(s.data, "log.vkey")) {
		sound, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for range min(8, len(sound)) {
			at := rand.IntN(len(sound))
			bad := append([]byte(nil), sound...)
			bad[at] ^= 1 << rand.IntN(8)
			write(t, file, string(bad))
			code, out, errs := tool(t, "log", "verify", "--data", s.data)
			if code == 0 && !strings.Contains(out, "can be made again") {
				t.Errorf("%s, byte %d of %d: %02x became %02x, and verify says:\n%s%s", file, at, len(sound), sound[at], bad[at], out, errs)
			}
			if code == 0 {
				if code, out, errs := tool(t, "log", "fsck", "--repair", "--data", s.data); code != 0 {
					t.Errorf("%s, byte %d: fsck --repair: exit %d\n%s%s", file, at, code, out, errs)
				}
				if again, err := os.ReadFile(file); err != nil || !bytes.Equal(again, sound) {
					t.Errorf("%s, byte %d: not what it was after fsck --repair: %v", file, at, err)
				}
			}
		}
		write(t, file, string(sound))
	}
	checkLog(t, s.data)
}

// TestDerivedFiles: indexes, tiles and snapshots can be deleted, and a tail that
// a crash tore is cut, without a record being lost.
func TestDerivedFiles(t *testing.T) {
	t.Parallel()
	at := setup{agent: startAgent(t, nil).url}
	s := at.start(t)
	at.data = s.data
	for range 300 {
		s.post(t, trip)
	}
	first := s.post(t, trip).header.Get("X-Agent-Trace-ID")
	s.stop(t)
	_, exported, _ := tool(t, "log", "export", "--data", s.data)
	segment := filepath.Join(s.data, "log", "00000000000000000000.jsonl")
	sound, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	for name, tail := range map[string]string{
		"half a record": `{"agent_id":"friend","dir":"local","minted":true,"r":"iG`,
		"zeros":         strings.Repeat("\x00", 4096),
		"garbage":       "\xff\xfe garbage\n{}\n",
		"no tiles":      "",
	} {
		write(t, segment, string(sound)+tail)
		for _, derived := range []string{"views", "log/tile"} {
			if err := os.RemoveAll(filepath.Join(s.data, derived)); err != nil {
				t.Fatal(err)
			}
		}
		s := at.start(t)
		r := s.get(t, "/trace/"+first)
		if r.status != 200 || timeline(t, r) != "request response" {
			t.Errorf("%s: %d %s", name, r.status, r.text)
		}
		s.stop(t)
		checkLog(t, s.data)
		_, again, _ := tool(t, "log", "export", "--data", s.data)
		rest, ok := strings.CutPrefix(again, exported)
		if !ok {
			t.Fatalf("%s: a record is gone or changed", name)
		}
		if cut := strings.Contains(rest, `"type":"recovery"`); cut != (name == "half a record" || name == "garbage") {
			t.Errorf("%s: records after it: %s", name, rest)
		}
		if sound, err = os.ReadFile(segment); err != nil {
			t.Fatal(err)
		}
		exported = again
	}
}

// TestRollback: an older copy of the whole directory verifies by itself, and not
// against a checkpoint that somebody kept.
func TestRollback(t *testing.T) {
	t.Parallel()
	at := setup{agent: startAgent(t, nil).url}
	s := at.start(t)
	at.data = s.data
	s.post(t, trip)
	s.stop(t)
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(s.data)); err != nil {
		t.Fatal(err)
	}
	s = at.start(t)
	s.post(t, trip)
	s.stop(t)
	kept := filepath.Join(t.TempDir(), "checkpoint")
	code, text, errs := tool(t, "log", "checkpoint", "--data", s.data)
	if code != 0 {
		t.Fatalf("iatp log checkpoint: exit %d: %s", code, errs)
	}
	write(t, kept, text)
	checkLog(t, older)
	if code, out, _ := tool(t, "log", "verify", "--data", s.data, "--against", kept); code != 0 {
		t.Errorf("the log against its own checkpoint: exit %d: %s", code, out)
	}
	if code, out, errs := tool(t, "log", "verify", "--data", older, "--against", kept); code != 1 {
		t.Errorf("a log that was set back, against a kept checkpoint: exit %d: %s%s", code, out, errs)
	}
}
