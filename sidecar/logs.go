package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/handshake"
	"github.com/inter-agent-trust/iatp/internal/witness"
)

const (
	// logInterval is how often the log of a peer is looked at while calls go to it
	// or come from it. Nobody waits for that.
	logInterval = 5 * time.Minute

	// logTime bounds one look at a log, and the question at start what peers have
	// seen of ours.
	logTime = 5 * time.Second
)

// logWatch looks at the logs of the peers that we exchange calls with, and asks
// them what they have seen of ours.
type logWatch struct {
	seen *witness.Book

	mu   sync.Mutex
	next map[string]time.Time // by peer: not before
	back error                // why our own log must not go on; nil if it may

	running context.Context // ends with close
	stop    context.CancelFunc
	looks   sync.WaitGroup
}

func (s *Sidecar) openLogWatch() (*logWatch, error) {
	seen, err := witness.Open(s.book, s.now)
	if err != nil {
		return nil, err
	}
	w := &logWatch{seen: seen, next: map[string]time.Time{}}
	w.running, w.stop = context.WithCancel(context.Background())
	return w, nil
}

// close ends the looks under way and waits for them; none begins afterwards.
func (w *logWatch) close() {
	w.mu.Lock()
	w.stop()
	w.mu.Unlock()
	w.looks.Wait()
}

// begin looks at the log of a peer, if it is time, without waiting for that.
func (w *logWatch) begin(uri string, now time.Time, look func(context.Context)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Before(w.next[uri]) || w.running.Err() != nil {
		return
	}
	w.next[uri] = now.Add(logInterval)
	w.looks.Go(func() {
		ctx, cancel := context.WithTimeout(w.running, logTime)
		defer cancel()
		look(ctx)
	})
}

// setBack returns why our own log must not go on.
func (w *logWatch) setBack() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.back
}

// watchLog has the log of a configured peer looked at, if it is time, without
// keeping the call waiting.
func (s *Sidecar) watchLog(name, uri string) {
	if name != "" {
		s.mesh.logs.begin(uri, s.now(), func(ctx context.Context) { s.lookAtLog(ctx, name) })
	}
}

// lookAtLog compares what a peer's log has signed for with what it had before, and
// ours with what the peer has seen of it.
func (s *Sidecar) lookAtLog(ctx context.Context, name string) {
	met, problem := s.mesh.peers().Meet(ctx, name)
	if problem != nil || met.Manifest == nil || met.Key == (iatp.Key{}) {
		return // nobody who could be held to a log
	}
	get := func(ctx context.Context, path string) (int, []byte, error) { return s.getSigned(ctx, met, path) }
	s.compareOwn(ctx, met.Peer.URI, get)
	if met.Manifest.Identity.Log == "" {
		return
	}
	found, err := s.compareTheirs(ctx, met, get)
	switch {
	case errors.Is(err, witness.ErrNotShown):
		s.metrics.logLooks.WithLabelValues("not_shown").Inc()
		s.log.Warn("the flight log of a peer cannot be looked at", "peer", met.Peer.URI, "error", err)
	case err != nil: // the book refuses; so does every call now
		s.log.Error("the state of a peer's flight log cannot be recorded", "peer", met.Peer.URI, "error", err)
	case found == "" || found == witness.Seen || found == witness.NewKey:
		s.metrics.logLooks.WithLabelValues("good").Inc()
	default:
		s.metrics.logLooks.WithLabelValues(found).Inc()
		s.log.Error("the flight log of a peer contradicts what it has signed; the peer is untrusted until it is forgotten", "peer", met.Peer.URI,
			"what", found, "evidence", s.mesh.logs.seen.Of(met.Peer.URI).Seq, "remedy", "ask its operator what happened; then: iatp peers forget")
	}
}

// compareTheirs looks at the log that the manifest of a peer names. If a manifest of
// this moment names another one, that is looked at.
func (s *Sidecar) compareTheirs(ctx context.Context, met *handshake.Met, get witness.Get) (found string, err error) {
	for range 2 {
		vkey := met.Manifest.Identity.Log
		if vkey == "" {
			break
		}
		renew := func(ctx context.Context) (string, error) {
			now, problem := s.mesh.peers().Renew(ctx, met.Peer.Name)
			if problem != nil {
				return "", errors.New(problem.Error)
			}
			if now.Manifest == nil || now.Key == (iatp.Key{}) {
				return "", errors.New("its manifest cannot be had")
			}
			met = now
			return now.Manifest.Identity.Log, nil
		}
		found, err = s.mesh.logs.seen.Look(ctx, witness.Peer{URI: met.Peer.URI, JKT: met.Key.Thumbprint(), VKey: vkey, Renew: renew}, get)
		if met.Manifest.Identity.Log == vkey {
			break
		}
	}
	return found, err
}

