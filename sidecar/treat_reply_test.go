package sidecar_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// answers is an agent that gives one answer, whole or as a stream.
func answers(contentType, body string, stream bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		if stream {
			w.(http.Flusher).Flush()
		} else {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		_, _ = io.WriteString(w, body)
	}
}

// TestOddBytesHideNothing: a byte of another character set, as programs of old write it,
// is no reason to pass a card on that has to go. What is no text by far stays whole.
func TestOddBytesHideNothing(t *testing.T) {
	const card = "4532-0151-1283-0366"
	picture := "\x89PNG\r\n\x1a\n" + strings.Repeat("\x00\x01\xff\xfe", 100) + "desk@example.com"
	for _, contentType := range []string{"application/json", "application/json; charset=iso-8859-1", "text/csv; charset=latin1", "text/event-stream", "application/x-www-form-urlencoded", ""} {
		for _, odd := range []string{"Jos\xe9", "Jos\x00"} {
			for _, stream := range []bool{false, true} {
				n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: treats("response", "payment,contact redact"),
					Agent: answers(contentType, `{"name":"`+odd+`","card":"`+card+`"}`, stream)})
				r := post(t, n, "/proxy", bookNYC, nil)
				if strings.Contains(string(r.Body), card) || r.Status != 200 {
					t.Errorf("%s, stream %v: the caller got %d %q", contentType, stream, r.Status, r.Body)
				}
				records := n.Records(t, r.Header.Get("X-Agent-Trace-ID"))
				if got := fmt.Sprint(records[len(records)-1]["findings"]); !strings.Contains(got, "action:redact") || !strings.Contains(got, "count:1 kind:credit_card") {
					t.Errorf("%s, stream %v: recorded %s", contentType, stream, got)
				}
			}
		}
	}
	for _, stream := range []bool{false, true} {
		n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: treats("response", "contact redact"), Agent: answers("image/png", picture, stream)})
		if r := post(t, n, "/proxy", bookNYC, nil); string(r.Body) != picture {
			t.Errorf("stream %v: of a picture came %q", stream, r.Body)
		}
	}
}

// TestPartIsNotChanged: an answer that is a part of something (206) says which bytes of
// how many it is. It passes as it is, with what it says of itself, or not at all.
func TestPartIsNotChanged(t *testing.T) {
	for _, stream := range []bool{false, true} {
		for _, body := range []string{`{"n":1}`, `{"m":"ann@example.com"}`} {
			n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: treats("response", "email redact"), Agent: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/100", len(body)-1))
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("ETag", `"v1"`)
				w.WriteHeader(http.StatusPartialContent)
				if stream {
					w.(http.Flusher).Flush()
				}
				_, _ = io.WriteString(w, body)
			})})
			resp, err := http.Post(n.URL+"/proxy", "application/json", strings.NewReader(bookNYC))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if strings.Contains(body, "@") {
				if strings.Contains(string(got), "ann") || (resp.StatusCode == http.StatusPartialContent) != stream || (err != nil) != stream {
					t.Errorf("stream %v: %d %q, %v", stream, resp.StatusCode, got, err)
				}
				records := n.Records(t, resp.Header.Get("X-Agent-Trace-ID"))
				if found := fmt.Sprint(records[len(records)-1]["findings"]); !strings.Contains(found, "action:block") {
					t.Errorf("stream %v: recorded %s", stream, found)
				}
				continue
			}
			if string(got) != body || resp.Header.Get("Content-Range") != "bytes 0-6/100" || resp.Header.Get("ETag") != `"v1"` {
				t.Errorf("stream %v: %d %q, %v, %v", stream, resp.StatusCode, got, resp.Header, err)
			}
		}
	}
}

// TestPlaceBehindManyFindings: a report names a thousand findings of many documents. One
// behind them, at a place of which a rule speaks, is treated as it says.
func TestPlaceBehindManyFindings(t *testing.T) {
	body := strings.Repeat(`{"to":"ann@example.com"}`+"\n", 1200) + `{"customer":{"email":"bob@example.com"}}` + "\n"
	for _, action := range []string{"redact", "block"} {
		for _, stream := range []bool{false, true} {
			n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: answers("application/x-ndjson", body, stream),
				Config: func(c *sidecar.Config) {
					c.Privacy.Rules = []policy.DataRule{{Kinds: []string{"email"}, Fields: []string{"/customer/email"}, Direction: "response", Action: action}}
				}})
			r, err := http.Post(n.URL+"/proxy", "application/json", strings.NewReader(bookNYC))
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(r.Body) // a stream is cut off before what is blocked
			r.Body.Close()
			if strings.Contains(string(got), "bob@") || action == "redact" && !strings.Contains(string(got), "ann@") {
				t.Errorf("%s, stream %v: %.60q ... %q", action, stream, got, got[max(0, len(got)-80):])
			}
		}
	}
}

// TestEmptyAnswersHideNothing: an answer without a body passes, whatever coding its head
// names.
func TestEmptyAnswersHideNothing(t *testing.T) {
	for _, status := range []int{200, 204, 304} {
		n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: treats("response", "payment redact"), Agent: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(status)
		})})
		if r := post(t, n, "/proxy", bookNYC, nil); r.Status != status || len(r.Body) > 0 {
			t.Errorf("%d became %d %s", status, r.Status, r.Body)
		}
	}
}

// TestSensitiveTypes: what an agent says of its answer may be a value, too. It stands in no
// record, nor does what is left of it in small letters.
func TestSensitiveTypes(t *testing.T) {
	for _, value := range []string{"A123456789", "CHE-116.281.710", "ann@example.com"} {
		for _, stream := range []bool{false, true} {
			n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: answers(value, `{"ok":1}`, stream)})
			r := n.Post(t, bookNYC, nil)
			for _, record := range n.Records(t, r.Header.Get("X-Agent-Trace-ID")) {
				if text := fmt.Sprint(record); strings.Contains(strings.ToLower(text), strings.ToLower(value)) {
					t.Errorf("%s, stream %v: recorded %s", value, stream, text)
				}
			}
		}
	}
}
