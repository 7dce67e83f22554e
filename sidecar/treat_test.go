package sidecar_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// treats makes a configuration change that reads rules of "kinds action" from
// lines, for both directions.
func treats(direction string, lines ...string) func(*sidecar.Config) {
	return func(c *sidecar.Config) {
		for _, l := range lines {
			kinds, action, _ := strings.Cut(l, " ")
			c.Privacy.Rules = append(c.Privacy.Rules, policy.DataRule{Kinds: strings.Split(kinds, ","), Direction: direction, Action: action})
		}
	}
}

const (
	guest     = `{"guest":{"email":"ann@example.com","card":"4532-0151-1283-0366"},"iban":"DE89370400440532013000","nights":3}`
	guestSent = `{"guest":{"email":"[EMAIL_REDACTED]","card":"4532-0151-1283-0366"},"iban":"****3000","nights":3}`
)

// TestRequestIsTreated: what leaves, and what is recorded and signed of it, is
// what the rules made of it.
func TestRequestIsTreated(t *testing.T) {
	rules := treats("request", "email redact", "iban mask", "phone ask", "secrets block")
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: rules})
	r := post(t, n, "/proxy", guest, nil)
	if r.Status != 200 || r.Header.Get("IATP-Redacted") != "request" {
		t.Fatalf("%d %v %s; want 200, redacted", r.Status, r.Header, r.Body)
	}
	seen := n.Agent.Seen()[0]
	if string(seen.Body) != guestSent || seen.Header.Get("Content-Length") != "" && seen.Header.Get("Content-Length") != strconv.Itoa(len(guestSent)) {
		t.Errorf("the agent got %s %v, want %s", seen.Body, seen.Header, guestSent)
	}
	request := n.Records(t, r.Header.Get("X-Agent-Trace-ID"))[0]
	text := fmt.Sprint(request["payload"], request["findings"], request["reasons"], request["bytes"])
	for _, want := range []string{"[EMAIL_REDACTED]", "[CREDIT_CARD_REDACTED]", "[IBAN_REDACTED]", "action:redact", "at:[/guest/email]", "action:mask", "data_redacted", strconv.Itoa(len(guestSent))} {
		if !strings.Contains(text, want) {
			t.Errorf("the record lacks %s: %s", want, text)
		}
	}
	metrics := string(n.Do(t, "GET", "/metrics", nil, nil).Body)
	for _, want := range []string{
		`iatp_findings_treated_total{action="redact",direction="request",kind="email"} 1`,
		`iatp_findings_treated_total{action="mask",direction="request",kind="iban"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if r := post(t, n, "/proxy", bookNYC, nil); r.Status != 200 || r.Header.Get("IATP-Redacted") != "" {
		t.Errorf("a clean call: %d, redacted %q", r.Status, r.Header.Get("IATP-Redacted"))
	}

	const secret = `{"password":"correct horse battery"}`
	if r := post(t, n, "/proxy", secret, map[string]string{"X-User-Override": "true"}); r.Status != 403 || !strings.Contains(string(r.Body), "Privacy Violation: The request holds password at /password") {
		t.Errorf("a blocked kind: %d %s", r.Status, r.Body)
	}
	const call = `{"mail":"ann@example.com","phone":"+49 30 901820"}`
	if r := post(t, n, "/proxy", call, nil); r.Status != 449 || !strings.Contains(string(r.Body), "phone at /phone") || strings.Contains(string(r.Body), "901820") {
		t.Errorf("a kind to ask about: %d %s", r.Status, r.Body)
	}
	if r := post(t, n, "/proxy", call, map[string]string{"X-User-Override": "true"}); r.Status != 200 {
		t.Errorf("the same, released: %d %s", r.Status, r.Body)
	}
	last := n.Agent.Seen()[len(n.Agent.Seen())-1]
	if want := `{"mail":"[EMAIL_REDACTED]","phone":"+49 30 901820"}`; string(last.Body) != want {
		t.Errorf("the agent got %s, want %s", last.Body, want)
	}
}

// TestKeysAreAskedAbout is the default for requests.
func TestKeysAreAskedAbout(t *testing.T) {
	a, b := iatptest.Pair(t, nil)
	key := `{"note":"use ` + "AKIA" + `QYLPMN5HHHFPZAM2"}`
	for _, path := range []string{"/proxy", "/proxy/b"} {
		r := post(t, a, path, key, nil)
		if r.Status != 449 || !strings.Contains(string(r.Body), "sensitive_data") || !strings.Contains(string(r.Body), "api_key at /note") {
			t.Errorf("%s: %d %s, want to be asked", path, r.Status, r.Body)
		}
		if r := post(t, a, path, key, map[string]string{"X-User-Override": "true"}); r.Status != 200 {
			t.Errorf("%s, released: %d %s", path, r.Status, r.Body)
		}
	}
	if seen := b.Agent.Seen(); len(seen) != 1 || string(seen[0].Body) != key { // nobody is asked on the way in
		t.Errorf("b's agent saw %v", seen)
	}
}

// TestTreatedBetweenSidecars: whoever redacts, on the way out or in, the exchange
// is proven, and the agents get what was left.
func TestTreatedBetweenSidecars(t *testing.T) {
	const answer = `{"confirmation":"ok","mail":"desk@example.com"}`
	const cleaned = `{"confirmation":"ok","mail":"[EMAIL_REDACTED]"}`
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("X-Desk", "desk@example.com")
		_, _ = io.WriteString(w, answer)
	})
	for _, c := range []struct {
		name      string
		who       string // a or b has the rules
		direction string
		sent, got string
	}{
		{"a, requests", "a", "request", guestSent, answer},
		{"b, requests", "b", "request", guestSent, answer},
		{"a, answers", "a", "response", guest, cleaned},
		{"b, answers", "b", "response", guest, cleaned},
	} {
		a, b := iatptest.Pair(t, func(a, b *iatptest.Options) {
			b.Agent = agent
			o := map[string]*iatptest.Options{"a": a, "b": b}[c.who]
			peers := o.Config
			o.Config = func(cfg *sidecar.Config) { peers(cfg); treats(c.direction, "email redact", "iban mask")(cfg) }
		})
		key := map[string]string{"Idempotency-Key": "one"}
		r := post(t, a, "/proxy/b", guest, key)
		again := post(t, a, "/proxy/b", guest, key)
		if r.Status != 200 || string(r.Body) != c.got || r.Header.Get("IATP-Receipt") == "" || r.Header.Get("IATP-Proof") != "" {
			t.Errorf("%s: %d %s %v; want %s, proven", c.name, r.Status, r.Body, r.Header, c.got)
		}
		if string(again.Body) != c.got || again.Header.Get("IATP-Proof") != "" {
			t.Errorf("%s, repeated: %s %v", c.name, again.Body, again.Header)
		}
		if seen := b.Agent.Seen(); len(seen) != 1 || string(seen[0].Body) != c.sent {
			t.Errorf("%s: b's agent saw %d calls, the first %s; want %s", c.name, len(seen), seen[0].Body, c.sent)
		}
		if redacted := c.got != answer; redacted != (r.Header.Get("ETag") == "") || redacted == (r.Header.Get("X-Desk") == "desk@example.com") {
			t.Errorf("%s: the head of the answer is %v", c.name, r.Header)
		}
	}
}

// TestRepetitionSaysWhatWasRedacted: also when the answer is said again.
func TestRepetitionSaysWhatWasRedacted(t *testing.T) {
	pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
	iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: pa.Listen})
	b := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}
		treats("response", "email redact")(c)
	}, Agent: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"mail":"desk@example.com"}`)
	})})
	manifest := inForce(t, b)
	for _, when := range []string{"first", "again"} {
		r := says(t, pa, "POST", pb.URL+"/task", bookNYC, func(h http.Header) {
			h.Set("Idempotency-Key", `"k1"`)
			h.Set("IATP-Manifest", manifest)
		}, nil)
		if r.Status != 200 || string(r.Body) != `{"mail":"[EMAIL_REDACTED]"}` || r.Header.Get("IATP-Redacted") != "response" {
			t.Errorf("%s: %d %s, redacted %q; want the response to be named", when, r.Status, r.Body, r.Header.Get("IATP-Redacted"))
		}
	}
}

