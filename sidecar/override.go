package sidecar

import (
	"container/list"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// confirmWindow is how long a 449 can be answered by sending the same request
// again with X-User-Override: true (protocol.md, decision 2).
const confirmWindow = 5 * time.Minute

// maxClaims bounds the open questions of the confirm mode. When full, the
// oldest is forgotten: its caller is asked again, nothing is released.
const maxClaims = 16384

// action names the decision that a person would release: SHA-256 of the
// canonical JSON of everything that matters about the call (hardening 36).
type action [sha256.Size]byte

func (a action) String() string { return base64.RawURLEncoding.EncodeToString(a[:]) }

// question is a call that was asked about.
type question struct {
	key     action // the action with n = null: what a repetition is recognised by
	n       string // the 128-bit number of this 449
	expires time.Time
	used    bool // answered: kept until it expires, see askAgain
}

// claims are the open questions of the confirm mode. Each can be used once.
type claims struct {
	mu    sync.Mutex
	byKey map[action]*list.Element // of *question
	order *list.List               // oldest first
	now   func() time.Time
}

func newClaims(now func() time.Time) *claims {
	return &claims{byKey: map[action]*list.Element{}, order: list.New(), now: now}
}

// ask opens the question, anew if it was open or used.
func (c *claims) ask(key action) *question {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open(key)
}

// askAgain asks a caller who sent the override already. It opens the question,
// unless that was used up in this window: then it returns nil, and the caller
// must ask without the override first. Or else, of many who send the same
// override at once, each refusal would open the question for the next one.
func (c *claims) askAgain(key action) *question {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[key]; e != nil {
		if q := e.Value.(*question); q.used && c.now().Before(q.expires) {
			return nil
		}
	}
	return c.open(key)
}

// open makes room and the question. The lock is held.
func (c *claims) open(key action) *question {
	q := &question{key: key, n: newNumber(), expires: c.now().Add(confirmWindow)}
	c.forget(c.byKey[key])
	for c.order.Len() >= maxClaims {
		c.forget(c.order.Front())
	}
	for e := c.order.Front(); e != nil && !c.now().Before(e.Value.(*question).expires); e = c.order.Front() {
		c.forget(e)
	}
	c.byKey[key] = c.order.PushBack(q)
	return q
}

// take uses the question up. Of two callers at once, one gets it.
func (c *claims) take(key action) (*question, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[key]
	if e == nil {
		return nil, false
	}
	q := e.Value.(*question)
	if q.used || !c.now().Before(q.expires) {
		return nil, false
	}
	q.used = true
	return q, true
}

func (c *claims) forget(e *list.Element) {
	if e == nil {
		return
	}
	delete(c.byKey, e.Value.(*question).key)
	c.order.Remove(e)
}

func newNumber() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}

// actionDigest is the digest of this exchange's action with the given n ("" is
// null). Members that have no value are null, as the profile wants all of them
// present. Who would get the call is named by what we verified or were
// configured with: an agent_id is anybody's to say (hardening 5).
func (x *exchange) actionDigest(n string) action {
	b := make([]byte, 0, 1024)
	target, uri, jkt := "/proxy", "local:"+string(x.st.manifest.Identity.AgentID), ""
	if x.met != nil {
		target, uri = x.met.Peer.URI+taskPath, x.met.Peer.URI
		if x.met.Key != (iatp.Key{}) {
			jkt = x.met.Key.Thumbprint()
		}
	}
	amount := ""
	if !x.in.budget.IsZero() {
		amount = x.in.budget.Amount()
	}
	orNull := func(value string) {
		if value == "" {
			b = append(b, "null"...)
			return
		}
		b = ijson.AppendString(b, value)
	}
	str := func(name, value string) {
		b = append(b, ',', '"')
		b = append(append(b, name...), '"', ':')
		orNull(value)
	}
	// Members in the order of RFC 8785, so that the bytes are canonical as written.
	b = append(b, `{"agr":`...)
	orNull(agreementID(x.agreed))
	str("budget", amount)
	str("cd", "sha-256=:"+base64.StdEncoding.EncodeToString(x.bodySum[:])+":")
	str("ct", x.in.contentType)
	str("cur", x.in.budget.Currency())
	b = append(b, `,"facts":null`...)
	str("hdr", x.in.forwardedDigest())
	str("key", x.in.idempotencyKey)
	str("method", http.MethodPost)
	str("n", n)
	b = append(b, `,"peer":{"jkt":`...)
	orNull(jkt)
	str("mft", x.st.digest)
	str("uri", uri)
	b = append(b, `},"reasons":[`...)
	for i, code := range x.verdict.Codes() {
		if i > 0 {
			b = append(b, ',')
		}
		b = ijson.AppendString(b, code)
	}
	b = fmt.Appendf(b, `],"score":%d`, x.st.assessment.Score)
	str("uri", target)
	b = append(b, `,"v":1}`...)
	return sha256.Sum256(b)
}

