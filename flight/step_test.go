package flight

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gowebpki/jcs"

	iatp "github.com/inter-agent-trust/iatp"
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

// plainSteps are the steps of a line by way of encoding/json: what the readers are
// compared with.
type plainSteps struct {
	Type  Type
	Claim *struct {
		Step             ClaimStep
		Key, Pool, Print Alias
		Until            *int64
		At, File, Size   *int64
	}
	Nonce *struct {
		Key, Pool Alias
		Until     *int64
	}
	Spend *struct {
		Step                 SpendStep
		Tree, Pool, ID, Peer Alias
		Amount, Limit, Cur   string
	}
	Tx *struct {
		At                        *int64
		Breach, Manual, Promise   bool
		By, In, Label, Saga, Pool Label
		Cur, Fee, Returned        string
		MaxFee                    string `json:"max_fee"`
		File, Off, Size           *int64
		ID, Key, Receipt          string
		Kind                      TxKind
		Level, Method, State, Who string
		Until, Window             *int64
	}
}

func (p *plainSteps) entry(seq int64) *Entry {
	second := func(n *int64) time.Time {
		if n == nil {
			return time.Time{}
		}
		return time.Unix(*n, 0)
	}
	where := func(at, file, size *int64) Place {
		if at == nil || file == nil || size == nil {
			return Place{}
		}
		return Place{File: *file, At: *at, Size: *size}
	}
	e := &Entry{Type: p.Type}
	if c := p.Claim; c != nil {
		e.Claim = &Claim{Step: c.Step, Key: c.Key, Pool: c.Pool, Print: c.Print, Until: second(c.Until), Answer: where(c.At, c.File, c.Size)}
	}
	if n := p.Nonce; n != nil {
		e.Nonce = &Nonce{Key: n.Key, Pool: n.Pool, Until: second(n.Until)}
	}
	if s := p.Spend; s != nil {
		e.Spend = &Spend{Step: s.Step, Tree: s.Tree, Pool: s.Pool, ID: s.ID, Peer: s.Peer, Amount: s.Amount, Limit: s.Limit, Currency: s.Cur}
	}
	if s := p.Tx; s != nil {
		e.Tx = &Tx{
			Kind: s.Kind, At: seq, Label: s.Label, By: s.By, In: s.In, Saga: s.Saga, Pool: s.Pool, State: s.State, Who: s.Who,
			ID: s.ID, Key: s.Key, Receipt: s.Receipt, Level: s.Level, Method: s.Method, Window: s.Window, Until: second(s.Until),
			MaxFee: s.MaxFee, Fee: s.Fee, Returned: s.Returned, Currency: s.Cur,
			Breach: s.Breach, Manual: s.Manual, Promise: s.Promise, Sealed: where(s.Off, s.File, s.Size),
		}
		if s.At != nil {
			e.Tx.At = *s.At
		}
	}
	return e
}

// readSteps is what the readers find on a line, and their first error.
func readSteps(seq int64, line []byte) (*Entry, error) {
	e := new(Entry)
	for _, t := range []Type{Request, Forward, Recovery, Response, Error, Blocked, Warning, Quarantine, UserOverride, Agreement, Compensation, Facts, Reputation, Key, CheckpointSeen} {
		if IsOf(line, t) {
			e.Type = t
		}
	}
	claim, ok, err := ReadClaim(line)
	if ok {
		e.Claim = &claim
	}
	nonce, ok, bad := ReadNonce(line)
	if err = errors.Join(err, bad); ok {
		e.Nonce = &nonce
	}
	spend, ok, bad := ReadSpend(line)
	if err = errors.Join(err, bad); ok {
		e.Spend = &spend
	}
	tx, ok, bad := ReadTx(seq, line)
	if err = errors.Join(err, bad); ok {
		e.Tx = &tx
	}
	return e, err
}

