package bundle_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/internal/bundle"
)

// A caller who writes what he likes into his own log, with a genuine receipt of the
// callee: it is proof of the request that it is about, and of no other.
func TestReceiptOfAnotherCall(t *testing.T) {
	const mine, other = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
	this, that := iatp.DigestOf([]byte("this request")), iatp.DigestOf([]byte("another request"))
	for _, test := range []struct {
		name   string
		trace  iatp.TraceID // of the records
		base   iatp.Digest  // of the receipt
		stated iatp.TraceID // by the receipt
		key    string       // alias of the caller's key
		before bool         // the other request was sent before, with that key
		valid  bool
		says   string
	}{
		{"of this call", mine, this, mine, "", false, true, "ok it is about the request of record 1:"},
		{"the trace in its other spelling", mine, this, "11111111111141118111111111111111", "", false, true, "ok it is about the request of record 1:"},
		{"of another call", mine, that, other, "", false, false, "failed the receipt is about another call"},
		{"of another call in this trace", mine, that, mine, "", false, false, "failed the receipt is about another call"},
		{"of another call with another key", mine, that, other, "", true, false, "failed the receipt is about another call"},
		{"that names another trace", mine, this, other, "", false, false, "failed the receipt names another trace: " + other},
		{"of a trace that cannot be named to others", "own-word", this, other, "", false, true, "remark the receipt names another trace: " + other},
		{"of the call that this one repeats", mine, that, other, "key a", true, true, "ok it is about the request of record 0, an earlier one"},
		{"of a call that is not in the log any more", mine, that, other, "key a", false, true, "remark nothing ties this receipt to the records"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir, pa, pb := t.TempDir(), iatptest.NewParty(t), iatptest.NewParty(t)
			jws, err := (&iatp.Receipt{Iss: pb.URL, Aud: pa.URL, Iat: 1794650000, JTI: "r1", TraceID: test.stated,
				Req: iatp.Requested{Base: test.base, Key: "k"},
				Res: iatp.Responded{Status: 200, Digest: iatp.DigestOf([]byte("paid"))}, Outcome: iatp.OutcomeExecuted}).Sign(pb.Key)
			if err != nil {
				t.Fatal(err)
			}
			lines := []*flight.Entry{
				{Type: flight.Request, TraceID: test.trace, Dir: flight.Out, Peer: pb.URL, Decision: "allow"},
				{Type: flight.Forward, TraceID: test.trace, Dir: flight.Out, Peer: pb.URL, Base: this, Note: test.key},
				{Type: flight.Response, TraceID: test.trace, Dir: flight.Out, Peer: pb.URL, StatusCode: 200, Outcome: flight.OutcomeExecuted, Receipt: jws},
			}
			if test.before {
				lines = append([]*flight.Entry{{Type: flight.Forward, TraceID: other, Dir: flight.Out, Peer: pb.URL, Base: that, Note: "key a"}}, lines...)
			}
			writeLog(t, dir, lines)
			r := verify(buildFrom(t, dir, test.trace, bundle.Options{}), known(t, dir, pa, pb))
			if r.Valid != test.valid || !strings.Contains(texts(r), test.says) || r.TraceID != test.trace {
				t.Errorf("valid %t, want %t, with %q:\n%s", r.Valid, test.valid, test.says, texts(r))
			}
			if test.base == that && !test.before && strings.Contains(texts(r), "ok it is about") {
				t.Errorf("it is said to be about a request of the bundle:\n%s", texts(r))
			}
		})
	}
}

// writeLog writes a log that stays open until the test ends, so that it signs.
func writeLog(t testing.TB, dir string, lines []*flight.Entry) {
	t.Helper()
	log, err := flight.Open(dir, flight.Options{Origin: "a.example/iatp"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	for _, e := range lines {
		if _, err := log.Append(e, flight.Durable); err != nil {
			t.Fatal(err)
		}
	}
}

// known are the keys of parties and of a log, as from their owners.
func known(t testing.TB, dir string, parties ...*iatptest.Party) *bundle.Keys {
	t.Helper()
	vkey, err := os.ReadFile(filepath.Join(dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	text := "log " + string(vkey)
	for _, p := range parties {
		text += fmt.Sprintf("\nagent %s %s", p.URL, p.Key.Public())
	}
	keys, err := bundle.ParseKeys([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// A repetition under another trace is answered with the receipt of the first call:
// either side's bundle has the record of that request, and nothing else of it.
func TestBundleOfARepetition(t *testing.T) {
	p := call(t)
	ask := func() iatp.TraceID {
		r := p.a.Do(t, "POST", "/proxy/b", strings.NewReader(`{"task":"once"}`), map[string]string{"Idempotency-Key": "once"})
		if r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		return iatp.TraceID(r.Header.Get("X-Agent-Trace-Id"))
	}
	first, second := ask(), ask()
	for name, n := range map[string]*iatptest.Node{"caller": p.a, "callee": p.b} {
		keys := p.trust(t, n)
		data := build(t, n, second, bundle.Options{Requests: true})
		r := verify(data, keys)
		if !r.Valid || r.TraceID != second || strings.Contains(texts(r), string(bundle.Remark)+" ") ||
			!strings.Contains(texts(r), "an earlier one with the same idempotency key") {
			t.Errorf("%s: trace %s, want %s\n%s", name, r.TraceID, second, texts(r))
		}
		records := 0
		for file, text := range unpack(t, data) {
			if strings.HasPrefix(file, "records/") && strings.Contains(text, string(first)) {
				records++
			}
		}
		if records != 1 {
			t.Errorf("%s: %d records of the first call, want that of its request", name, records)
		}
	}
}

// A request of another trace that no receipt is about does not belong into a bundle.
func TestRequestOfAnotherTraceInABundle(t *testing.T) {
	dir, p := t.TempDir(), iatptest.NewParty(t)
	var lines []*flight.Entry
	for _, trace := range []iatp.TraceID{"theirs", "mine"} {
		lines = append(lines, &flight.Entry{Type: flight.Request, TraceID: trace, Dir: flight.Out, Peer: p.URL, Decision: "allow"},
			&flight.Entry{Type: flight.Forward, TraceID: trace, Dir: flight.Out, Peer: p.URL, Base: iatp.DigestOf([]byte(trace)), Note: "key a"})
	}
	writeLog(t, dir, lines)
	files := unpack(t, buildFrom(t, dir, "mine", bundle.Options{}))
	if r := verify(repack(files, "", ""), known(t, dir)); !r.Valid {
		t.Fatal(texts(r))
	}
	for name, text := range unpack(t, buildFrom(t, dir, "theirs", bundle.Options{})) {
		if strings.Contains(name, "00001.") { // its request, with its proof
			files[name] = text
		}
	}
	r := verify(repack(files, "", ""), known(t, dir))
	if r.Valid || r.TraceID != "mine" || !strings.Contains(texts(r), "failed record 1 is of another trace, and no receipt is about it") {
		t.Errorf("trace %s\n%s", r.TraceID, texts(r))
	}
}
