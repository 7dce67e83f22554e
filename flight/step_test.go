package flight

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gowebpki/jcs"
)

// steps is an entry that carries one of each.
func steps() *Entry {
	until := time.Unix(1794650060, 0)
	return &Entry{
		Type: Request, TraceID: "abc-123", Time: time.Date(2026, 1, 23, 12, 34, 56, 0, time.UTC),
		Payload: []byte(`{"claim":{"step":"freed"},"nonce":{"key":"x"},"seq":7,"spend":{"step":"spent"},"timestamp":"2020","trace_id":"evil"}`),
		Claim:   &Claim{Step: ClaimDone, Key: Alias{1}, Pool: Alias{2}, Print: Alias{3}, Until: until, Answer: Place{File: 498514, At: 0, Size: 77}},
		Nonce:   &Nonce{Key: Alias{4}, Pool: Alias{5}, Until: until},
		Spend:   &Spend{Step: SpendReserved, Tree: Alias{6}, Pool: Alias{7}, ID: Alias{8}, Peer: Alias{9}, Amount: "4.20", Limit: "5.00", Currency: "USD"},
	}
}

// readAll returns what the readers find on a line.
func readAll(t *testing.T, line []byte) *Entry {
	t.Helper()
	e := &Entry{TraceID: ReadTrace(line), Time: ReadTime(line)}
	claim, ok, err := ReadClaim(line)
	if err != nil {
		t.Fatal(err)
	} else if ok {
		e.Claim = &claim
	}
	nonce, ok, err := ReadNonce(line)
	if err != nil {
		t.Fatal(err)
	} else if ok {
		e.Nonce = &nonce
	}
	spend, ok, err := ReadSpend(line)
	if err != nil {
		t.Fatal(err)
	} else if ok {
		e.Spend = &spend
	}
	return e
}

func TestStepsComeBack(t *testing.T) {
	huge := hugeEntry()
	huge.Claim = &Claim{
		Step: ClaimStep(huge.Note), Key: Alias{1}, Pool: Alias{2}, Print: Alias{3}, Until: time.Unix(1<<52, 0),
		Answer: Place{File: math.MaxInt32, At: 1 << 52, Size: 1 << 52},
	}
	huge.Nonce = &Nonce{Key: Alias{4}, Pool: Alias{5}, Until: time.Unix(1<<52, 0)}
	huge.Spend = &Spend{Step: SpendStep(huge.Note), Tree: Alias{1}, Pool: Alias{2}, ID: Alias{3}, Peer: Alias{4}, Amount: huge.Note, Limit: huge.Note, Currency: huge.Note}
	bare := steps()
	bare.Claim, bare.Nonce, bare.Spend = nil, nil, nil
	entries := []*Entry{
		steps(), bare, huge,
		{Type: Request, TraceID: "t", Claim: &Claim{Step: ClaimHeld}},
		{Type: Request, Text: []byte(`{"claim":{"step":"held"}} ,"seq":1,"spend":{}`)},
	}
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	for _, e := range entries {
		mustAppend(t, l, e, Written)
	}
	mustClose(t, l)
	all := lines(t, dir)
	for i, line := range all {
		want, err := jcs.Transform(line)
		if err != nil || string(want) != string(line) || len(line) > MaxLine {
			t.Errorf("line %d of %d bytes, %v, is not in its RFC 8785 form:\n%s", i, len(line), err, line)
		}
	}
	for _, i := range []int{0, 1, 3} {
		want := &Entry{TraceID: entries[i].TraceID, Time: ReadTime(all[i]), Claim: entries[i].Claim, Nonce: entries[i].Nonce, Spend: entries[i].Spend}
		if diff := cmp.Diff(want, readAll(t, all[i]), cmp.AllowUnexported(Entry{}, recoveryNote{})); diff != "" {
			t.Errorf("line %d (-want +got):\n%s", i, diff)
		}
	}
	if got := ReadTime(all[0]); !got.Equal(entries[0].Time) {
		t.Errorf("ReadTime = %v, want %v", got, entries[0].Time)
	}
	if got := readAll(t, all[4]); got.Claim != nil || got.Spend != nil || got.TraceID != "" {
		t.Errorf("a text looks like steps: %+v", got)
	}
	var line map[string]any
	if err := json.Unmarshal(all[0], &line); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"step": "done", "key": "AQAAAAAAAAAAAAAAAAAAAA", "pool": "AgAAAAAAAAAAAAAAAAAAAA", "print": "AwAAAAAAAAAAAAAAAAAAAA",
		"until": 1794650060.0, "file": 498514.0, "at": 0.0, "size": 77.0,
	}
	if diff := cmp.Diff(want, line["claim"]); diff != "" {
		t.Errorf("claim on the line (-want +got):\n%s", diff)
	}
}

// FuzzReadSteps: whatever the line is, the readers return. What they find on
// lines of the log is the business of TestStepsComeBack.
func FuzzReadSteps(f *testing.F) {
	dir := f.TempDir()
	l := mustOpen(f, dir, Options{})
	mustAppend(f, l, steps(), Written)
	mustClose(f, l)
	f.Add(lines(f, dir)[0])
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, read := range []func() error{
			func() error { _, _, err := ReadClaim(line); return err },
			func() error { _, _, err := ReadNonce(line); return err },
			func() error { _, _, err := ReadSpend(line); return err },
		} {
			if err := read(); err != nil && !strings.HasPrefix(err.Error(), "flight: ") {
				t.Errorf("error %q does not say where it comes from", err)
			}
		}
		ReadTrace(line)
		ReadTime(line)
	})
}

func TestAlias(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	seen := map[Alias][]string{}
	for _, list := range [][]string{{"a"}, {"b"}, {"a", ""}, {"a", "x"}, {"a", "x", ""}, {"a", "", "x"}, {"ax"}, {"", "ax"}} {
		a := l.Alias(list[0], list[1:]...)
		if other, ok := seen[a]; ok {
			t.Errorf("Alias(%q) = Alias(%q)", list, other)
		}
		seen[a] = list
		var back Alias
		if err := back.UnmarshalText([]byte(a.String())); err != nil || back != a {
			t.Errorf("alias %v reads as %v, %v", a, back, err)
		}
	}
	a := l.Alias("a", "x")
	mustClose(t, l)
	if got := mustOpen(t, dir, Options{}).Alias("a", "x"); got != a {
		t.Errorf("after a restart the alias is %v, it was %v", got, a)
	}
	if got := mustOpen(t, t.TempDir(), Options{}).Alias("a", "x"); got == a {
		t.Error("two data directories share an alias")
	}
	for _, bad := range []string{"", "AQAAAAAAAAAAAAAAAAAAA", "AQAAAAAAAAAAAAAAAAAAAB", "AQAAAAAAAAAAAAAAAAAA\nA", "AQAAAAAAAAAAAAAAAAAAAA=="} {
		if err := new(Alias).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q reads as an alias", bad)
		}
	}
}
