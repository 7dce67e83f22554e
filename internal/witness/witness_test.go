package witness

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/inter-agent-trust/iatp/flight"
)

// A logOf is a log that a peer could have: leaves, and the key that signs.
type logOf struct {
	signer note.Signer
	peer   Peer
	leaves []string
}

func newLog(t testing.TB) *logOf {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, "peer/iatp")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return &logOf{signer: signer, peer: peerWith(vkey)}
}

// peerWith is a peer whose manifest names that key, whenever it is fetched.
func peerWith(vkey string) Peer {
	return Peer{URI: "https://peer.example", JKT: "j", VKey: vkey, Renew: func(context.Context) (string, error) { return vkey, nil }}
}

// hashes reads the hashes of the tree over the leaves.
func (l *logOf) hashes() tlog.HashReader {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range at {
			out = append(out, stored[i])
		}
		return out, nil
	})
	for i, leaf := range l.leaves {
		more, _ := tlog.StoredHashes(int64(i), []byte(leaf), reader)
		stored = append(stored, more...)
	}
	return reader
}

func (l *logOf) grow(words string, n int) *logOf {
	next := *l
	next.leaves = append([]string(nil), l.leaves...)
	for i := range n {
		next.leaves = append(next.leaves, fmt.Sprintf("%s %d", words, i))
	}
	return &next
}

func (l *logOf) state(t testing.TB) string { return l.stateWith(t, "") }

