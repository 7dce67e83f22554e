package sidecar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// maxBases bounds the attempts that are remembered, some 150 bytes each. Beyond
// it those of the key that was first sent longest ago are forgotten.
const maxBases = 1 << 16

// attempt is one signed request: what names its signature, the manifest that was
// assessed for it, the agreement that it was made under, and when it was signed.
type attempt struct {
	base, mft, agr iatp.Digest
	at             time.Time // in seconds; zero in what earlier versions kept
}

// attempts is a view of the flight log: the attempts to have a key of a caller
// executed by a peer. A repetition is answered with the receipt of the attempt
// that was executed, which may be one of another exchange, or of the process
// before this one (hardening 19).
type attempts struct {
	mu    sync.Mutex
	bases map[string][]attempt // by the alias of peer and key
	order []string             // aliases, the first one sent first
	held  int                  // attempts in all
}

// attemptNote is the note of a forward line: the alias of the caller's key, if
// there is one.
func attemptNote(alias string) string {
	if alias == "" {
		return ""
	}
	return "key " + alias
}

// readAttempt reads a forward line of a call with a caller's key. The search for it
// is a filter only: another member may hold the same words. Lines of the first version have
// the base in the note.
func readAttempt(line []byte) (alias string, one attempt, ok bool) {
	if !flight.IsOf(line, flight.Forward) || !bytes.Contains(line, []byte("key ")) {
		return "", one, false
	}
	alias, one, ok = readSent(line)
	return alias, one, ok && alias != ""
}

// readSent reads a forward line of a signed request: alias is "" if no key of a caller
// is on it.
func readSent(line []byte) (alias string, one attempt, ok bool) {
	var l struct {
		Type     flight.Type `json:"type"`
		Dir      flight.Dir  `json:"dir"`
		Base     string      `json:"base"`
		Note     string      `json:"note"`
		Manifest string      `json:"manifest"`
		Agr      string      `json:"agr"`
		Time     time.Time   `json:"timestamp"`
	}
	if !flight.IsOf(line, flight.Forward) || json.Unmarshal(line, &l) != nil || l.Type != flight.Forward || l.Dir != flight.Out {
		return "", one, false
	}
	if l.Base == "" {
		text, _ := strings.CutPrefix(l.Note, "base ")
		base, rest, _ := strings.Cut(text, " ")
		l.Base, l.Note = base, rest
	}
	if text, found := strings.CutPrefix(l.Note, "key "); found {
		alias = text
	}
	base, err := iatp.ParseBase64URL(l.Base)
	one.base = base
	one.mft, _ = iatp.ParseContentDigest(l.Manifest) // zero if there was none
	one.agr, _ = iatp.ParseBase64URL(l.Agr)
	one.at = l.Time.Truncate(time.Second)
	return alias, one, err == nil
}

// find returns the attempt with that base.
func (a *attempts) find(alias string, base iatp.Digest) (attempt, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.bases[alias], func(one attempt) bool { return one.base == base })
	if i < 0 {
		return attempt{}, false
	}
	return a.bases[alias][i], true
}

// Apply learns from one line of the log.
func (a *attempts) Apply(_ int64, line []byte) {
	alias, one, ok := readAttempt(line)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.add(alias, one)
}

// add needs mu.
func (a *attempts) add(alias string, one attempt) {
	if a.bases[alias] == nil {
		a.order = append(a.order, alias)
	}
	a.bases[alias] = append(a.bases[alias], one)
	for a.held++; a.held > maxBases; {
		first := a.order[0]
		a.held -= len(a.bases[first])
		delete(a.bases, first)
		a.order = a.order[1:]
	}
}

// sentBefore is an attempt of a snapshot: alias, base, manifest and agreement or "",
// and when it was, in seconds since 1970 or "".
type sentBefore [5]string

// Snapshot is the state that Restore takes back, the first key first.
func (a *attempts) Snapshot() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]sentBefore, 0, a.held)
	for _, alias := range a.order {
		for _, one := range a.bases[alias] {
			all = append(all, sentBefore{alias, one.base.Base64URL(), orNothing(one.mft), orNothing(one.agr), strconv.FormatInt(one.at.Unix(), 10)})
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings always marshal
	}
	return b
}

// orNothing is a digest in base64url, "" for none.
func orNothing(d iatp.Digest) string {
	if d.IsZero() {
		return ""
	}
	return d.Base64URL()
}

// Restore puts back a snapshot.
func (a *attempts) Restore(snapshot []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bases, a.order, a.held = map[string][]attempt{}, nil, 0
	var all []sentBefore
	err := json.Unmarshal(snapshot, &all)
	for _, s := range all {
		var one attempt
		var bad error
		one.base, bad = iatp.ParseBase64URL(s[1])
		err = errors.Join(err, bad)
		for i, d := range []*iatp.Digest{&one.mft, &one.agr} {
			if s[2+i] != "" {
				*d, bad = iatp.ParseBase64URL(s[2+i])
				err = errors.Join(err, bad)
			}
		}
		if s[4] != "" {
			at, bad := strconv.ParseInt(s[4], 10, 64)
			one.at, err = time.Unix(at, 0), errors.Join(err, bad)
		}
		a.add(s[0], one)
	}
	if err != nil {
		a.bases, a.order, a.held = map[string][]attempt{}, nil, 0
		return fmt.Errorf("snapshot of attempts: %w", err)
	}
	return nil
}
