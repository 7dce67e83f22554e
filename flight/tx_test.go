package flight

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

func label(n byte) Label { return Label{1, 2, 3, 4, 5, 6, 7, n} }

// appendTx appends a record with a step and returns its seq.
func appendTx(t *testing.T, l *Log, payload string, tx Tx) int64 {
	t.Helper()
	seq, err := l.Append(&Entry{Type: Compensation, TraceID: "t", Payload: []byte(payload), Tx: &tx}, Durable)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// TestTxSurvivesTheLine writes every member of a step and reads it back.
func TestTxSurvivesTheLine(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	window := int64(0)
	want := Tx{
		Kind: TxCall, At: 7, Label: label(1), By: label(2), In: label(3), Saga: label(4), Pool: label(5), State: "committed", Who: "caller",
		ID: "tx_1", Key: l.Seal("key", "k"), Receipt: "rcpt_1", Level: "full", Method: "refund", Window: &window, Until: time.Unix(1794653602, 0),
		MaxFee: "50.00", Fee: "1", Returned: "2", Currency: "USD", Breach: true, Manual: true, Promise: true,
		Cost: "12.00 USD", Held: true,
		Sealed: Place{File: 3, At: 0, Size: 99}, Needs: []int64{3, 498514},
	}
	seq := appendTx(t, l, `{"a":"},\"tx\":{"}`, want)
	first := Tx{Kind: TxTask, At: TxBegins, Label: label(9)}
	begin := appendTx(t, l, `{}`, first)
	first.At = begin
	for _, c := range []struct {
		seq  int64
		want Tx
	}{{seq, want}, {begin, first}} {
		lines, err := l.Labelled(c.want.Label, 0)
		if err != nil || len(lines) != 1 || lines[0].Seq != c.seq {
			t.Fatalf("Labelled = %v, %v, want record %d", lines, err, c.seq)
		}
		got, ok, err := ReadTx(lines[0].Seq, lines[0].Text)
		if err != nil || !ok {
			t.Fatalf("ReadTx = %t, %v", ok, err)
		}
		canonical, err := ijson.AppendCanonical(nil, lines[0].Text, ijson.Limits{})
		if err != nil || string(canonical) != string(lines[0].Text) {
			t.Errorf("the line is not canonical: %v\n%s", err, lines[0].Text)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("step changed on its way (-want +got):\n%s", diff)
		}
	}
}

// TestLabelsAreFound looks for labels in the open segment, in sealed ones, after a
// restart and without the index files, under every member that makes a line findable.
func TestLabelsAreFound(t *testing.T) {
	dir := t.TempDir()
	o := Options{SegmentBytes: 8 << 10}
	l := mustOpen(t, dir, o)
	var want []int64
	for i := range 300 {
		tx := Tx{Kind: TxCall, At: TxBegins, State: "active"}
		mine := i%50 == 3
		set := []*Label{&tx.Label, &tx.By, &tx.In, &tx.Saga}[i/50%4]
		if *set = label(2); mine {
			*set = label(1)
		}
		seq := appendTx(t, l, fmt.Sprintf(`{"n":%d,"tx":{"label":"%s"}}`, i, label(1)), tx)
		if mine {
			want = append(want, seq)
		}
	}
	check := func(what string, from int64, want []int64) {
		t.Helper()
		lines, err := l.Labelled(label(1), from)
		var got []int64
		for _, one := range lines {
			got = append(got, one.Seq)
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: Labelled: %v (-want +got):\n%s", what, err, diff)
		}
	}
	check("running", 0, want)
	check("again, from the verified files", 0, want)
	check("from the third on", want[2], want[2:])
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(dir, ""); err != nil || !r.OK() {
		t.Errorf("Verify: %v, %+v", err, r)
	}
	l = mustOpen(t, dir, o)
	check("after a restart", 0, want)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	indexes, err := filepath.Glob(filepath.Join(dir, "log", "*.index"))
	if err != nil || len(indexes) < 3 {
		t.Fatalf("%d index files, %v", len(indexes), err)
	}
	damaged, err := os.ReadFile(indexes[0])
	if err != nil {
		t.Fatal(err)
	}
	damaged[40] ^= 1
	if err := os.WriteFile(indexes[0], damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, dir, o)
	check("with a damaged index", 0, want)
}

func TestSeal(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	other := mustOpen(t, t.TempDir(), Options{})
	sealed := l.Seal("key", "order-17")
	if strings.Contains(sealed, "order") || sealed == l.Seal("key", "order-17") {
		t.Errorf("Seal = %q: it tells what is in it", sealed)
	}
	if got, err := l.Unseal("key", sealed); got != "order-17" || err != nil {
		t.Errorf("Unseal = %q, %v", got, err)
	}
	if _, err := l.Unseal("another purpose", sealed); err == nil {
		t.Error("Unseal takes what was sealed for another purpose")
	}
	if _, err := other.Unseal("key", sealed); err == nil {
		t.Error("Unseal takes what another log sealed")
	}
}

// FuzzReadTx reads steps off lines that nobody wrote.
func FuzzReadTx(f *testing.F) {
	f.Add([]byte(`{"r":"","seq":3,"tx":{"at":1,"kind":"task","label":"AQIDBAUGBwE","state":"committed","window":0},"type":"compensation"}`))
	f.Add([]byte(`{"seq":1,"tx":{"file":1,"off":2,"size":3}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if s, ok, err := ReadTx(5, line); err == nil && ok && s.At == TxBegins && !strings.Contains(string(line), "-1") {
			t.Errorf("%q reads as a step without a position", line)
		}
	})
}