// getSigned asks a peer for a path, signed by us. No redirect is followed, and the
// answer is bounded.
func (s *Sidecar) getSigned(ctx context.Context, met *handshake.Met, path string) (int, []byte, error) {
	target := met.Peer.URI + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header = http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {userAgent}}
	if _, err := s.sign(&exchange{own: s.standing.Load()}, req.Method, target, req.Header); err != nil {
		return 0, nil, err
	}
	resp, err := met.Transport.RoundTrip(req)
	if err != nil {
		return 0, nil, errors.New("the peer does not answer")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, witness.MaxAnswer+1))
	if err == nil && len(body) > witness.MaxAnswer {
		err = errors.New("the answer is too long")
	}
	return resp.StatusCode, body, err
}

// seenPath is where a peer says what it has seen of its caller's log.
const seenPath = "/log/seen"

// errSetBack is why a log that was restored from a backup must not go on: it would
// sign a second history for positions that somebody has proof of.
var errSetBack = errors.New("the flight log is older than what it has signed for")

// compareOwn asks a peer what it has seen of our log. It cannot make that up: we
// have signed it.
func (s *Sidecar) compareOwn(ctx context.Context, uri string, get witness.Get) {
	status, text, err := get(ctx, seenPath)
	if err != nil || status != http.StatusOK {
		return
	}
	if err := s.checkOwn(uri, text); err != nil {
		s.mesh.logs.mu.Lock()
		s.mesh.logs.back = err
		s.mesh.logs.mu.Unlock()
		s.log.Error("calls are refused", "error", err)
	}
}

// checkOwn compares a state of our log that a peer holds with the log as it is.
func (s *Sidecar) checkOwn(uri string, text []byte) error {
	vkey, err := s.logKey()
	if err != nil {
		return nil
	}
	held, err := flight.ParseCheckpoint(text, vkey)
	if err != nil {
		return nil // not by us: of a log that was here before, or made up
	}
	state, err := s.archive.State()
	if err != nil {
		return nil
	}
	wrong := ""
	if root, err := state.Root(held.Size); errors.Is(err, flight.ErrAhead) {
		wrong = fmt.Sprintf("it has %d records", state.Checkpoint.Size)
	} else if err == nil && root != held.Root {
		wrong = "its records are others"
	}
	if wrong == "" {
		return nil
	}
	return fmt.Errorf("%w: %s holds our signature for %d records, but %s; was %s restored from a backup, or is a copy of it in use? "+
		"Restore the newest one, or keep this one for reading and begin a new log (doc/operating.md, Backup and restore)",
		errSetBack, uri, held.Size, wrong, s.cfg.Data)
}

// setBack returns why our log must not go on, nil if it may.
func (s *Sidecar) setBack() error {
	if s.mesh == nil {
		return nil
	}
	return s.mesh.logs.setBack()
}

func (s *Sidecar) oldLog() *iatp.Problem {
	return &iatp.Problem{Slug: iatp.SlugLogUnavailable, Status: http.StatusServiceUnavailable, Outcome: iatp.OutcomeNone,
		Error: errSetBack.Error() + ", so nothing is forwarded", Hint: "the sidecar's own log says who has seen more of it, and what to do"}
}

// askPeers asks, before anything is served, what the peers that we know have seen of
// our log (hardening 25). A peer that does not answer in time is asked again when a call
// goes to it or comes from it.
func (s *Sidecar) askPeers() error {
	if s.mesh == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.mesh.logs.running, logTime)
	defer cancel()
	var wg sync.WaitGroup
	for name, p := range s.active.Load().Peers {
		if s.mesh.logs.seen.Of(p.principal()).Verdict == "" {
			continue // it has seen nothing of ours that we know of
		}
		wg.Go(func() {
			if met, problem := s.mesh.peers().Meet(ctx, name); problem == nil {
				s.compareOwn(ctx, met.Peer.URI, func(ctx context.Context, path string) (int, []byte, error) { return s.getSigned(ctx, met, path) })
			}
		})
	}
	wg.Wait()
	return s.mesh.logs.setBack()
}