// TestAnswerIsWithheld: an answer with what may not pass becomes a refusal that
// says what came of the call; from another sidecar with a receipt.
func TestAnswerIsWithheld(t *testing.T) {
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"key":"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\n-----END PRIVATE KEY-----"}`)
	})
	a, _ := iatptest.Pair(t, func(a, b *iatptest.Options) {
		a.Agent, b.Agent = agent, agent
		for _, o := range []*iatptest.Options{a, b} {
			peers := o.Config
			o.Config = func(cfg *sidecar.Config) { peers(cfg); treats("response", "secrets block")(cfg) }
		}
	})
	for _, path := range []string{"/proxy", "/proxy/b"} {
		r := post(t, a, path, bookNYC, nil)
		if r.Status != 502 || !strings.Contains(string(r.Body), "privacy-violation") || !strings.Contains(string(r.Body), `"outcome":"executed"`) || strings.Contains(string(r.Body), "MIIE") {
			t.Errorf("%s: %d %s; want the answer withheld", path, r.Status, r.Body)
		}
		if path == "/proxy/b" && (r.Header.Get("IATP-Receipt") == "" || r.Header.Get("IATP-Proof") != "") {
			t.Errorf("b's refusal is not proven: %v", r.Header)
		}
		records := a.Records(t, r.Header.Get("X-Agent-Trace-ID"))
		if last := records[len(records)-1]; last["outcome"] != "executed" || strings.Contains(fmt.Sprint(records), "MIIE") {
			t.Errorf("%s: recorded %v", path, records)
		}
	}
}

// TestStreamsAreTreated: events, lines and large answers are treated as they pass,
// and proven over what passed.
func TestStreamsAreTreated(t *testing.T) {
	large := `{"mail":"desk@example.com","rows":[` + strings.Repeat(`"row of nothing",`, 6000) + `0]}`
	for _, c := range []struct {
		name, contentType, answer, want string
		length                          bool
	}{
		{"events", "text/event-stream", "data: {\"mail\":\"desk@example.com\"}\n\ndata: two\n\n", "data: {\"mail\":\"[EMAIL_REDACTED]\"}\n\ndata: two\n\n", false},
		{"lines", "application/x-ndjson", "{\"n\":1}\n{\"mail\":\"desk@example.com\"}\n", "{\"n\":1}\n{\"mail\":\"[EMAIL_REDACTED]\"}\n", false},
		{"text", "text/plain", "write to desk@example.com.", "write to [EMAIL_REDACTED].", false},
		{"large", "application/json", large, strings.Replace(large, "desk@example.com", "[EMAIL_REDACTED]", 1), true},
	} {
		agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", c.contentType)
			if c.length {
				w.Header().Set("Content-Length", strconv.Itoa(len(c.answer)))
			}
			for i := 0; i < len(c.answer); i += 7 {
				_, _ = io.WriteString(w, c.answer[i:min(i+7, len(c.answer))])
				if len(c.answer) < 1000 {
					w.(http.Flusher).Flush()
				}
			}
		})
		for _, who := range []string{"a", "b"} {
			a, _ := iatptest.Pair(t, func(a, b *iatptest.Options) {
				a.Agent, b.Agent = agent, agent
				o := map[string]*iatptest.Options{"a": a, "b": b}[who]
				peers := o.Config
				o.Config = func(cfg *sidecar.Config) { peers(cfg); treats("response", "email redact")(cfg) }
			})
			paths := []string{"/proxy/b"}
			if who == "a" {
				paths = append(paths, "/proxy")
			}
			for _, path := range paths {
				r := post(t, a, path, bookNYC, nil)
				if r.Status != 200 || string(r.Body) != c.want {
					t.Errorf("%s, %s treats, %s: %d %.200s, want %.200s", c.name, who, path, r.Status, r.Body, c.want)
				}
				records := a.Records(t, r.Header.Get("X-Agent-Trace-ID"))
				last := fmt.Sprint(records[len(records)-1])
				if path == "/proxy/b" && !strings.Contains(last, "receipt:") || strings.Contains(last, "receipt invalid") || strings.Contains(last, "desk@") {
					t.Errorf("%s, %s treats, %s: recorded %s", c.name, who, path, last)
				}
				if who == "a" && !strings.Contains(last, "action:redact") {
					t.Errorf("%s, %s: the record does not say what was done: %s", c.name, path, last)
				}
			}
		}
	}
}

// TestTreatedEventsPassAtOnce: an event is not held back by what may follow.
func TestTreatedEventsPassAtOnce(t *testing.T) {
	more := make(chan struct{})
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: treats("response", "email redact"), Agent: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: desk@example.com\n\n")
		w.(http.Flusher).Flush()
		<-more
		_, _ = io.WriteString(w, "data: done\n\n")
	})})
	resp, err := http.Post(n.URL+"/proxy", "application/json", strings.NewReader(bookNYC))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	want := []byte("data: [EMAIL_REDACTED]\n\n")
	first := make([]byte, len(want))
	_, err = io.ReadFull(resp.Body, first) // which would wait for ever
	close(more)
	if err != nil || !bytes.Equal(first, want) {
		t.Errorf("the first event is %q, %v", first, err)
	}
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "data: done\n\n" {
		t.Errorf("the rest is %q, %v", rest, err)
	}
}

// TestStreamIsCutBeforeWhatMayNotPass: nothing of a blocked value is released, and
// the part before it cannot be taken for the whole.
func TestStreamIsCutBeforeWhatMayNotPass(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: treats("response", "payment block"), Agent: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		for _, line := range []string{"{\"n\":1}\n", "{\"card\":\"4532-0151-", "1283-0366\"}\n", "{\"n\":2}\n"} {
			_, _ = io.WriteString(w, line)
			w.(http.Flusher).Flush()
			time.Sleep(time.Millisecond)
		}
	})})
	resp, err := http.Post(n.URL+"/proxy", "application/json", strings.NewReader(bookNYC))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if resp.Body.Close(); err == nil || strings.Contains(string(got), "4532") || strings.Contains(string(got), `"n":2`) {
		t.Errorf("got %q, %v; want it cut before the card", got, err)
	}
	records := n.Records(t, resp.Header.Get("X-Agent-Trace-ID"))
	if last := records[len(records)-1]; last["type"] != "error" || last["error"] != "privacy_violation" || !strings.Contains(fmt.Sprint(last["findings"]), "action:block") {
		t.Errorf("recorded %v", last)
	}
}

// TestCutStreamIsProvenOrUnknown: what a peer did is not taken from the status of an answer
// that was not read to its receipt.
func TestCutStreamIsProvenOrUnknown(t *testing.T) {
	a, _ := iatptest.Pair(t, func(a, b *iatptest.Options) {
		known, treat := a.Config, treats("response", "payment block")
		a.Config = func(c *sidecar.Config) { known(c); treat(c) }
		b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-ndjson")
			for _, line := range []string{"{\"n\":1}\n", "{\"card\":\"4532-0151-1283-0366\"}\n", "{\"n\":2}\n"} {
				_, _ = io.WriteString(w, line)
				w.(http.Flusher).Flush()
				time.Sleep(time.Millisecond)
			}
		})
	})
	resp, err := http.Post(a.URL+"/proxy/b", "application/json", strings.NewReader(bookNYC))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if resp.Body.Close(); err == nil || strings.Contains(string(got), "4532") {
		t.Errorf("got %q, %v; want it cut before the card", got, err)
	}
	records := a.Records(t, resp.Header.Get("X-Agent-Trace-ID"))
	if last := records[len(records)-1]; last["error"] != "privacy_violation" || last["outcome"] != "unknown" && last["receipt"] == nil {
		t.Errorf("recorded %v; want the outcome proven, or unknown", last)
	}
}

// TestOpaqueAnswersAreWithheld: with opaque: block nothing that cannot be read
// passes, whatever stands beside it, whole or as a stream; else it is counted.
func TestOpaqueAnswersAreWithheld(t *testing.T) {
	packed := base64.StdEncoding.EncodeToString([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + strings.Repeat("\x01\x92\xfe\x03zq", 40)))
	raw := strings.Repeat("\x00\x01\xff\xfe", 100)
	for _, c := range []struct{ name, contentType, answer, hidden string }{
		{"packed", "application/json", `{"blob":"` + packed + `"}`, packed},
		{"packed, beside an address", "application/json", `{"mail":"desk@example.com","blob":"` + packed + `"}`, packed},
		{"packed, in a name", "application/json", `{"` + packed + `":1}`, packed},
		{"packed, in a long text", "application/json", `{"text":"` + strings.Repeat("no thing ", 9000) + packed + `"}`, packed},
		{"packed, in an event", "text/event-stream", "data: " + packed + "\n\n", packed},
		{"packed, beside events", "text/event-stream", ": " + packed + "\n\n", packed},
		{"binary", "application/octet-stream", raw, raw},
		{"binary, beside an address", "application/octet-stream", "desk@example.com " + raw, raw},
	} {
		for _, stream := range []bool{false, true} {
			for _, choice := range [][2]string{{"block", "redact"}, {"record", "redact"}, {"record", "record"}} {
				opaque := choice[0]
				n := iatptest.Start(t, iatptest.Options{
					Manifest: iatptest.Friend,
					Config:   func(c *sidecar.Config) { c.Privacy.Opaque, c.Privacy.Response = choice[0], choice[1] },
					Agent: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("Content-Type", c.contentType)
						if !stream {
							w.Header().Set("Content-Length", strconv.Itoa(len(c.answer)))
						}
						_, _ = io.WriteString(w, c.answer)
						if stream {
							w.(http.Flusher).Flush()
						}
					}),
				})
				resp, err := http.Post(n.URL+"/proxy", "application/json", strings.NewReader(bookNYC))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				passed := strings.Contains(string(got), c.hidden)
				refused := err != nil || resp.StatusCode == 502 && strings.Contains(string(got), "parts that cannot be read")
				if wanted := opaque == "record"; passed != wanted || refused == wanted {
					t.Errorf("%s, stream %v, %s: %d %.100q, %v", c.name, stream, choice, resp.StatusCode, got, err)
				}
				records := n.Records(t, resp.Header.Get("X-Agent-Trace-ID"))
				var counted map[string]any
				found, _ := records[len(records)-1]["findings"].([]any)
				for _, f := range found {
					if f := f.(map[string]any); f["kind"] == "opaque" {
						counted = f
					}
				}
				if counted["count"] != 1.0 || counted["action"] == "block" != (opaque == "block") {
					t.Errorf("%s, stream %v, %s: recorded %v", c.name, stream, choice, records[len(records)-1])
				}
			}
		}
	}
}

// TestOddBytesSaveNothing: an answer of which some bytes are no text loses what has
// to go all the same, whole or in a stream. What is no text at all stays as it is.
func TestOddBytesSaveNothing(t *testing.T) {
	picture := "\x89PNG\r\n\x1a\n" + strings.Repeat("\x00\xff", 40)
	parts := "--BB\r\nContent-Disposition: form-data; name=\"m\"\r\n\r\nann@example.com\r\n--BB\r\nContent-Type: image/png\r\n\r\n" + picture + "\r\n--BB--\r\n"
	for _, c := range []struct{ contentType, answer, want string }{
		{"text/plain", "J\xf6rg, that is ann@example.com, is not here", "J\xf6rg, that is [EMAIL_REDACTED], is not here"},
		{"multipart/form-data; boundary=BB", parts, strings.ReplaceAll(parts, "ann@example.com", "[EMAIL_REDACTED]")},
		{"application/json-seq", "\x1e{\"m\":\"ann@example.com\"}\n", "\x1e{\"m\":\"[EMAIL_REDACTED]\"}\n"},
		{"image/png", picture + " ann@example.com", picture + " ann@example.com"},
	} {
		for _, stream := range []bool{false, true} {
			n := iatptest.Start(t, iatptest.Options{
				Manifest: iatptest.Friend,
				Config:   treats("response", "email redact"),
				Agent: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", c.contentType)
					if !stream {
						w.Header().Set("Content-Length", strconv.Itoa(len(c.answer)))
					}
					_, _ = io.WriteString(w, c.answer)
					if stream {
						w.(http.Flusher).Flush()
					}
				}),
			})
			r := post(t, n, "/proxy", bookNYC, nil)
			if string(r.Body) != c.want {
				t.Errorf("%s, stream %v: %q, want %q", c.contentType, stream, r.Body, c.want)
			}
			recorded, want := fmt.Sprint(last(t, n, r)["findings"]), "action:redact"
			if c.want == c.answer {
				want = "map[count:1 kind:email]"
			}
			if !strings.Contains(recorded, want) {
				t.Errorf("%s, stream %v: recorded %s, want %s", c.contentType, stream, recorded, want)
			}
		}
	}
}

// TestTreatedContentTypeIsProven: the media type of an answer holds an address.
// It is taken out before the receipt is made, and a receipt that the other side
// made of the type as it was still proves the answer.
func TestTreatedContentTypeIsProven(t *testing.T) {
	for _, stream := range []bool{false, true} {
		for _, who := range []string{"a", "b"} {
			a, _ := iatptest.Pair(t, func(a, b *iatptest.Options) {
				b.Manifest = iatptest.Friend
				b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", `application/json; owner="desk@example.com"`)
					_, _ = io.WriteString(w, `{"ok":1}`)
					if stream {
						w.(http.Flusher).Flush()
					}
				})
				o := map[string]*iatptest.Options{"a": a, "b": b}[who]
				peers := o.Config
				o.Config = func(cfg *sidecar.Config) { peers(cfg); treats("response", "email redact")(cfg) }
			})
			for _, repeated := range []bool{false, true} {
				if stream && repeated {
					continue // streams are not kept
				}
				req, err := http.NewRequest(http.MethodPost, a.URL+"/proxy/b", strings.NewReader(bookNYC))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Idempotency-Key", "one")
				r, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(r.Body)
				r.Body.Close()
				receipt := r.Header.Get("IATP-Receipt")
				if stream {
					receipt = r.Trailer.Get("IATP-Receipt")
				}
				if err != nil || r.StatusCode != 200 || r.Header.Get("Content-Type") != `application/json; owner="[EMAIL_REDACTED]"` || receipt == "" || r.Header.Get("IATP-Quarantined") != "" {
					t.Errorf("%s treats, stream %v, repeated %v: %d %s %v %v, %v", who, stream, repeated, r.StatusCode, body, r.Header, r.Trailer, err)
				}
				_, claims, _ := strings.Cut(receipt, ".")
				claims, _, _ = strings.Cut(claims, ".")
				text, err := base64.RawURLEncoding.DecodeString(claims)
				if err != nil || strings.Contains(string(text), "desk@") != (who == "a") {
					t.Errorf("%s treats, stream %v: the receipt is %s, %v", who, stream, text, err)
				}
			}
		}
	}
}

// TestStreamedFindingsAreCountedOnce, and an answer that says that it has no
// coding can be read.
func TestStreamedFindingsAreCountedOnce(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: treats("response", "email redact", "iban mask"), Agent: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "identity")
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, `{"mail":"ann@example.com","also":"bob@example.com","iban":"DE89370400440532013000"}`)
	})})
	r := post(t, n, "/proxy", bookNYC, nil)
	records := n.Records(t, r.Header.Get("X-Agent-Trace-ID"))
	last := records[len(records)-1]
	if got, want := fmt.Sprint(last["findings"]), "[map[action:redact count:2 kind:email] map[action:mask count:1 kind:iban]]"; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
	if last["opaque"] != nil || last["payload"] == nil {
		t.Errorf("the record is %v, want a payload", last)
	}
}

// TestPrivacyReloads: rules and detectors of a new configuration hold from the next
// call on, without a restart; one that is wrong changes nothing.
func TestPrivacyReloads(t *testing.T) {
	var cfg sidecar.Config
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) { cfg = *c }})
	const body = `{"staff":"EMP-123456"}`
	if r := post(t, n, "/proxy", body, nil); r.Status != 200 || r.Header.Get("IATP-Redacted") != "" {
		t.Fatalf("%d %v", r.Status, r.Header)
	}
	next := cfg
	next.Privacy.Detectors = []sidecar.Detector{{Name: "employee_id", Pattern: `EMP-\d{6}`}}
	next.Privacy.Request = "redact"
	if restart, err := n.Sidecar.Reload(next); err != nil || len(restart) > 0 {
		t.Fatalf("Reload: %v, %v", restart, err)
	}
	bad := next
	bad.Privacy.Request = "drop"
	if _, err := n.Sidecar.Reload(bad); err == nil {
		t.Error("a wrong section was taken")
	}
	r := post(t, n, "/proxy", body, nil)
	seen := n.Agent.Seen()
	if got := string(seen[len(seen)-1].Body); r.Header.Get("IATP-Redacted") != "request" || got != `{"staff":"[EMPLOYEE_ID_REDACTED]"}` {
		t.Errorf("after the reload the agent got %s, %v", got, r.Header)
	}
}

// TestMinConfidence: a finding that is not sure enough is none for the rules, and no
// reason to write the value down. It lifts no block that is built in.
func TestMinConfidence(t *testing.T) {
	const body = `{"card":"4532-0151-1283-0366","phone":"+1 415 555 2671","key":"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n-----END PRIVATE KEY-----"}`
	sure := func(c *sidecar.Config) { c.Privacy.Request, c.Privacy.MinConfidence = "redact", 0.99 }
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: sure})
	r := post(t, n, "/proxy", body, nil)
	if got := string(n.Agent.Seen()[0].Body); got != `{"card":"[CREDIT_CARD_REDACTED]","phone":"+1 415 555 2671","key":"[PRIVATE_KEY_REDACTED]"}` {
		t.Errorf("the agent got %s", got)
	}
	for _, record := range n.Records(t, r.Header.Get("X-Agent-Trace-ID")) {
		if text := fmt.Sprint(record["findings"], record["payload"]); strings.Contains(text, "2671") || strings.Contains(text, "kind:phone") {
			t.Errorf("recorded %s", text)
		}
	}
	if r := n.Post(t, bookNYC, map[string]string{"Accept-Language": "+1 415 555 2671"}); r.Status != 200 {
		t.Errorf("a header that holds nothing that counts: %d %s", r.Status, r.Body)
	}
	n = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Honeypot, Config: sure})
	for _, body := range []string{`{"pay":"4532-0151-1283-0366"}`, `{"x":"536-90-4399"}`} {
		if r := n.Post(t, body, nil); r.Status != 403 {
			t.Errorf("%s: %d %s", body, r.Status, r.Body)
		}
	}
}
