package sidecar_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// BenchmarkTransaction is a call between two sidecars to an agent that undoes, and to
// one that does not: what differs is sealing the original, and one more wait for the
// disk.
func BenchmarkTransaction(b *testing.B) {
	for _, level := range []string{"none", "full"} {
		b.Run(level, func(b *testing.B) {
			na, _ := iatptest.Pair(b, func(oa, ob *iatptest.Options) {
				ob.Manifest = fmt.Sprintf(`{"identity":{"agent_id":"b"},"trust_level":"verified_partner","reversibility":{"level":%q,"undo_window_seconds":3600},"privacy":{"retention_policy":"temporary"}}`, level)
				for _, o := range []*iatptest.Options{oa, ob} {
					configure := o.Config
					o.Config = func(c *sidecar.Config) {
						configure(c)
						c.Compensation.URL = "/cancel/{transaction_id}"
						c.Limits.PerPeer = sidecar.PerPeer{Rate: sidecar.Rate{N: 1000000, Per: time.Second}, Burst: 1000000}
					}
				}
			})
			for b.Loop() {
				if r := na.Do(b, "POST", "/proxy/b", strings.NewReader(bookIt), nil); r.Status != http.StatusOK {
					b.Fatalf("%d %s", r.Status, r.Body)
				}
			}
		})
	}
}

// BenchmarkUndo is one undo after the other, asked for by the saga of each call.
func BenchmarkUndo(b *testing.B) {
	agent := newBooker()
	na, _ := iatptest.Pair(b, func(oa, ob *iatptest.Options) {
		ob.Manifest, ob.Agent = undoer("b", `,"undo_window_seconds":3600`), agent
		for _, o := range []*iatptest.Options{oa, ob} {
			configure := o.Config
			o.Config = func(c *sidecar.Config) {
				configure(c)
				c.Compensation.URL = "/cancel/{transaction_id}"
				c.Limits.PerPeer = sidecar.PerPeer{Rate: sidecar.Rate{N: 1000000, Per: time.Second}, Burst: 1000000}
			}
		}
	})
	for b.Loop() {
		b.StopTimer()
		r := na.Do(b, "POST", "/sagas", nil, nil)
		id := r.Header.Get("Location")[len("/sagas/"):]
		na.Do(b, "POST", "/proxy/b", strings.NewReader(bookIt), map[string]string{"Iatp-Saga": id})
		b.StartTimer()
		if r := na.Do(b, "POST", "/sagas/"+id+"/cancel", strings.NewReader(`{}`), nil); r.Status != http.StatusOK {
			b.Fatalf("%d %s", r.Status, r.Body)
		}
	}
}

// BenchmarkManyTransactions starts a sidecar whose log has a million finished
// transactions, or as many as IATP_TRANSACTIONS says, and reports the time to start, the
// heap then, and the time to look one of them up. Run it with -benchtime=3x.
func BenchmarkManyTransactions(b *testing.B) {
	n := 1_000_000
	if text := os.Getenv("IATP_TRANSACTIONS"); text != "" {
		n, _ = strconv.Atoi(text)
	}
	dir := b.TempDir()
	ids := fillLog(b, dir, n)
	manyTransactions(b, dir, ids) // leaves snapshots, as a sidecar that wrote the log itself has them
	for b.Loop() {
		manyTransactions(b, dir, ids)
	}
}

// fillLog writes finished transactions and returns the ids of a few.
func fillLog(b *testing.B, dir string, n int) []string {
	b.Helper()
	log, err := flight.Open(dir, flight.Options{})
	if err != nil {
		b.Fatal(err)
	}
	window := int64(3600)
	var ids []string
	for i := range n {
		var label flight.Label
		rand.Read(label[:])
		tx := flight.Tx{Kind: flight.TxTask, At: flight.TxBegins, Label: label, By: label, State: "active", Level: "full", Window: &window}
		seq, err := log.Append(&flight.Entry{Type: flight.Request, TraceID: "t", Peer: "https://a.example", JKT: "k", Dir: flight.In, Payload: []byte(bookIt), Tx: &tx}, flight.Written)
		if err == nil {
			tx = flight.Tx{Kind: flight.TxTask, At: seq, Label: label, State: "committed", Until: time.Now().Add(time.Hour), Receipt: "rcpt_0123456789012345678901"}
			_, err = log.Append(&flight.Entry{Type: flight.Response, TraceID: "t", Peer: "https://a.example", JKT: "k", Dir: flight.In, Payload: []byte(`{"ok":true}`), Tx: &tx}, flight.Written)
		}
		if err != nil {
			b.Fatal(err)
		}
		if i%(max(n/100, 1)) == 0 {
			ids = append(ids, "tx_"+base64.RawURLEncoding.EncodeToString(append(binary.BigEndian.AppendUint64(nil, uint64(seq)), label[:]...)))
		}
	}
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
	return ids
}

func manyTransactions(b *testing.B, dir string, ids []string) {
	b.Helper()
	var before, after runtime.MemStats
	debug.FreeOSMemory()
	runtime.ReadMemStats(&before)
	p := iatptest.NewParty(b)
	began := time.Now()
	n := iatptest.Start(b, iatptest.Options{Data: dir, Log: discard{}, Manifest: undoer("b", `,"undo_window_seconds":3600`), Config: func(c *sidecar.Config) {
		p.Listen(c)
		c.Compensation.URL = "/cancel/{transaction_id}"
	}})
	started := time.Since(began)
	debug.FreeOSMemory()
	runtime.ReadMemStats(&after)
	operator := n.Operator(b)
	n.Get(b, "/transactions/"+ids[0], operator) // reads each index once
	began = time.Now()
	for _, id := range ids {
		if r := n.Get(b, "/transactions/"+id, operator); r.Status != http.StatusOK {
			b.Fatalf("%s: %d %s", id, r.Status, r.Body)
		}
	}
	b.ReportMetric(started.Seconds()*1000, "ms/start")
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/1e6, "MB-heap")
	b.ReportMetric(time.Since(began).Seconds()*1e6/float64(len(ids)), "µs/lookup")
	if err := n.Stop(); err != nil {
		b.Fatal(err)
	}
}

// discard is a log that nobody reads.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
