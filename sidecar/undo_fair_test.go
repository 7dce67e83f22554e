package sidecar_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// TestUndoIsFair: a caller whose undos hang, as many as it likes to ask for, keeps no
// other one waiting: neither for a place to ask nor for the agent. Those that find no
// place are in time when they come again.
func TestUndoIsFair(t *testing.T) {
	agent := newBooker()
	hangs, release := map[string]bool{}, make(chan struct{})
	agent.before = func(_ http.ResponseWriter, r *http.Request) bool {
		id, isCancel := strings.CutPrefix(r.URL.Path, "/cancel/")
		var hang bool
		if isCancel {
			agent.look(func() { hang = hangs[id] })
		}
		if hang {
			readAll(r)
			<-release
		}
		return false
	}
	_, greedy, other := byHand(t, agent, undoer("booking", `,"undo_window_seconds":3600`), nil)
	theirs := other.book(t, "one")
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[int]int{}
	var greedyOnes []string
	for i := range 100 {
		tx := greedy.book(t, fmt.Sprint("k", i))
		agent.look(func() { hangs[tx] = true })
		greedyOnes = append(greedyOnes, tx)
	}
	for _, tx := range greedyOnes {
		all.Go(func() {
			r := greedy.undo(t, tx)
			mu.Lock()
			defer mu.Unlock()
			answers[r.Status]++
		})
	}
	for end := time.Now().Add(4 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		mu.Lock()
		refused := answers[http.StatusServiceUnavailable]
		mu.Unlock()
		if refused == len(greedyOnes)-maxUndoing {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d are sent away, want %d", refused, len(greedyOnes), len(greedyOnes)-maxUndoing)
		}
	}
	if r := other.undo(t, theirs); r.Status != http.StatusOK {
		t.Errorf("the undo of another caller meanwhile = %d %s", r.Status, r.Body)
	}
	close(release)
	all.Wait()
	for _, tx := range greedyOnes {
		if r := greedy.undone(t, tx); r.Status != http.StatusOK {
			t.Errorf("an undo that hung = %d %s", r.Status, r.Body)
		}
	}
	agent.look(func() {
		if agent.effects != 101 {
			t.Errorf("%d were canceled, want 101", agent.effects)
		}
	})
}

// TestSilentPeerIsAlone: sagas whose peer takes requests for an undo and never answers
// keep no saga with another peer from being undone.
func TestSilentPeerIsAlone(t *testing.T) {
	silent, answering := newBooker(), newBooker()
	pa, ps, pb := iatptest.NewParty(t), iatptest.NewParty(t), iatptest.NewParty(t)
	release := make(chan struct{})
	front := startFront(t, ps.URL, func(r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/compensate/") {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
	})
	for _, one := range []struct {
		party *iatptest.Party
		agent *booker
	}{{ps, silent}, {pb, answering}} {
		iatptest.Start(t, iatptest.Options{Manifest: undoer("booking", `,"undo_window_seconds":3600`), Agent: one.agent, Config: func(c *sidecar.Config) {
			one.party.Listen(c)
			c.Peers = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}
			c.Compensation.URL, c.Check.URL = "/cancel/{transaction_id}", "/state/{transaction_id}"
		}})
	}
	a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pa.Listen(c)
		mute := ps.AsPeer("verified_partner")
		mute.URI, mute.URL, mute.Dial = mute.URL, "", front
		c.Peers = map[string]sidecar.Peer{"silent": mute, "b": pb.AsPeer("verified_partner")}
	}})
	var muted []string
	var all sync.WaitGroup
	for range 24 {
		id := openSaga(t, a, "").ID
		if r := joinCall(t, a, "silent", id); r.Status != http.StatusOK {
			t.Fatalf("call = %d %s", r.Status, r.Body)
		}
		muted = append(muted, id)
	}
	saga := openSaga(t, a, "")
	joinCall(t, a, "b", saga.ID)
	for _, id := range muted {
		all.Go(func() { a.Do(t, "POST", "/sagas/"+id+"/cancel", nil, nil) })
	}
	all.Wait() // they are told that it goes on
	began := time.Now()
	if got := cancel(t, a, saga.ID); got.State != "compensated" || time.Since(began) > 4*time.Second {
		t.Errorf("the saga with a peer that answers is %s after %s", got.State, time.Since(began))
	}
	close(release)
	for _, id := range muted {
		if got := cancel(t, a, id); got.State != "compensated" {
			t.Errorf("saga = %+v", got)
		}
	}
}

// startFront is an HTTP proxy before a party that calls hold with each request first.
func startFront(t *testing.T, to string, hold func(*http.Request)) (addr string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := readAll(r)
		hold(r)
		req, err := http.NewRequestWithContext(r.Context(), r.Method, to+r.RequestURI, strings.NewReader(body))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		req.Header, req.Host = r.Header, r.Host
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		for name, v := range resp.Header {
			w.Header()[name] = v
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}