// override is how one exchange was released.
type override struct {
	mode  OverrideMode
	actor string // what can honestly be said of who it was
	act   action
}

// overrideRefused says why the header did not release anything, when that is
// worth telling. The caller is asked as if it had not been sent.
type overrideRefused string

// tryOverride judges X-User-Override on a call that is asked about. It returns
// nil and a reason if the call stays asked.
func (s *Sidecar) tryOverride(x *exchange) (*override, overrideRefused) {
	if x.in.override == "" {
		return nil, ""
	}
	switch s.overrideMode {
	case OverrideConfirm:
		if x.in.override != "true" {
			return nil, "the header must be: X-User-Override: true"
		}
		q, ok := s.claims.take(x.actionDigest(""))
		if !ok {
			return nil, "only the very request that was asked about in the last five minutes is released, and once; send it without the header to be asked"
		}
		return &override{OverrideConfirm, "unverified-local", x.actionDigest(q.n)}, ""
	case OverrideLoopback:
		if x.in.override != "true" {
			return nil, "the header must be: X-User-Override: true"
		}
		return &override{OverrideLoopback, "unverified-local", x.actionDigest("")}, ""
	case OverrideToken:
		if subtle.ConstantTimeCompare([]byte(x.in.override), s.overrideToken) != 1 {
			return nil, "the override token does not match"
		}
		return &override{OverrideToken, "token", x.actionDigest("")}, ""
	default:
		return nil, "this sidecar accepts no override (override: off)"
	}
}

// relayMarks are the headers that say somebody stood between the caller and
// us. A person at this machine sends none of them (protocol 4).
var relayMarks = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "X-Real-Ip"}

// relayed names the first relay mark of a request, or "".
func relayed(h http.Header) string {
	for _, name := range relayMarks {
		if _, ok := h[name]; ok {
			return name
		}
	}
	for name := range h {
		if strings.HasPrefix(name, "X-Forwarded-") {
			return name
		}
	}
	return ""
}

// weakTokens are secrets that are none.
var weakTokens = []string{"0123456789abcdef", "1234567890123456", "changemechangeme", "passwordpassword", "secretsecretsecret", "abcdefghijklmnop"}

// readSecret reads a token file: 16 characters or more, readable by its owner
// only, not one of the famous ones.
func readSecret(key, path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: %s can be read by others (mode %04o): chmod 600 it", key, path, info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	token := strings.TrimSpace(string(data))
	if len(token) < 16 || len(token) > 4096 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("%s: %s must hold 16 or more printable characters without spaces", key, path)
	}
	if strings.Count(token, token[:1]) == len(token) {
		return nil, fmt.Errorf("%s: %s holds one character repeated: use random ones", key, path)
	}
	for _, weak := range weakTokens {
		if strings.EqualFold(token, weak) {
			return nil, fmt.Errorf("%s: %s holds a well-known token: use random characters", key, path)
		}
	}
	return []byte(token), nil
}

// operatorToken reads the operator's token, or makes one at first start.
func operatorToken(path string) ([]byte, error) {
	token, err := readSecret("operator_token", path)
	if !errors.Is(err, os.ErrNotExist) {
		return token, err
	}
	fresh := newNumber() + newNumber()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make operator token: %w", err)
	}
	if _, err = f.WriteString(fresh + "\n"); err == nil {
		err = f.Sync()
	}
	return []byte(fresh), errors.Join(err, f.Close())
}

// approvalHint is what the 449 says about how it can be released. In the confirm
// mode q is the open question, nil if there is none.
func (s *Sidecar) approvalHint(q *question, x *exchange) *iatp.Approval {
	a := &iatp.Approval{Modes: []string{}}
	switch s.overrideMode {
	case OverrideConfirm:
		if q != nil {
			a.Action = x.actionDigest(q.n).String()
			a.ExpiresAt = q.expires.UTC()
		}
		a.Modes = append(a.Modes, "header")
	case OverrideLoopback:
		a.Action = x.actionDigest("").String()
		a.Modes = append(a.Modes, "header")
	case OverrideToken:
		a.Action = x.actionDigest("").String()
		a.Modes = append(a.Modes, "token")
	}
	return a
}
