package sidecar_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// maxUndoing is how many requests for an undo of one caller a sidecar serves at a time.
const maxUndoing = 16

// TestHeldWindow has as many undos under way as there may be, so that one more is sent
// away in time. Then the sidecar is restarted, and the window ends. The one that was sent
// away is taken when it comes again; one that comes for the first time is not.
func TestHeldWindow(t *testing.T) {
	agent := newBooker()
	release := make(chan struct{})
	agent.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/cancel/") {
			<-release
		}
		return false
	}
	var cfg sidecar.Config
	b, caller, _ := byHand(t, agent, undoer("booking", `,"undo_window_seconds":3`), func(c *sidecar.Config) { cfg = *c })
	var full sync.WaitGroup
	for i := range maxUndoing {
		tx := caller.book(t, fmt.Sprint("full-", i))
		full.Go(func() { caller.undo(t, tx) })
	}
	sent, never := caller.book(t, "sent-away"), caller.book(t, "never-asked")
	last := time.Now()
	for end := time.Now().Add(4 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if strings.Contains(string(b.Get(t, "/metrics", nil).Body), fmt.Sprintf("iatp_undo_compensating %d\n", maxUndoing)) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the places for undos do not fill")
		}
	}
	if got := slug(t, caller.undo(t, sent)); got != "503 overloaded" {
		t.Fatalf("one undo too many = %s, want 503 overloaded", got)
	}
	close(release)
	full.Wait()
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	iatptest.Start(t, iatptest.Options{AgentURL: cfg.Agent, Data: cfg.Data, Config: func(c *sidecar.Config) { *c = cfg }})
	time.Sleep(time.Until(last.Add(5500 * time.Millisecond))) // the window is over, whatever it was rounded to
	// The clock of a caller that is ahead, as far as it may be: so we need not wait for
	// the 30 seconds that clocks may differ by.
	caller.at = time.Now().Add(29 * time.Second)
	if got := slug(t, caller.undo(t, never)); got != "409 undo-window-expired" {
		t.Errorf("an undo that nobody asked for in time = %s", got)
	}
	if r := caller.undone(t, sent); r.Status != http.StatusOK {
		t.Errorf("an undo that was asked for in time and sent away = %d %s", r.Status, r.Body)
	}
	if got := len(agent.canceled); got != maxUndoing+1 {
		t.Errorf("%d were undone, want %d", got, maxUndoing+1)
	}
}