// publicInterval is how often the state of our log changes for those who are nobody
// to us: how much we do is not theirs to watch (hardening 29).
const publicInterval = time.Minute

// published is the state of the log that everybody may see.
type publishedState struct {
	mu   sync.Mutex
	at   time.Time
	text []byte
}

func (p *publishedState) get(now time.Time, latest func() ([]byte, error)) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := now.Truncate(publicInterval); p.text == nil || !at.Equal(p.at) {
		text, err := latest()
		if err != nil {
			return nil, err
		}
		p.at, p.text = at, text
	}
	return p.text, nil
}

// publicLog serves the routes of the log on the public listener: the state to
// everybody, at a slow rate; the rest to peers of the configuration.
func (s *Sidecar) publicLog(w http.ResponseWriter, r *http.Request, path string) {
	if s.setBack() != nil {
		s.refuse(w, s.oldLog())
		return
	}
	if path == witness.CheckpointPath && r.Header.Get(iatp.HeaderSignatureInput) == "" {
		s.get(w, r, func(w http.ResponseWriter, r *http.Request) {
			text, err := s.mesh.published.get(s.now(), s.book.Checkpoint)
			if err != nil {
				s.refuse(w, s.logUnavailable(err))
				return
			}
			writeBytes(w, r, http.StatusOK, noteType, text)
		})
		return
	}
	s.serveSigned(w, r, http.MethodGet, func(x *exchange) *iatp.Problem {
		if x.caller.Name == "" {
			return noLog()
		}
		s.watchLog(x.caller.Name, x.caller.URI)
		if path == seenPath {
			return s.showSeen(x)
		}
		return s.logRoute(x.w, x.r, path)
	})
}

// noteType is the media type of checkpoints and proofs.
const noteType = "text/plain; charset=utf-8"

func noLog() *iatp.Problem {
	return &iatp.Problem{Slug: iatp.SlugNotFound, Status: http.StatusNotFound, Error: "there is nothing at this path for this caller"}
}

// showSeen shows a peer what we have seen of its log.
func (s *Sidecar) showSeen(x *exchange) *iatp.Problem {
	seen := s.mesh.logs.seen.Of(x.caller.URI)
	if seen.Checkpoint == "" {
		return noLog()
	}
	writeBytes(x.w, x.r, http.StatusOK, noteType, []byte(seen.Checkpoint))
	return nil
}

// logRoute answers with a state, a proof or a tile, all for what is on the disk.
func (s *Sidecar) logRoute(w http.ResponseWriter, r *http.Request, path string) *iatp.Problem {
	if path == "/log/proof" {
		s.serveProof(w, r)
		return nil
	}
	state, err := s.archive.State()
	if err != nil {
		return s.logUnavailable(err)
	}
	if path == witness.CheckpointPath {
		writeBytes(w, r, http.StatusOK, noteType, state.Checkpoint.Text)
		return nil
	}
	if path == witness.ConsistencyPath {
		return s.serveConsistency(w, r, state)
	}
	tile, ok := strings.CutPrefix(path, "/log/tile/")
	if !ok {
		return noLog()
	}
	data, err := state.Tile(tile)
	if err != nil {
		return noLog()
	}
	writeBytes(w, r, http.StatusOK, "application/octet-stream", data)
	return nil
}

// serveConsistency proves that the log grew out of what it was. For a size that
// it has not reached it answers 409 with the state that it has.
func (s *Sidecar) serveConsistency(w http.ResponseWriter, r *http.Request, state *flight.State) *iatp.Problem {
	old, err := count(r.URL.Query().Get("old"), -1, 0, 1<<53)
	if err != nil || old < 0 {
		return badRequest(iatp.SlugInvalidRequest, "old: must be a number of records")
	}
	proof, err := state.ProveSince(old)
	switch {
	case errors.Is(err, flight.ErrAhead):
		writeBytes(w, r, http.StatusConflict, noteType, state.Checkpoint.Text)
	case err != nil:
		return s.logUnavailable(err)
	default:
		writeBytes(w, r, http.StatusOK, noteType, proof)
	}
	return nil
}
