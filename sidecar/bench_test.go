package sidecar_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// oneKB is a request of 1 KB with nothing sensitive in it.
var oneKB = fmt.Sprintf(`{"task":"book","data":{"destination":"NYC","nights":3,"note":"%s"}}`, strings.Repeat("a quiet room, please. ", 43))

// plainAgent answers 1 KB of JSON and remembers nothing.
func plainAgent(b *testing.B) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	answer := []byte(oneKB)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	})}
	go func() { _ = srv.Serve(ln) }()
	b.Cleanup(func() { srv.Close() })
	return "http://" + ln.Addr().String()
}

// hammer posts to url from 64 connections until b is done.
func hammer(b *testing.B, url, body string, want int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	defer client.CloseIdleConnections()
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := client.Post(url+"/proxy", "application/json", strings.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != want {
				b.Errorf("status %d, want %d", resp.StatusCode, want)
				return
			}
		}
	})
	b.StopTimer()
}

func benchNode(b *testing.B, manifest string, change func(*sidecar.Config)) *iatptest.Node {
	return iatptest.Start(b, iatptest.Options{Manifest: manifest, AgentURL: plainAgent(b), Config: change, Log: io.Discard})
}

// The same client, agent and machine for each of these: their ratios mean
// something, their nanoseconds include the client and the agent.
func BenchmarkExchange(b *testing.B) {
	b.Run("direct", func(b *testing.B) { hammer(b, plainAgent(b), oneKB, 200) })
	b.Run("reverseproxy", func(b *testing.B) { hammer(b, bareProxy(b, plainAgent(b)), oneKB, 200) })
	b.Run("written", func(b *testing.B) { hammer(b, benchNode(b, iatptest.Friend, nil).URL, oneKB, 200) })
	b.Run("durable", func(b *testing.B) {
		hammer(b, benchNode(b, iatptest.Friend, func(c *sidecar.Config) { c.Durability = sidecar.DurabilityStrict }).URL, oneKB, 200)
	})
	b.Run("ephemeral", func(b *testing.B) { hammer(b, benchNode(b, iatptest.Bank, nil).URL, oneKB, 200) })
	b.Run("blocked", func(b *testing.B) { hammer(b, benchNode(b, iatptest.Honeypot, nil).URL, bookCard, 403) })
	b.Run("asked", func(b *testing.B) { hammer(b, benchNode(b, iatptest.Honeypot, nil).URL, oneKB, 449) })
}

// bareProxy is httputil.ReverseProxy, which checks and records nothing.
func bareProxy(b *testing.B, agent string) string {
	target, err := url.Parse(agent)
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true},
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	srv := &http.Server{Handler: proxy}
	go func() { _ = srv.Serve(ln) }()
	b.Cleanup(func() { srv.Close() })
	return "http://" + ln.Addr().String()
}

// BenchmarkMemory prints the resident memory before and after b.N exchanges;
// -benchtime 1000000x gives the figure of doc/performance.md.
func BenchmarkMemory(b *testing.B) {
	n := benchNode(b, iatptest.Friend, nil)
	hammerN := func(count int) {
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
		defer client.CloseIdleConnections()
		work := make(chan struct{})
		done := make(chan struct{})
		for range 64 {
			go func() {
				defer func() { done <- struct{}{} }()
				for range work {
					resp, err := client.Post(n.URL+"/proxy", "application/json", strings.NewReader(oneKB))
					if err != nil {
						b.Error(err)
						continue
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}()
		}
		for range count {
			work <- struct{}{}
		}
		close(work)
		for range 64 {
			<-done
		}
	}
	hammerN(20_000) // warm up
	before := residentMiB(b)
	b.ResetTimer()
	hammerN(b.N)
	b.StopTimer()
	after := residentMiB(b)
	b.ReportMetric(before, "MiB-before")
	b.ReportMetric(after, "MiB-after")
}

// residentMiB is the resident set of this process after a collection.
func residentMiB(b *testing.B) float64 {
	runtime.GC()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("needs /proc")
	}
	var size, resident int64
	if _, err := fmt.Fscan(bytes.NewReader(data), &size, &resident); err != nil {
		b.Fatal(err)
	}
	return float64(resident) * float64(os.Getpagesize()) / (1 << 20)
}

// BenchmarkSignedHop is a call through two sidecars, signed, proven and recorded on
// both sides, beside the same call through two sidecars that know nothing of each
// other and have every record on disk too. cpu-µs is processor time of this process,
// client and agent included: the difference is what the signed hop costs.
func BenchmarkSignedHop(b *testing.B) {
	b.Run("two full hops", func(b *testing.B) {
		strict := func(c *sidecar.Config) { c.Durability = sidecar.DurabilityStrict }
		second := benchNode(b, iatptest.Friend, strict)
		first := iatptest.Start(b, iatptest.Options{Manifest: iatptest.Friend, AgentURL: second.URL + "/proxy", Config: strict, Log: io.Discard})
		processor(b, func() { hammer(b, first.URL, oneKB, 200) })
	})
	for name, agreement := range map[string]string{"signed": "", "signed, under an agreement": "require"} {
		b.Run(name, func(b *testing.B) {
			a, _ := iatptest.Pair(b, func(a, t *iatptest.Options) {
				a.Log, t.Log, t.AgentURL = io.Discard, io.Discard, plainAgent(b)
				of, with := a.Config, t.Config
				a.Config = func(c *sidecar.Config) {
					of(c)
					p := c.Peers["b"]
					p.Agreement = agreement
					c.Peers["b"], c.DefaultPeer = p, "b"
				}
				t.Config = func(c *sidecar.Config) { with(c); c.Limits.PerPeer = plenty }
			})
			a.Post(b, oneKB, nil) // the two have met
			processor(b, func() { hammer(b, a.URL, oneKB, 200) })
		})
	}
}

// processor reports the processor time of this process for each of b.N.
func processor(b *testing.B, work func()) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	work()
	b.ReportMetric(float64((used()-before).Microseconds())/float64(b.N), "cpu-µs/op")
}