// FuzzReadSteps writes steps whose texts are anything, and reads them as encoding/json
// does. Whatever else a line is, the readers return.
func FuzzReadSteps(f *testing.F) {
	f.Add("done", "4.20", int64(77), uint8(0xff), []byte(`{"nonce":{"key":"x"},"seq":7,"spend":{"step":"spent"},"type":"key"}`), []byte("{}"))
	f.Add("\"}\\", "\u2028\x00\xff{", int64(-1), uint8(0x0f), []byte(`]}"`), []byte(`{"claim":{"at":01},"nonce":{"key":"x"},"seq":1,"tx":{}}`))
	f.Add("", "", int64(1)<<60, uint8(0), []byte(nil), []byte(`{"claim":{"a`))
	f.Fuzz(func(t *testing.T, one, two string, n int64, with uint8, payload, raw []byte) {
		if e, err := readSteps(5, raw); err != nil && !strings.HasPrefix(err.Error(), "flight: ") || e == nil {
			t.Errorf("error %q does not say where it comes from", err)
		}
		ReadTrace(raw)
		ReadTime(raw)
		all := []Type{Request, Quarantine, Key, CheckpointSeen, Forward, Agreement, Error}
		e := &Entry{Type: all[int(with)%len(all)], TraceID: "t", Note: one, Reason: two, AgentID: iatp.AgentID(two), Payload: payload, Findings: []Count{{Kind: iatp.DataClass(one), At: []string{two}}}}
		a, l := Alias{byte(n), 1}, Label{byte(n), 2}
		at := Place{File: n, At: n >> 8, Size: 1}
		if with&1 != 0 {
			e.Claim = &Claim{Step: ClaimStep(one), Key: a, Print: a, Until: time.Unix(n, 0), Answer: at}
		}
		if with&2 != 0 {
			e.Nonce = &Nonce{Key: a, Pool: a, Until: time.Unix(n, 0)}
		}
		if with&4 != 0 {
			e.Spend = &Spend{Step: SpendStep(two), Tree: a, ID: a, Amount: one, Limit: two, Currency: one}
		}
		if with&8 != 0 {
			e.Tx = &Tx{Kind: TxKind(one), At: n, Label: l, By: l, Saga: l, State: two, Who: one, ID: two, Key: one, Receipt: two, Level: one, Method: two, Window: &n, Until: time.Unix(n, 0), MaxFee: one, Fee: two, Currency: one, Breach: with&16 != 0, Promise: with&32 != 0, Sealed: at}
		}
		var c encoder
		if err := c.encode(e, new(storeKey), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		line := c.appendLine(nil, 5)
		var plain plainSteps
		if err := json.Unmarshal(line, &plain); err != nil {
			t.Fatal(err)
		}
		got, err := readSteps(5, line)
		if diff := cmp.Diff(plain.entry(5), got, cmp.AllowUnexported(Entry{}, recoveryNote{})); diff != "" || err != nil {
			t.Errorf("%v, of %s\n-encoding/json +readers:\n%s", err, line, diff)
		}
	})
}

// TestReadStepsIsStrict gives the readers what this package would not write.
func TestReadStepsIsStrict(t *testing.T) {
	for _, bad := range []string{
		`{"claim":{"step":"held","key":"AQAAAAAAAAAAAAAAAAAAAA"}}`, `{"claim":{"step":"held","step":"held"}}`, `{"claim":{"more":1}}`,
		`{"claim":{"at":1.5}}`, `{"claim":{"at":1e3}}`, `{"claim":{"at":01}}`, `{"claim":{"at":"1"}}`, `{"claim":{"at":+1}}`, `{"claim":{"at":}}`, `{"claim":{"key":"x"}}`, `{"claim":{"key":1}}`,
		`{"claim":{"step":held}}`, `{"claim":{"step":"he` + "\x01" + `ld"}}`, `{"claim":{"step":null}}`, `{"claim":{"step":"held"`, `{"claim":{"step":"held" "until":1}}`, `{"claim":{"step"}}`, `{"claim":[`, ``, `[]`, `x`,
	} {
		if c, ok, err := ReadClaim([]byte(bad)); err == nil {
			t.Errorf("%s reads as %+v, %v", bad, c, ok)
		}
	}
	for _, none := range []string{`{}`, `{"bytes":1}`, `{"claim":1}`, `{"commit":{"claim":{}}}`, `{"zzz":{},"claim":{}}`} {
		if c, ok, err := ReadClaim([]byte(none)); ok || err != nil {
			t.Errorf("%s reads as %+v, %v", none, c, err)
		}
	}
	for _, line := range []string{``, `"type":"key"}`, `{"type":"keys"}`, `{"type":"key" }`, `{"a":{"type":"key"}}`, `{"note":"type\":\"key"}`} {
		if IsOf([]byte(line), Key) {
			t.Errorf("%s is taken for the record of a key", line)
		}
	}
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
