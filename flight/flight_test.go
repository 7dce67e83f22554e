package flight

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gowebpki/jcs"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/tlog"

	iatp "github.com/inter-agent-trust/iatp"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("FLIGHT_TEST_CHILD"); dir != "" {
		os.Exit(child(dir))
	}
	goleak.VerifyTestMain(m)
}

// mustOpen opens a log that the test closes.
func mustOpen(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustAppend(t testing.TB, l *Log, e *Entry, ack Ack) int64 {
	t.Helper()
	seq, err := l.Append(e, ack)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// entry is a small entry that differs from seq to seq.
func entry(i int) *Entry {
	return &Entry{Type: Request, TraceID: iatp.TraceID(fmt.Sprintf("trace-%d", i/2)), Dir: Local, Method: "POST",
		Payload: fmt.Appendf(nil, `{"n":%d}`, i)}
}

// written makes a closed log of n records.
func written(t testing.TB, n int, o Options) string {
	t.Helper()
	dir := t.TempDir()
	l := mustOpen(t, dir, o)
	for i := range n {
		mustAppend(t, l, entry(i), Written)
	}
	mustClose(t, l)
	return dir
}

// checkLog verifies a directory from outside.
func checkLog(t testing.TB, dir string, records int64) *Report {
	t.Helper()
	r, err := Verify(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || r.Records != records || len(r.Damage) > 0 {
		t.Fatalf("Verify = %+v, want %d records and nothing wrong", r, records)
	}
	return r
}

func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	err := os.CopyFS(to, os.DirFS(from))
	for errors.Is(err, fs.ErrNotExist) { // the keeper of an open log renames files
		if err = os.RemoveAll(to); err == nil {
			err = os.CopyFS(to, os.DirFS(from))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{logKeyFile, storeKeyFile} { // CopyFS opens them to others
		if err := os.Chmod(filepath.Join(to, key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func lines(t testing.TB, dir string) [][]byte {
	t.Helper()
	a, err := OpenArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for rec, err := range a.Lines(0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes.Clone(rec.Line))
	}
	return all
}

func fullEntry() *Entry {
	return &Entry{
		Type: UserOverride, TraceID: "abc-123", Time: time.Date(2026, 1, 23, 12, 34, 56, 789_999_999, time.UTC),
		Dir: Out, AgentID: "travel \"bot\"", Peer: "https://expedia.example", JKT: "lE51", Method: "POST", Path: "/task?é=\u2028\x01",
		Payload: []byte(`{"b":[1.0,2e3,"é","\u0041"],"a":{"trace_id":"x","seq":9}}`), Truncated: true, Opaque: "none",
		ContentType: "application/json", Bytes: 77, Body: []byte("body"),
		Findings: []Count{{Kind: "credit_card", Count: 2, Action: "mask", At: []string{"/card", "/a~1b"}}, {Kind: "ssn", Count: 1}}, Decision: "ask", Assessed: true, Level: iatp.Untrusted,
		Evidence: "E0", Score: 0, Reasons: []string{"low_trust", "no_reversibility"},
		Rules: []Rule{{"deny-all", "policies/base.yaml", 12}}, Reason: "low_trust_override", Manifest: "sha-256=:x:", Policy: "sha-256=:y:",
		Override: "confirm", Actor: "alice", StatusCode: 200, Latency: 1243560 * time.Microsecond, Own: 999 * time.Nanosecond,
		Outcome: OutcomeExecuted, Attempts: 2, Error: "reset", SLABreach: true, Quarantined: true, Minted: true,
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Link: "other", IdempotencyKey: "k",
		State: "open", Note: "tab\there", Action: iatp.Digest{1}, Base: iatp.Digest{2}, Receipt: "a.b.c", cut: recoveryNote{set: true, oldSize: 3, newSize: 0, droppedBelow: 4},
	}
}

// hugeEntry has every member at or above its bound.
func hugeEntry() *Entry {
	e := fullEntry()
	long := strings.Repeat("\"", 10_000)
	e.AgentID, e.Link, e.TraceID = iatp.AgentID(long), iatp.TraceID(long), iatp.TraceID(strings.Repeat("t", 128))
	for _, s := range []*string{&e.Peer, &e.JKT, &e.Method, &e.Path, &e.Opaque, &e.ContentType, &e.Decision, &e.Evidence, &e.Reason,
		&e.Manifest, &e.Policy, &e.Override, &e.Actor, &e.Error, &e.TraceParent, &e.IdempotencyKey, &e.State, &e.Note} {
		*s = long
	}
	e.Dir, e.Outcome = Dir(long), Outcome(long)
	e.Receipt = long
	e.Payload = []byte(`["` + strings.Repeat("é", 40_000) + `"]`)
	e.Bytes, e.Score, e.StatusCode, e.Attempts = math.MaxInt64, math.MinInt64, math.MaxInt64, math.MaxInt64
	e.Latency, e.Own = math.MaxInt64, math.MaxInt64
	e.cut = recoveryNote{true, math.MaxInt64, math.MaxInt64, math.MaxInt64}
	e.Findings, e.Reasons, e.Rules = nil, nil, nil
	for range 100 {
		e.Findings = append(e.Findings, Count{Kind: iatp.DataClass(long), Count: math.MaxInt64, Action: long, At: []string{long, long, long, long, long, long, long, long, long}})
		e.Reasons = append(e.Reasons, long)
		e.Rules = append(e.Rules, Rule{long, long, math.MaxInt64})
	}
	return e
}

// TestLinesAreCanonical holds every line to an independent RFC 8785 canonicaliser.
func TestLinesAreCanonical(t *testing.T) {
	latencies := func(d time.Duration) *Entry { return &Entry{Type: Response, Latency: d, Own: d / 3} }
	entries := []*Entry{
		{Type: Key}, fullEntry(), hugeEntry(), entry(0),
		{Type: Request, Payload: []byte(`{"broken":`)},
		{Type: Request, Payload: []byte(`{"a":1,"a":2}`)},
		{Type: Request, Text: []byte("\xff\xc0 line\nline \u2028 \x7f é 😀")},
		{Type: Request, Text: bytes.Repeat([]byte{1}, 20_000)},
		{Type: Request, Text: []byte(strings.Repeat("😀", 5_000))},
		{Type: Recovery, cut: recoveryNote{set: true}},
		latencies(time.Microsecond), latencies(10 * time.Microsecond), latencies(1500 * time.Microsecond), latencies(time.Hour + 70*time.Microsecond),
	}
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	for _, e := range entries {
		mustAppend(t, l, e, Written)
	}
	mustClose(t, l)
	for i, line := range lines(t, dir) {
		want, err := jcs.Transform(line)
		if err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
		if diff := cmp.Diff(string(want), string(line)); diff != "" {
			t.Errorf("line %d is not in its RFC 8785 form (-want +got):\n%s", i, diff)
		}
		if _, err := ParseRecord(line); err != nil || len(line) > MaxLine {
			t.Errorf("line %d of %d bytes: ParseRecord: %v", i, len(line), err)
		}
	}
	checkLog(t, dir, int64(len(entries)))
}

func TestLineMembers(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	mustAppend(t, l, fullEntry(), Written)
	mustClose(t, l)
	var got map[string]any
	if err := json.Unmarshal(lines(t, dir)[0], &got); err != nil {
		t.Fatal(err)
	}
	r, commit, idem := got["r"].(string), got["commit"].(string), got["idem"].(string)
	delete(got, "sealed") // see TestSealed
	delete(got, "r")
	delete(got, "commit")
	delete(got, "idem")
	want := map[string]any{
		"type": "user_override", "trace_id": "abc-123", "timestamp": "2026-01-23T12:34:56.789Z", "seq": 0.0, "dir": "out",
		"agent_id": `travel "bot"`, "peer": "https://expedia.example", "jkt": "lE51", "method": "POST", "path": "/task?é=\u2028\x01",
		"payload":   map[string]any{"a": map[string]any{"trace_id": "x", "seq": 9.0}, "b": []any{1.0, 2000.0, "é", "A"}},
		"truncated": true, "opaque": "none", "content_type": "application/json", "bytes": 77.0,
		"findings": []any{map[string]any{"kind": "credit_card", "count": 2.0, "action": "mask", "at": []any{"/card", "/a~1b"}}, map[string]any{"kind": "ssn", "count": 1.0}},
		"decision": "ask", "level": "untrusted", "evidence": "E0", "score": 0.0, "reasons": []any{"low_trust", "no_reversibility"},
		"rules":  []any{map[string]any{"name": "deny-all", "file": "policies/base.yaml", "line": 12.0}},
		"reason": "low_trust_override", "manifest": "sha-256=:x:", "policy": "sha-256=:y:", "override": "confirm", "actor": "alice",
		"status_code": 200.0, "latency_ms": 1243.56, "own_ms": 0.001, "outcome": "executed", "attempts": 2.0, "error": "reset",
		"sla_breach": true, "quarantined": true, "minted": true, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"link": "other", "state": "open", "note": "tab\there", "receipt": iatp.DigestOf([]byte("a.b.c")).Base64URL(),
		"action": iatp.Digest{1}.Base64URL(), "base": iatp.Digest{2}.Base64URL(), "old_size": 3.0, "new_size": 0.0, "dropped_below": 4.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	key := l.keys.store[:]
	rBytes, _ := base64.RawURLEncoding.DecodeString(r)
	salt := hmacOf(key, []byte("iatp commit v1"), rBytes)
	if want := base64.RawURLEncoding.EncodeToString(hmacOf(salt, []byte("body"))); commit != want {
		t.Errorf("commit = %s, want %s", commit, want)
	}
	if want := base64.RawURLEncoding.EncodeToString(hmacOf(key, []byte("iatp idem v1"), []byte("k"))); idem != want {
		t.Errorf("idem = %s, want %s", idem, want)
	}
}

// hmacOf is the library's HMAC, to hold ours to.
func hmacOf(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func TestUnknownTypeIsRefused(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	if _, err := l.Append(&Entry{Type: "gossip"}, Written); err == nil {
		t.Error("Append of an unknown type succeeded")
	}
	if err := l.Err(); err != nil {
		t.Errorf("Err = %v after a refused entry, want nil", err)
	}
	mustAppend(t, l, entry(0), Durable)
}

// A payload that a view has to learn from is whole on its line, or there is no line.
func TestPayloadIsWhole(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	long := `{"a":"` + strings.Repeat("x", MaxPayload-len(`{"a":""}`)) + `"}`
	for name, e := range map[string]*Entry{
		"too long":     {Payload: []byte(strings.Replace(long, "x", "xx", 1))},
		"not JSON":     {Payload: []byte(`{"a":`)},
		"twice":        {Payload: []byte(`{"a":1,"a":2}`)},
		"no room left": {Payload: []byte(long), Signed: []byte("sealed")},
	} {
		e.Type, e.Whole = Key, true
		if _, err := l.Append(e, Durable); !errors.Is(err, ErrNotWhole) {
			t.Errorf("%s: %v, want ErrNotWhole", name, err)
		}
	}
	if err := l.Err(); err != nil {
		t.Errorf("Err = %v after refused entries, want nil", err)
	}
	mustAppend(t, l, &Entry{Type: Key, Payload: []byte(long), Whole: true}, Durable)
	mustAppend(t, l, &Entry{Type: Key, Whole: true}, Durable)
	mustClose(t, l)
	if all := lines(t, dir); len(all) != 2 || !bytes.Contains(all[0], []byte(long)) {
		t.Errorf("%d lines are kept, want 2", len(all))
	}
}

// TestConcurrentAppend appends from many producers across rotations.
func TestConcurrentAppend(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{SegmentBytes: 20 << 10})
	v := new(counter)
	if err := l.Attach("counter", v); err != nil {
		t.Fatal(err)
	}
	const producers, each = 16, 100
	seen := make([]bool, producers*each)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				seq, err := l.Append(entry(p*each+i), Ack(i%2))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[seq] {
					t.Errorf("seq %d was given twice", seq)
				}
				seen[seq] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if v.n != producers*each {
		t.Errorf("the view has seen %d records, want %d", v.n, producers*each)
	}
	for i := range producers * each / 2 {
		id := iatp.TraceID(fmt.Sprintf("trace-%d", i))
		if got, err := l.Trace(id); err != nil || len(got) != 2 {
			t.Fatalf("Trace(%s) = %d lines, %v; want 2", id, len(got), err)
		}
	}
	if s := l.Stats(); s.Segments < 5 || s.Size != producers*each {
		t.Errorf("Stats = %+v, want %d records in several segments", s, producers*each)
	}
	mustClose(t, l)
	checkLog(t, dir, producers*each)
	if _, err := l.Append(entry(0), Written); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: %v, want ErrClosed", err)
	}
}

// TestDurableProducers has nobody but producers that wait for the disk: no
// background sync helps a request that was forgotten.
func TestDurableProducers(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	const producers, each = 32, 40
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		for p := range producers {
			wg.Go(func() {
				for i := range each {
					if _, err := l.Append(entry(p*each+i), Durable); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("producers wait for ever: %+v", l.Stats())
	}
	if s := l.Stats(); s.Durable != producers*each || s.Syncs == 0 {
		t.Errorf("Stats = %+v, want %d durable records", s, producers*each)
	}
	mustClose(t, l)
	checkLog(t, dir, producers*each)
}

// gate is a view that holds the writer up.
type gate struct{ entered, open chan struct{} }

func (g gate) Apply(seq int64, _ []byte) {
	if seq == 0 {
		close(g.entered)
		<-g.open
	}
}
func (gate) Snapshot() []byte     { return nil }
func (gate) Restore([]byte) error { return nil }

// TestSyncAskedDuringWrite queues a durable record while the flusher writes the
// one before: the second request must not be taken for the first.
func TestSyncAskedDuringWrite(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	g := gate{make(chan struct{}), make(chan struct{})}
	if err := l.Attach("gate", g); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	appendDurable := func(i int) {
		_, err := l.Append(entry(i), Durable)
		done <- err
	}
	go appendDurable(0)
	<-g.entered
	go appendDurable(1)
	for l.Stats().Queued == 0 {
		time.Sleep(time.Millisecond)
	}
	close(g.open)
	for range 2 {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("a durable record was forgotten: %+v", l.Stats())
		}
	}
}

// TestNothingUnsyncedIsSigned asks for checkpoints faster than the disk syncs.
func TestNothingUnsyncedIsSigned(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	for i := range 200 {
		mustAppend(t, l, entry(i), Written)
		if _, err := l.advance(true); err != nil {
			t.Fatal(err)
		}
		// Signed first: the synced size only grows.
		c, err := l.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		signed, err := parseCheckpoint(c, l.keys.verifier)
		if err != nil {
			t.Fatal(err)
		}
		if s := l.Stats(); signed.Size > s.Durable {
			t.Fatalf("a checkpoint of %d records, of which %d are durable", signed.Size, s.Durable)
		}
	}
}

// TestCheckpointSpelling: base64 has several spellings of one signature, a
// checkpoint has one.
func TestCheckpointSpelling(t *testing.T) {
	dir := written(t, 1, Options{})
	text, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := os.ReadFile(filepath.Join(dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	last := len(text) - len("=\n") - 1
	good := text[last]
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		text[last] = b
		if _, err := ParseCheckpoint(text, strings.TrimSpace(string(vkey))); (err == nil) != (b == good) {
			t.Errorf("last character %c instead of %c: %v", b, good, err)
		}
	}
}

func TestCommitted(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	mustAppend(t, l, &Entry{Type: Request, Body: []byte("123456")}, Written)
	mustAppend(t, l, &Entry{Type: Request, Body: []byte{}}, Written)
	mustAppend(t, l, &Entry{Type: Request}, Written)
	mustClose(t, l)
	all := lines(t, dir)
	for _, c := range []struct {
		line int
		body string
		want bool
	}{{0, "123456", true}, {0, "123457", false}, {0, "", false}, {1, "", true}, {1, "x", false}} {
		if got, err := Committed(dir, all[c.line], []byte(c.body)); got != c.want || err != nil {
			t.Errorf("Committed(line %d, %q) = %v, %v; want %v", c.line, c.body, got, err, c.want)
		}
	}
	if _, err := Committed(dir, all[2], nil); err == nil {
		t.Error("Committed of a line without a commitment: no error")
	}
	if bytes.Contains(all[0], []byte(base64.RawURLEncoding.EncodeToString(hashBytes("123456")))) {
		t.Error("the line holds a plain digest of the body")
	}
}

func hashBytes(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }

// counter is a view that counts and checks the order of what it sees.
type counter struct {
	n       int64
	restore int64 // n after Restore
}

func (c *counter) Apply(seq int64, line []byte) {
	if got, ok := seqOf(line); !ok || got != seq || seq != c.n {
		panic(fmt.Sprintf("applied %d (line says %d) after %d records", seq, got, c.n))
	}
	c.n++
}

func (c *counter) Snapshot() []byte { return fmt.Append(nil, c.n) }

func (c *counter) Restore(b []byte) error {
	n, err := parseSize(string(b))
	c.n, c.restore = n, n
	return err
}

func TestViewSnapshot(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	for i := range 300 {
		mustAppend(t, l, entry(i), Written)
	}
	if err := l.Attach("counter", new(counter)); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, entry(300), Written)
	mustClose(t, l)

	open := func(wantRestored int64) *Log {
		t.Helper()
		l := mustOpen(t, dir, Options{})
		v := new(counter)
		if err := l.Attach("counter", v); err != nil {
			t.Fatal(err)
		}
		if v.n != l.Size() || v.restore != wantRestored {
			t.Errorf("the view is at %d of %d, restored at %d, want %d", v.n, l.Size(), v.restore, wantRestored)
		}
		return l
	}
	l = open(301)
	mustAppend(t, l, entry(301), Written)
	mustClose(t, l)
	mustClose(t, open(302))

	path := filepath.Join(dir, "views", "counter")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		// Changed digits of the size and of the leaf hash are caught by
		// comparing them with the log, below.
		ofLog := i >= 13 && i < 16 || i >= 17 && i < 61
		if _, _, _, err := decodeSnapshot(bad); err == nil && !ofLog {
			t.Errorf("byte %d of the snapshot flipped: no error", i)
		}
	}
	_, leaf, snapshot, _ := decodeSnapshot(good)
	for _, size := range []int64{301, 303} { // another log's, and newer than the log
		if err := os.WriteFile(path, encodeSnapshot(size, leaf, snapshot), 0o600); err != nil {
			t.Fatal(err)
		}
		mustClose(t, open(0))
	}
}

// TestVector checks the tree and the proof of the shared vectors.
func TestVector(t *testing.T) {
	data, err := os.ReadFile("testdata/vector.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		VKey  string   `json:"vkey"`
		Lines []string `json:"lines"`
		Proof string   `json:"proof_of_line_1"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	c, err := VerifyProof([]byte(v.Proof), []byte(v.Lines[1]), v.VKey)
	if err != nil {
		t.Fatal(err)
	}
	tr := new(tree)
	for _, line := range v.Lines {
		tr.add(tlog.RecordHash([]byte(line)))
	}
	if tr.root() != c.Root || c.Size != 3 {
		t.Errorf("root of the lines = %v, the checkpoint says %v at %d", tr.root(), c.Root, c.Size)
	}
	p, err := ParseProof([]byte(v.Proof))
	if err != nil || string(p.Text()) != v.Proof {
		t.Errorf("the proof does not come out as it went in: %v\n%s", err, p.Text())
	}
	for i := range v.Proof {
		bad := []byte(v.Proof)
		bad[i] ^= 1
		if _, err := VerifyProof(bad, []byte(v.Lines[1]), v.VKey); err == nil {
			t.Errorf("byte %d of the proof flipped: accepted", i)
		}
	}
	if _, err := VerifyProof([]byte(v.Proof), []byte(v.Lines[0]), v.VKey); err == nil {
		t.Error("the proof of line 1 was accepted for line 0")
	}
}

// TestTree compares our tree with that of package tlog at every size.
func TestTree(t *testing.T) {
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) (out []tlog.Hash, err error) {
		for _, i := range indexes {
			out = append(out, stored[i])
		}
		return out, nil
	})
	tr := &tree{full: func(int, int64, []tlog.Hash) error { return nil }}
	for n := range int64(1500) {
		line := fmt.Appendf(nil, "line %d", n)
		hashes, err := tlog.StoredHashes(n, line, read)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		tr.add(tlog.RecordHash(line))
		if want, err := tlog.TreeHash(n+1, read); err != nil || tr.root() != want {
			t.Fatalf("root of %d records = %v, want %v (%v)", n+1, tr.root(), want, err)
		}
	}
}

func TestProveEveryRecord(t *testing.T) {
	dir := written(t, 1300, Options{Origin: "bank.example/iatp"})
	all := lines(t, dir)
	os.Remove(filepath.Join(dir, "log", "tile", "0", "002")) // computed again on demand
	l := mustOpen(t, dir, Options{})
	vkey, err := os.ReadFile(filepath.Join(dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range all {
		proof, err := l.Prove(int64(i))
		if err != nil {
			t.Fatal(err)
		}
		c, err := VerifyProof(proof, line, strings.TrimSpace(string(vkey)))
		if err != nil || c.Origin != "bank.example/iatp" || c.Size != 1300 {
			t.Fatalf("proof of record %d: %+v, %v", i, c, err)
		}
	}
	if _, err := l.Prove(1300); !errors.Is(err, ErrNotSigned) {
		t.Errorf("Prove of a record that is not there: %v, want ErrNotSigned", err)
	}
	// A damaged tile must not become evidence.
	path := filepath.Join(dir, "log", "tile", "0", "003")
	data, _ := os.ReadFile(path)
	data[5] ^= 1
	os.WriteFile(path, data, 0o644)
	if _, err := l.Prove(3 * 256); err == nil || !strings.Contains(err.Error(), "fsck") {
		t.Errorf("Prove over a damaged tile: %v, want an error that names fsck", err)
	}
}

func TestCheckpointFollows(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	seq := mustAppend(t, l, entry(0), Written)
	deadline := time.Now().Add(5 * time.Second)
	for {
		_, err := l.Prove(seq)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrNotSigned) || time.Now().After(deadline) {
			t.Fatalf("Prove: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if s := l.Stats(); s.Durable != 1 || s.Signed != 1 {
		t.Errorf("Stats = %+v, want one durable and signed record", s)
	}
	checkLog(t, dir, 1) // beside the running log
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("second Open: %v, want ErrInUse with the process", err)
	}
	if _, err := Fsck(dir, FsckOptions{Repair: true}); !errors.Is(err, ErrInUse) {
		t.Errorf("Fsck with Repair beside a log: %v, want ErrInUse", err)
	}
	mustClose(t, l)
	mustClose(t, mustOpen(t, dir, Options{}))
}

func TestKeysAreGuarded(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(dir string) error
		want  string
	}{
		{"log key open to others", func(d string) error { return os.Chmod(filepath.Join(d, "log.key"), 0o640) }, "chmod 600"},
		{"log key gone", func(d string) error { return os.Remove(filepath.Join(d, "log.key")) }, "log.key is missing"},
		{"store key gone", func(d string) error { return os.Remove(filepath.Join(d, "store.key")) }, "store.key is missing"},
		{"store key cut", func(d string) error { return os.Truncate(filepath.Join(d, "store.key"), 10) }, "not a store key"},
		{"log key cut", func(d string) error { return os.Truncate(filepath.Join(d, "log.key"), 10) }, "not a log key"},
		{"other public key", func(d string) error { return os.WriteFile(filepath.Join(d, "log.vkey"), []byte("x"), 0o644) }, "does not belong"},
		{"checkpoint gone", func(d string) error { return os.Remove(filepath.Join(d, "log", "checkpoint")) }, "checkpoint is missing"},
		{"log gone", func(d string) error { return os.RemoveAll(filepath.Join(d, "log")) }, "checkpoint is missing"},
		{"segment gone", func(d string) error {
			return os.Remove(filepath.Join(d, "log", "00000000000000000000.jsonl"))
		}, "there are no segments"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := written(t, 3, Options{})
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			if l, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open: %v, want an error with %q", err, c.want)
				if err == nil {
					l.Close()
				}
			}
		})
	}
}

func TestClockBeforeLastRecord(t *testing.T) {
	dir := written(t, 3, Options{})
	early := func(d time.Duration) Options { return Options{Now: func() time.Time { return time.Now().Add(-d) }} }
	if _, err := Open(dir, early(5*time.Minute)); err == nil || !strings.Contains(err.Error(), "set the clock") {
		t.Errorf("Open with a clock 5 minutes back: %v, want an error that names the clock", err)
	}
	mustClose(t, mustOpen(t, dir, early(time.Minute)))
}

func TestExport(t *testing.T) {
	dir := written(t, 500, Options{SegmentBytes: 8 << 10})
	var all, one bytes.Buffer
	if err := Export(dir, &all, ""); err != nil {
		t.Fatal(err)
	}
	if want := append(bytes.Join(lines(t, dir), []byte("\n")), '\n'); !bytes.Equal(all.Bytes(), want) {
		t.Error("Export of everything is not the lines")
	}
	if err := Export(dir, &one, "trace-7"); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(one.Bytes(), []byte(`"trace_id":"trace-7"`)); n != 2 || bytes.Count(one.Bytes(), []byte("\n")) != 2 {
		t.Errorf("Export of a trace:\n%s\nwant its two lines", &one)
	}
	if err := Export(dir, failWriter{}, ""); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("Export to a broken writer: %v", err)
	}
	a, err := OpenArchive(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 7, 500, 900} {
		latest, err := a.Latest(n)
		if err != nil || len(latest) != min(n, 500) || latest[len(latest)-1].Seq != 499 || latest[0].Seq != int64(500-min(n, 500)) {
			t.Errorf("Latest(%d) = %d records, %v", n, len(latest), err)
		}
	}
}

type failWriter struct{}

func (failWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestNoAllocation(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	e := fullEntry()
	e.Receipt = "" // sealing makes a cipher for each line
	for range 5000 {
		mustAppend(t, l, e, Written)
	}
	if n := testing.AllocsPerRun(500, func() { mustAppend(t, l, e, Written) }); n > 0 && !raceEnabled {
		t.Errorf("Append allocates %v times", n)
	}
}

// A payload that is too long is cut as it came; one that is long only as it is spelled stands in
// its canonical form.
func TestLongPayload(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	many := `{"b":[` + strings.Repeat(`"text", `, MaxPayload/4) + `0],"a":1}`
	spread := `{"b":` + strings.Repeat(" ", MaxPayload) + `"text","a":1}`
	mustAppend(t, l, &Entry{Type: Request, Payload: []byte(many)}, Written)
	mustAppend(t, l, &Entry{Type: Request, Payload: []byte(spread)}, Written)
	mustClose(t, l)
	var cut struct {
		Payload   string
		Truncated bool
	}
	var whole struct {
		Payload   json.RawMessage
		Truncated bool
	}
	all := lines(t, dir)
	if err := errors.Join(json.Unmarshal(all[0], &cut), json.Unmarshal(all[1], &whole)); err != nil {
		t.Fatal(err)
	}
	written, err := json.Marshal(cut.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if !cut.Truncated || !strings.HasPrefix(many, cut.Payload) || len(written)-2 > MaxPayload || len(written)-2 < MaxPayload-1 {
		t.Errorf("kept %d bytes of the text, %d as written, truncated: %v", len(cut.Payload), len(written)-2, cut.Truncated)
	}
	if string(whole.Payload) != `{"a":1,"b":"text"}` || whole.Truncated {
		t.Errorf("kept %s, truncated: %v", whole.Payload, whole.Truncated)
	}
}

// A payload is as deep as its author likes. Whatever is appended opens again
// after a crash, and lines hold JSON up to the depth that every reader takes.
func TestDeepPayloads(t *testing.T) {
	for _, shape := range []struct{ open, close string }{{"[", "]"}, {`{"a":`, "}"}} {
		for _, depth := range []int{126, 127, 128, 129, 130, 1000} {
			l := mustOpen(t, t.TempDir(), Options{})
			payload := deep(depth, shape.open, "1", shape.close)
			mustAppend(t, l, entry(0), Durable)
			seq := mustAppend(t, l, &Entry{Type: Request, TraceID: "deep", Payload: []byte(payload)}, Durable)
			killed := copyDir(t, l.data)
			want, asText := payload, depth > 127
			if asText {
				quoted, err := json.Marshal(payload)
				if err != nil {
					t.Fatal(err)
				}
				want = string(quoted)
			}
			opensWith(t, killed, "deep", seq, want)
		}
	}
}

// Logs that are there hold lines one level deeper than are written now: they
// open, whether the line is the last or later ones follow.
func TestLinesOfOldAreDeeper(t *testing.T) {
	for _, follows := range []bool{false, true} {
		dir := written(t, 1, Options{})
		killed := copyDir(t, dir) // its checkpoint covers record 0 alone
		l := mustOpen(t, dir, Options{})
		payload := deep(127, "[", "1", "]")
		seq := mustAppend(t, l, &Entry{Type: Request, TraceID: "deep", Payload: []byte(payload)}, Durable)
		if follows {
			mustAppend(t, l, entry(1), Durable)
		}
		data, err := os.ReadFile(segmentPath(l.dir, 0))
		if err != nil {
			t.Fatal(err)
		}
		old := bytes.Replace(data, []byte(payload), []byte("["+payload+"]"), 1)
		if err := os.WriteFile(segmentPath(filepath.Join(killed, "log"), 0), old, 0o600); err != nil {
			t.Fatal(err)
		}
		opensWith(t, killed, "deep", seq, "["+payload+"]")
	}
}

func deep(n int, open, middle, close string) string {
	return strings.Repeat(open, n) + middle + strings.Repeat(close, n)
}

// opensWith opens the copy of a log that was running, and looks for the payload
// of a record in every way there is.
func opensWith(t *testing.T, dir string, id iatp.TraceID, seq int64, payload string) {
	t.Helper()
	if r, err := Verify(dir, ""); err != nil || !r.OK() {
		t.Fatalf("Verify before the start = %+v, %v", r, err)
	}
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	size := l.Size()
	ofTrace, err := l.Trace(id)
	if err != nil || len(ofTrace) != 1 {
		t.Fatalf("Trace = %q, %v", ofTrace, err)
	}
	mustClose(t, l)
	checkLog(t, dir, size)
	all := lines(t, dir)
	a, err := OpenArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	archived, err := a.Trace(id)
	if err != nil || len(archived) != 1 {
		t.Fatalf("Trace of the archive = %v, %v", archived, err)
	}
	for _, line := range [][]byte{ofTrace[0], all[seq], archived[0].Line} {
		if !bytes.Contains(line, []byte(`"payload":`+payload+`,"r":`)) {
			t.Errorf("the line is %s, its payload should be %s", line, payload)
		}
	}
}

// A line is the same whoever makes the canonical form of its payload, and has no longer one.
func TestCanonicalPayload(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	payload, form := []byte(`{"b": 1.0, "a": 2}`), []byte(`{"a":2,"b":1}`)
	long := []byte(`"` + strings.Repeat("x", MaxPayload) + `"`)
	at := time.Now()
	for _, e := range []Entry{{Payload: payload}, {Payload: payload, Canonical: form}, {Payload: long}, {Payload: long, Canonical: long}} {
		e.Type, e.Time = Request, at
		mustAppend(t, l, &e, Written)
	}
	mustClose(t, l)
	all := lines(t, dir)
	for i := 0; i < len(all); i += 2 {
		var made, given map[string]any
		if err := errors.Join(json.Unmarshal(all[i], &made), json.Unmarshal(all[i+1], &given)); err != nil {
			t.Fatal(err)
		}
		for _, m := range []map[string]any{made, given} { // what is different in any two lines
			delete(m, "r")
			delete(m, "seq")
		}
		if diff := cmp.Diff(made, given); diff != "" {
			t.Errorf("-made here +given:\n%s", diff)
		}
	}
}

// The time is written as package time writes it.
func TestAppendTime(t *testing.T) {
	zone := time.FixedZone("", 5*3600+1800)
	for _, at := range []time.Time{
		{}, time.Unix(0, 0), time.Unix(1700000000, 7_999_999), time.Unix(-1, 0), time.Date(2026, 12, 31, 23, 59, 59, 999_999_999, zone),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 2, 3, 4, 5, 6, 7, time.UTC), time.Date(12, 2, 3, 4, 5, 6, 70_000_000, time.UTC),
	} {
		if got, want := string(appendTime(nil, at)), at.UTC().Format(timeLayout); got != want {
			t.Errorf("%v is written as %s, want %s", at, got, want)
		}
	}
}

// plainPrefix stops where a loop over isPlain does.
func TestPlainPrefix(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for b := range 256 {
				text := []byte(strings.Repeat("~", n))
				text[at] = byte(b)
				want := n
				if !isPlain(byte(b)) {
					want = at
				}
				if got := plainPrefix(text); got != want {
					t.Fatalf("plainPrefix(%q) = %d, want %d", text, got, want)
				}
				if got := plainPrefix(string(text)); got != want {
					t.Fatalf("plainPrefix(%q) = %d, want %d", text, got, want)
				}
			}
		}
	}
}