// stateWith is a state with extension lines.
func (l *logOf) stateWith(t testing.TB, extension string) string {
	t.Helper()
	root := tlog.Hash(sha256.Sum256(nil))
	if len(l.leaves) > 0 {
		root, _ = tlog.TreeHash(int64(len(l.leaves)), l.hashes())
	}
	text, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n%s", l.signer.Name(), len(l.leaves), root, extension)}, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// get is what an honest peer answers.
func (l *logOf) get(t testing.TB) Get {
	return func(_ context.Context, path string) (int, []byte, error) {
		var old int64
		if path == CheckpointPath {
			return 200, []byte(l.state(t)), nil
		}
		if n, _ := fmt.Sscanf(path, ConsistencyPath+"?old=%d", &old); n != 1 {
			t.Fatalf("asked for %s", path)
		}
		size := int64(len(l.leaves))
		if old > size {
			return 409, []byte(l.state(t)), nil
		}
		c := flight.Consistency{Old: old, Checkpoint: []byte(l.state(t))}
		if old > 0 && old < size {
			c.Hashes, _ = tlog.ProveTree(size, old, l.hashes())
		}
		return 200, c.Text(), nil
	}
}

// says answers everything with one text.
func says(status int, text string) Get {
	return func(context.Context, string) (int, []byte, error) { return status, []byte(text), nil }
}

func openBook(t testing.TB, dir string) (*flight.Log, *Book) {
	t.Helper()
	l, err := flight.Open(dir, flight.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(l, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return l, b
}

// Whatever a log shows, the verdict is the one that its states deserve, and it is
// the same after a restart, with the snapshot and without.
func TestLook(t *testing.T) {
	root := newLog(t)
	first := root.grow("a", 5)
	longer, forked, other := first.grow("b", 300), first.grow("c", 400), root.grow("z", 5)
	stranger := newLog(t).grow("a", 9)
	stranger.peer = root.peer
	foreign := stranger.state(t)
	for name, test := range map[string]struct {
		shown []Get
		want  []string // what each look finds; "?" is ErrNotShown
		size  int64    // of the last good state
	}{
		"grows":               {[]Get{first.get(t), first.get(t), longer.get(t)}, []string{Seen, "", Seen}, 305},
		"from nothing":        {[]Get{root.get(t), first.get(t)}, []string{Seen, Seen}, 5},
		"forks later":         {[]Get{first.get(t), longer.get(t), forked.get(t)}, []string{Seen, Seen, Fork}, 305},
		"forks at once":       {[]Get{longer.get(t), forked.get(t)}, []string{Seen, Fork}, 305},
		"another, same size":  {[]Get{first.get(t), other.get(t)}, []string{Seen, Fork}, 5},
		"goes back":           {[]Get{longer.get(t), first.get(t)}, []string{Seen, SetBack}, 305},
		"goes back with 200":  {[]Get{longer.get(t), says(200, "old 305\n\n"+first.state(t))}, []string{Seen, SetBack}, 305},
		"says it did":         {[]Get{longer.get(t), says(409, longer.state(t))}, []string{Seen, "?"}, 305},
		"another of one size": {[]Get{first.get(t), says(409, other.state(t))}, []string{Seen, Fork}, 5},
		"no proof":            {[]Get{first.get(t), says(200, "old 5\n\n"+longer.state(t))}, []string{Seen, Fork}, 5},
		"proof of another":    {[]Get{first.get(t), says(200, "old 4\n\n"+longer.state(t))}, []string{Seen, Fork}, 5},
		"foreign signature":   {[]Get{first.get(t), says(200, "old 5\n\n"+foreign)}, []string{Seen, BadSignature}, 5},
		"foreign at first":    {[]Get{says(200, foreign)}, []string{BadSignature}, -1},
		"foreign with 409":    {[]Get{first.get(t), says(409, foreign)}, []string{Seen, BadSignature}, 5},
		"garbage":             {[]Get{first.get(t), says(200, "hello"), says(409, "hello"), says(404, ""), says(500, first.state(t)), longer.get(t)}, []string{Seen, "?", "?", "?", "?", Seen}, 305},
		"garbage at first":    {[]Get{says(200, "hello"), says(404, first.state(t)), says(200, strings.Repeat(first.state(t), 99)), first.get(t)}, []string{"?", "?", "?", Seen}, 5},
		"silent": {[]Get{first.get(t), func(context.Context, string) (int, []byte, error) { return 0, nil, errors.New("no") }, longer.get(t)},
			[]string{Seen, "?", Seen}, 305},
		"sorry afterwards": {[]Get{longer.get(t), first.get(t), longer.get(t)}, []string{Seen, SetBack, ""}, 305},
		"long text":        {[]Get{first.get(t), says(200, "old 5\n\npeer/iatp\n"+strings.Repeat("<", 2900)+"\n\n\u2014 peer/iatp x\n")}, []string{Seen, BadSignature}, 5},
		"evil text":        {[]Get{first.get(t), says(200, "old 5\n\npeer/iatp\n"+strings.Repeat("\x01", 2900)+"\n\n\u2014 peer/iatp x\n")}, []string{Seen, BadSignature}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l, b := openBook(t, dir)
			for i, get := range test.shown {
				found, err := b.Look(t.Context(), root.peer, get)
				switch {
				case errors.Is(err, ErrNotShown):
					found = "?"
				case err != nil:
					t.Fatal(err)
				}
				if found != test.want[i] {
					t.Errorf("look %d finds %q, want %q (%v)", i, found, test.want[i], err)
				}
			}
			have := b.Of(root.peer.URI)
			size := int64(-1)
			if c := have.State(); c != nil {
				size = c.Size
			}
			bad := have.Verdict != Seen && have.Verdict != ""
			if size != test.size || have.Bad() != bad || b.Bad() != map[bool]int{true: 1}[bad] {
				t.Errorf("remembered: %+v, size %d", have, size)
			}
			if bad && len(have.Checkpoint) > 0 {
				evidence(t, dir, have)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l, b = openBook(t, dir)
			if got := b.Of(root.peer.URI); got != have {
				t.Errorf("after a restart: %+v, want %+v", got, have)
			}
			// The operator's word, as internal/handshake writes it.
			if _, err := l.Append(&flight.Entry{Type: flight.Key, Peer: root.peer.URI, Reason: "forgotten"}, flight.Durable); err != nil {
				t.Fatal(err)
			}
			if got := b.Of(root.peer.URI); got != (Log{}) {
				t.Errorf("after it was forgotten: %+v", got)
			}
			l.Close()
		})
	}
}

// evidence checks that the record of a verdict holds both states.
func evidence(t *testing.T, dir string, have Log) {
	t.Helper()
	a, err := flight.OpenArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	for rec, err := range a.Lines(have.Seq) {
		if err != nil {
			t.Fatal(err)
		}
		var l struct {
			Reason  string
			Payload shown
		}
		if err := json.Unmarshal(rec.Line, &l); err != nil {
			t.Fatal(err)
		}
		if l.Reason != have.Verdict || l.Payload.Before != have.Checkpoint || (l.Payload.Checkpoint == "") == (l.Payload.Digest == "") {
			t.Errorf("evidence: %s", rec.Line)
		}
		return
	}
	t.Error("no record of the evidence")
}

// A log with another key is another log, and is compared with nothing.
func TestLookAtAnotherKey(t *testing.T) {
	l, b := openBook(t, t.TempDir())
	defer l.Close()
	old, fresh := newLog(t).grow("a", 9), newLog(t).grow("b", 2)
	for _, step := range []struct {
		log  *logOf
		want string
	}{{old, Seen}, {fresh, NewKey}, {fresh.grow("c", 1), Seen}} {
		if found, err := b.Look(t.Context(), step.log.peer, step.log.get(t)); found != step.want || err != nil {
			t.Errorf("%q %v, want %q", found, err, step.want)
		}
	}
}

// A good state is kept whole, however it is padded and written in JSON, or it counts as
// not shown: one that was cut could be compared with nothing.
func TestPaddedState(t *testing.T) {
	for _, pad := range []string{"<", "\\", "\n", "\u00a0", "\""} {
		root := newLog(t)
		first, other := root.grow("a", 5), root.grow("b", 5)
		kept := 0
		for _, n := range []int{0, 2000, 2700, 3000} {
			l, b := openBook(t, t.TempDir())
			extension := strings.Repeat(pad, n/len(pad)) + "x\n"
			found, err := b.Look(t.Context(), root.peer, says(200, first.stateWith(t, extension)))
			if errors.Is(err, ErrNotShown) && b.Of(root.peer.URI) == (Log{}) {
				l.Close()
				continue
			}
			if kept++; found != Seen || err != nil || b.Of(root.peer.URI).Checkpoint != first.stateWith(t, extension) {
				t.Fatalf("%d times %q: %q %v, and %q is kept", n, pad, found, err, b.Of(root.peer.URI).Checkpoint)
			}
			// The evidence is two such states and what came as a proof.
			if found, err := b.Look(t.Context(), root.peer, says(200, "old 5\n\n"+other.stateWith(t, extension))); found != Fork || err != nil {
				t.Errorf("%d times %q: another history is %q %v", n, pad, found, err)
			}
			l.Close()
		}
		if kept != 3 {
			t.Errorf("%d states padded with %q are kept, want 3 of 4", kept, pad)
		}
	}
}

// Evidence that is too long for a record ends as a digest, and soon.
func TestLongEvidence(t *testing.T) {
	name := strings.Repeat("\x01", 400)
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	l, b := openBook(t, t.TempDir())
	defer l.Close()
	bad := name + "\n" + strings.Repeat("\x02", 2500) + "\n\n\u2014 x y\n"
	if found, err := b.Look(t.Context(), peerWith(vkey), says(200, bad)); found != BadSignature || err != nil || !b.Of("https://peer.example").Bad() {
		t.Errorf("%q %v", found, err)
	}
	if _, err := b.Look(t.Context(), peerWith(strings.Repeat("<", maxVKey)+skey), says(200, bad)); !errors.Is(err, ErrNotShown) {
		t.Errorf("a long key: %v", err)
	}
}

// A peer that has begun a new log is not judged by the key that its manifest named
// before.
func TestNewLogIsNoForgery(t *testing.T) {
	l, b := openBook(t, t.TempDir())
	defer l.Close()
	old, fresh := newLog(t).grow("a", 9), newLog(t).grow("b", 2)
	if _, err := b.Look(t.Context(), old.peer, old.get(t)); err != nil {
		t.Fatal(err)
	}
	late := old.peer
	for name, renew := range map[string]func(context.Context) (string, error){
		"the manifest names it now":     fresh.peer.Renew,
		"the manifest is not to be had": func(context.Context) (string, error) { return "", errors.New("no") },
	} {
		late.Renew = renew
		for _, status := range []int{200, http.StatusConflict} {
			body := fresh.state(t)
			if status == 200 {
				body = "old 9\n\n" + body
			}
			if found, err := b.Look(t.Context(), late, says(status, body)); found != "" || !errors.Is(err, ErrNotShown) {
				t.Errorf("%s, %d: %q %v", name, status, found, err)
			}
		}
	}
	if found, err := b.Look(t.Context(), fresh.peer, fresh.get(t)); found != NewKey || err != nil {
		t.Errorf("with its key: %q %v", found, err)
	}
}

// Records that come late change neither a verdict nor a later state.
func TestLateRecord(t *testing.T) {
	l, b := openBook(t, t.TempDir())
	defer l.Close()
	first := newLog(t).grow("a", 5)
	longer, forked := first.grow("b", 300), first.grow("c", 400)
	seen := func(log *logOf, reason string) {
		t.Helper()
		n := shown{VKey: log.peer.VKey, Checkpoint: log.state(t)}
		if err := b.record(log.peer, reason, n); err != nil {
			t.Fatal(err)
		}
	}
	seen(longer, Seen)
	seen(first, Seen)
	if got := b.Of(first.peer.URI).State().Size; got != 305 {
		t.Errorf("the last state has %d records, 305 were seen", got)
	}
	seen(forked, Fork)
	evidence := b.Of(first.peer.URI)
	seen(longer, Seen)
	seen(newLog(t).grow("d", 500), NewKey)
	seen(forked, SetBack)
	if got := b.Of(first.peer.URI); got != evidence || !got.Bad() {
		t.Errorf("the verdict is %+v, was %+v", got, evidence)
	}
}

// One look at a log is under way at a time; another one waits, until its own end.
func TestOneLookAtATime(t *testing.T) {
	l, b := openBook(t, t.TempDir())
	defer l.Close()
	log := newLog(t).grow("a", 5)
	asked, on, done := make(chan bool), make(chan bool), make(chan error)
	go func() {
		_, err := b.Look(t.Context(), log.peer, func(ctx context.Context, path string) (int, []byte, error) {
			asked <- true
			<-on
			return log.get(t)(ctx, path)
		})
		done <- err
	}()
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Look(ctx, log.peer, log.get(t)); !errors.Is(err, ErrNotShown) {
		t.Errorf("a second look does not wait: %v", err)
	}
	other := newLog(t).grow("a", 5)
	other.peer.URI = "https://other.example"
	if found, err := b.Look(t.Context(), other.peer, other.get(t)); found != Seen || err != nil {
		t.Errorf("a look at another peer waits: %q %v", found, err)
	}
	second := make(chan string)
	go func() {
		found, _ := b.Look(t.Context(), log.peer, log.grow("b", 9).get(t))
		second <- found
	}()
	on <- true
	if err := <-done; err != nil {
		t.Error(err)
	}
	if found := <-second; found != Seen || b.Of(log.peer.URI).State().Size != 14 || len(b.looking) != 0 {
		t.Errorf("the second look finds %q: %+v", found, b.Of(log.peer.URI))
	}
}

// FuzzLook: no answer of a peer makes a state good that its key has not signed.
func FuzzLook(f *testing.F) {
	l, b := openBook(f, f.TempDir())
	defer l.Close()
	first := newLog(f).grow("a", 5)
	longer := first.grow("b", 3)
	if _, err := b.Look(context.Background(), first.peer, first.get(f)); err != nil {
		f.Fatal(err)
	}
	f.Add(200, []byte("old 5\n\n"+longer.state(f)))
	f.Add(http.StatusConflict, []byte(first.state(f)))
	f.Add(200, []byte("old 5\n\npeer/iatp\n9\nx\n\n\u2014 peer/iatp x\n"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		found, _ := b.Look(context.Background(), first.peer, says(status, string(body)))
		have := b.Of(first.peer.URI)
		if c := have.State(); c == nil || c.Size != 5 && found != Seen {
			t.Fatalf("%q: %+v", found, have)
		}
		_, rest, _ := strings.Cut(string(body), "\n\n")
		_, whole := flight.ParseCheckpoint(body, first.peer.VKey)
		_, inside := flight.ParseCheckpoint([]byte(rest), first.peer.VKey)
		if (found == Fork || found == SetBack) && whole != nil && inside != nil {
			t.Fatalf("%q without a signed state", found)
		}
		if found != "" { // begin again
			if _, err := l.Append(&flight.Entry{Type: flight.Key, Peer: first.peer.URI, Reason: "forgotten"}, flight.Written); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Look(context.Background(), first.peer, first.get(t)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
