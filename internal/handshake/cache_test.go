package handshake

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// Many that ask at once cost one visit, and those who come later none while it is
// good.
func TestSingleFlight(t *testing.T) {
	s := listen(t, "booking.test")
	s.honest(t, claim{key: key('k')})
	open := make(chan struct{})
	manifest := s.manifest
	s.serve(func(w http.ResponseWriter, r *http.Request) { <-open; manifest(w, r) }, s.directory)
	n := newNode(t, Options{}, s)
	var wg sync.WaitGroup
	results := make([]*Met, 100)
	for i := range results {
		wg.Go(func() { results[i], _ = n.Meet(t.Context(), "a") })
	}
	time.Sleep(50 * time.Millisecond) // most of them wait by now; the others find the result
	close(open)
	wg.Wait()
	for _, met := range results {
		if met == nil || met != results[0] {
			t.Fatal("not all got the result of the one visit")
		}
	}
	n.move(59 * time.Minute)
	n.meet()
	if m, d := s.count(manifestPath), s.count(directoryPath); m != 1 || d != 1 {
		t.Errorf("%d and %d requests, want 1 and 1", m, d)
	}
	want(t, n, eventFirstSeen)
}

// One who goes away does not take the visit away from the others.
func TestAbandonedVisit(t *testing.T) {
	s := listen(t, "booking.test")
	s.honest(t, claim{key: key('k')})
	open := make(chan struct{})
	manifest := s.manifest
	s.serve(func(w http.ResponseWriter, r *http.Request) { <-open; manifest(w, r) }, s.directory)
	n := newNode(t, Options{}, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, problem := n.Meet(ctx, "a"); problem == nil || problem.Slug != iatp.SlugDeadlineExceeded || problem.Status != 504 {
		t.Errorf("Meet without time: %v, want %s", problem, iatp.SlugDeadlineExceeded)
	}
	close(open)
	n.meet()
	if got := s.count(manifestPath); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

// What has become stale is asked for again with its entity tag, and what is not
// confirmed is not used any more.
func TestStale(t *testing.T) {
	s := listen(t, "booking.test")
	s.honest(t, claim{key: key('k')})
	n := newNode(t, Options{}, s)
	first := n.meet()
	n.later()
	again := n.meet()
	if got := s.count(manifestPath); got != 2 {
		t.Fatalf("%d requests, want 2", got)
	}
	if tag := s.header.Get("If-None-Match"); tag != iatp.DigestOf(first.Manifest.Bytes()).ETag() {
		t.Errorf("If-None-Match: %q", tag)
	}
	if again.Digest != first.Digest || again.Key != key('k').Public() {
		t.Errorf("after 304 the peer is another: %v", again.Notes)
	}
	s.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, http.NotFound)
	n.later()
	if met := n.meet(); met.Manifest != nil || len(met.Input.Claims) != 0 {
		t.Error("a stale manifest was used when there was no fresh one")
	}
	s.honest(t, claim{key: key('k')})
	n.move(minFresh)
	if met := n.meet(); met.Manifest == nil {
		t.Error("the peer did not come back")
	}
}

// A peer that does not answer is asked once in five seconds, whoever wants it.
func TestNegativeCache(t *testing.T) {
	s := listen(t, "booking.test")
	n := newNode(t, Options{}, s)
	for range 20 {
		n.meet()
	}
	n.move(minFresh - time.Millisecond)
	n.meet()
	if got := s.count(manifestPath); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
	n.move(time.Millisecond)
	n.meet()
	if got := s.count(manifestPath); got != 2 {
		t.Errorf("%d requests after five seconds, want 2", got)
	}
}

func TestFreshness(t *testing.T) {
	for _, c := range []struct {
		fields []string
		want   time.Duration
	}{
		{nil, defaultFresh},
		{[]string{"max-age=60"}, time.Minute},
		{[]string{"Max-Age=60, public"}, time.Minute},
		{[]string{"public", `max-age="60"`}, time.Minute},
		{[]string{"max-age=1"}, minFresh},
		{[]string{"max-age=99999999"}, maxFresh},
		{[]string{"max-age=99999999999999999999"}, minFresh},
		{[]string{"max-age=-1"}, minFresh},
		{[]string{"max-age="}, minFresh},
		{[]string{"max-age=3600, no-store"}, minFresh},
		{[]string{"no-cache"}, minFresh},
		{[]string{"private"}, defaultFresh},
	} {
		if got := freshness(http.Header{"Cache-Control": c.fields}); got != c.want {
			t.Errorf("freshness(%q) = %v, want %v", c.fields, got, c.want)
		}
	}
}

func TestEntityTag(t *testing.T) {
	for tag, want := range map[string]string{
		`"abc"`: `"abc"`, `""`: `""`, `abc`: "", `W/"abc"`: "", `"a b"`: "", `"a"b"`: "", `"`: "", "": "", "\"a\x00\"": "",
	} {
		if got := entityTag(http.Header{"Etag": {tag}}); got != want {
			t.Errorf("entityTag(%q) = %q, want %q", tag, got, want)
		}
	}
}

func TestBucket(t *testing.T) {
	c := &clock{at: start}
	b := bucket{now: c.now}
	for i := range lookupBurst {
		if !b.take() {
			t.Fatalf("the %dth was refused", i+1)
		}
	}
	if b.take() {
		t.Error("one more than the burst was let through")
	}
	c.move(lookupInterval)
	if !b.take() || b.take() {
		t.Error("after the interval not exactly one was let through")
	}
	c.move(time.Hour)
	for range lookupBurst {
		if !b.take() {
			t.Fatal("the bucket did not fill again")
		}
	}
	if b.take() {
		t.Error("the bucket holds more than the burst")
	}
}

// A clock that is set back does not make anybody visit again and again: a visit that
// began after the question answers it.
func TestClockSetBack(t *testing.T) {
	now := &clock{at: start}
	c := newCache(now.now)
	visits := 0
	back := func(*outcome) *outcome {
		if visits++; visits > 9 { // enough
			return &outcome{at: now.now(), expires: now.now()}
		}
		return &outcome{at: now.now().Add(-time.Hour), expires: now.now().Add(-time.Hour)}
	}
	const uri = "https://peer.example"
	begun, on := make(chan bool), make(chan bool)
	var visiting sync.WaitGroup
	defer visiting.Wait()
	visiting.Go(func() {
		_, _ = c.get(t.Context(), uri, start, visiting.Go, func(o *outcome) *outcome {
			close(begun)
			<-on
			return back(o)
		})
	})
	<-begun // somebody else's visit, which began before we ask
	visiting.Go(func() { close(on) })
	if o, err := c.get(t.Context(), uri, start, visiting.Go, back); err != nil || o == nil || visits != 2 {
		t.Errorf("%d visits, %v, want one after the one that was under way", visits, err)
	}
}
