package handshake

import (
	"encoding/json"
	"iter"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// History tells which key was in force when, and what became of it.
func TestHistory(t *testing.T) {
	const uri = "https://peer.example"
	dir := t.TempDir()
	l, err := flight.Open(dir, flight.Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	write := func(peer, event string, own iatp.PrivateKey, revoked ...iatp.PrivateKey) {
		t.Helper()
		at = at.Add(time.Hour)
		e := &flight.Entry{Type: flight.Key, Peer: peer, Reason: event, Time: at}
		if event != eventForgotten && event != eventKeyChanged {
			a := acquaintance{Version: memoryVersion, Key: own.Public().String(), Chain: []string{own.Thumbprint()}, UpdatedAt: at, Digest: "d"}
			for _, r := range revoked {
				a.Revoked = append(a.Revoked, r.Thumbprint())
			}
			e.Payload, _ = json.Marshal(a)
		}
		if _, err := l.Append(e, flight.Written); err != nil {
			t.Fatal(err)
		}
	}
	first, second, third := key('a'), key('b'), key('c')
	write(uri, eventFirstSeen, first) // 01:00, record 0
	write(uri, eventUpdated, first)   // 02:00
	write("https://else.example", eventFirstSeen, third)
	write(uri, eventRotated, second)        // 04:00, record 3
	write(uri, eventKeyChanged, third)      // 05:00: suspicious, and believed by nobody
	write(uri, eventUpdated, second, first) // 06:00
	write(uri, eventForgotten, second)      // 07:00
	write(uri, eventFirstSeen, third)       // 08:00, record 7
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := flight.OpenArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := History(a.Lines(0), uri)
	if err != nil || len(keys) != 3 {
		t.Fatalf("%+v, %v; want three keys", keys, err)
	}
	hour := func(h int) time.Time { return time.Date(2026, 11, 1, h, 0, 0, 0, time.UTC) }
	for i, want := range []PastKey{
		{first.Public(), hour(1), hour(4), eventFirstSeen, 0, hour(6), hour(7)},
		{second.Public(), hour(4), hour(8), eventRotated, 3, time.Time{}, hour(7)},
		{third.Public(), hour(8), time.Time{}, eventFirstSeen, 7, time.Time{}, time.Time{}},
	} {
		if keys[i] != want {
			t.Errorf("key %d: %+v, want %+v", i, keys[i], want)
		}
	}
	if keys, err := History(a.Lines(0), "https://nobody.example"); err != nil || len(keys) != 0 {
		t.Errorf("nobody: %v %v", keys, err)
	}
	var broken iter.Seq2[flight.Record, error] = func(yield func(flight.Record, error) bool) { yield(flight.Record{}, flight.ErrClosed) }
	if _, err := History(broken, uri); err == nil {
		t.Error("an error of the log is not passed on")
	}
}
