package sidecar_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// longJSON is an answer of 200 KB with a card number in it.
var longJSON = `{"card":"4111 1111 1111 1111","note":"` + strings.Repeat("a quiet room, please. ", 9000) + `"}`

// longAgent announces longJSON, sends half of it, and then does what rest says.
func longAgent(rest func(w http.ResponseWriter)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(longJSON)))
		_, _ = io.WriteString(w, longJSON[:len(longJSON)/2])
		w.(http.Flusher).Flush()
		rest(w)
	})
}

func sendRest(w http.ResponseWriter) { _, _ = io.WriteString(w, longJSON[len(longJSON)/2:]) }

// A long answer in JSON is read as JSON: its findings have places.
func TestLongAnswerIsReadWhole(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: longAgent(sendRest)})
	r := n.Post(t, bookNYC, nil)
	if r.Status != 200 || string(r.Body) != longJSON || r.Header.Get("Content-Length") != fmt.Sprint(len(longJSON)) {
		t.Fatalf("%d, %d bytes, %v", r.Status, len(r.Body), r.Header)
	}
	end := last(t, n, r)
	if found := fmt.Sprint(end["findings"]); !strings.Contains(found, "at:[/card]") {
		t.Errorf("findings %s, want the place of the card number", found)
	}
	if held := string(n.Get(t, "/metrics", nil).Body); !strings.Contains(held, "\niatp_request_body_bytes_held 0\n") {
		t.Error("room for bodies is still held")
	}
}

// One that breaks off is a failure, and no cut answer.
func TestLongAnswerBreaksOff(t *testing.T) {
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: longAgent(func(http.ResponseWriter) { panic(http.ErrAbortHandler) })})
	if r := n.Post(t, bookNYC, nil); r.Status != 502 {
		t.Errorf("%d %.100s, want 502", r.Status, r.Body)
	}
}

// One that is longer than a request may be, and one that takes its time, pass as they come.
func TestLongAnswerStreams(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*sidecar.Config)
		pause  time.Duration
	}{
		"longer":       {func(c *sidecar.Config) { c.Limits.Body = 64 << 10 }, 0},
		"takes a time": {nil, 1100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			came := make(chan struct{})
			n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: c.change, Agent: longAgent(func(w http.ResponseWriter) { dribble(w, c.pause, came) })})
			comesAsAStream(t, n, came)
		})
	}
}

// One for which there is no room passes as it comes, too.
func TestLongAnswerWithoutRoom(t *testing.T) {
	came, held := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	n := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) { c.Limits.Body, c.Limits.BodyMemory = 256<<10, 256<<10 }, Agent: longAgent(func(w http.ResponseWriter) {
		if calls.Add(1) == 1 { // the second call comes when this one holds the room
			<-held
			sendRest(w)
			return
		}
		dribble(w, 0, came)
	})})
	over := make(chan int)
	go func() {
		resp, err := http.Post(n.URL+"/proxy", "application/json", strings.NewReader(bookNYC))
		if err != nil {
			over <- 0
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		over <- resp.StatusCode
	}()
	taken := func() bool {
		for line := range strings.Lines(string(n.Get(t, "/metrics", nil).Body)) {
			var bytes float64
			if _, err := fmt.Sscanf(line, "iatp_request_body_bytes_held %g", &bytes); err == nil {
				return bytes > 200_000
			}
		}
		return false
	}
	for end := time.Now().Add(10 * time.Second); !taken(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the first answer is not held")
		}
	}
	comesAsAStream(t, n, came)
	close(held)
	if status := <-over; status != 200 {
		t.Errorf("the first call: %d", status)
	}
}

// dribble sends a byte of the second half, and the rest when the caller has something.
func dribble(w http.ResponseWriter, pause time.Duration, came <-chan struct{}) {
	half := len(longJSON) / 2
	time.Sleep(pause)
	_, _ = io.WriteString(w, longJSON[half:half+1])
	w.(http.Flusher).Flush()
	<-came
	_, _ = io.WriteString(w, longJSON[half+1:])
}

// comesAsAStream says that the beginning came, and wants all of the answer.
func comesAsAStream(t *testing.T, n *iatptest.Node, came chan<- struct{}) {
	t.Helper()
	resp, err := http.Post(n.URL+"/proxy", "application/json", strings.NewReader(bookNYC))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	head := make([]byte, 100)
	if _, err := io.ReadFull(resp.Body, head); err != nil {
		t.Fatal(err)
	}
	close(came)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(head)+string(rest) != longJSON {
		t.Errorf("%d bytes, %v", len(head)+len(rest), err)
	}
}
