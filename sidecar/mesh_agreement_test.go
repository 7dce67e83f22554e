package sidecar_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// made are the agreements that a node's flight recorder has, by id.
func made(t testing.TB, n *iatptest.Node) map[string]*iatp.Agreement {
	t.Helper()
	archive, err := flight.OpenArchive(n.Data)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*iatp.Agreement{}
	for rec, err := range archive.Lines(0) {
		if err != nil {
			t.Fatal(err)
		}
		var l struct {
			Type, Reason, Agr string
			Payload           json.RawMessage
		}
		if err := json.Unmarshal(rec.Line, &l); err != nil {
			t.Fatal(err)
		}
		if l.Type != "agreement" || l.Reason != "made" {
			continue
		}
		a, err := iatp.ParseAgreement(l.Payload)
		if err != nil || a.ID().Base64URL() != l.Agr || all[l.Agr] != nil {
			t.Errorf("the line of an agreement: %v, %s", err, rec.Line)
			continue
		}
		all[l.Agr] = a
	}
	return all
}

// theOne is the one agreement that two nodes have, which both have.
func theOne(t testing.TB, a, b *iatptest.Node) string {
	t.Helper()
	of, with := slices.Collect(maps.Keys(made(t, a))), slices.Collect(maps.Keys(made(t, b)))
	if len(of) != 1 || !slices.Equal(of, with) {
		t.Fatalf("a has agreed %v, b %v; want one, the same", of, with)
	}
	return of[0]
}

// agreeing sets who wants an agreement.
func agreeing(egress, ingress string, change func(a, b *iatptest.Options)) func(a, b *iatptest.Options) {
	return func(a, b *iatptest.Options) {
		of, with := a.Config, b.Config
		a.Config = func(c *sidecar.Config) {
			of(c)
			p := c.Peers["b"]
			p.Agreement = egress
			c.Peers["b"] = p
		}
		b.Config = func(c *sidecar.Config) { with(c); c.Ingress.Agreement = ingress }
		if change != nil {
			change(a, b)
		}
	}
}

// posts counts the requests for a path that go over the wire.
func (p *pair) posts(path string) func() int {
	var mu sync.Mutex
	n := 0
	p.tap(func(request []byte) []byte {
		if bytes.HasPrefix(request, []byte("POST "+path+" ")) {
			mu.Lock()
			n++
			mu.Unlock()
		}
		return request
	}, nil)
	return func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// agrOf is the agreement that a receipt names.
func agrOf(t testing.TB, p *pair, r *iatptest.Reply) string {
	t.Helper()
	key, err := iatp.ParseKey(p.pinB)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := iatp.NewKeySet(iatp.DirectoryKey{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := iatp.VerifyReceipt(r.Header.Get("Iatp-Receipt"), keys)
	if err != nil {
		t.Fatalf("%d %s: %v", r.Status, r.Body, err)
	}
	return receipt.Agr.Base64URL()
}

// Where one side wants an agreement there is one, whoever that is; it is made once,
// however many calls want it at the same time, whoever is restarted or killed.
func TestAgreementIsMadeOnce(t *testing.T) {
	for _, c := range []struct{ egress, ingress string }{{"require", "require"}, {"require", ""}, {"", "require"}} {
		t.Run(c.egress+"-"+c.ingress, func(t *testing.T) {
			var optA iatptest.Options
			p := wired(t, agreeing(c.egress, c.ingress, func(a, b *iatptest.Options) { optA = *a }))
			proposals := p.posts("/agreements")
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if r := post(t, p.a, "/proxy/b", bookNYC, nil); r.Status != 200 {
						t.Errorf("%d %s", r.Status, r.Body)
					}
				})
			}
			wg.Wait()
			id := theOne(t, p.a, p.b)
			again := func(when string) {
				t.Helper()
				r := post(t, p.a, "/proxy/b", bookNYC, nil)
				clean(t, when, r)
				if got := agrOf(t, p, r); r.Status != 200 || got != id {
					t.Errorf("%s: %d, the receipt names agreement %s, want %s", when, r.Status, got, id)
				}
				if got := theOne(t, p.a, p.b); got != id || proposals() != 1 {
					t.Errorf("%s: agreement %s, %d proposals", when, got, proposals())
				}
			}
			again("at once")
			p.crashB(t)
			again("after b was killed")
			left := t.TempDir()
			copyTree(t, p.a.Data, left) // the moment of death
			if err := p.a.Stop(); err != nil {
				t.Fatal(err)
			}
			optA.Data = left
			p.a = iatptest.Start(t, optA)
			again("after a was killed")
			if n := len(p.agent.Seen()); n != 11 {
				t.Errorf("b's agent was called %d times, want 11", n)
			}
		})
	}
}

// Nobody wants one, or the operator of a does not: then there is none.
func TestNoAgreement(t *testing.T) {
	a, b := iatptest.Pair(t, nil)
	if r := post(t, a, "/proxy/b", bookNYC, nil); r.Status != 200 || len(made(t, a))+len(made(t, b)) != 0 {
		t.Errorf("nobody asked: %d, agreements %v %v", r.Status, made(t, a), made(t, b))
	}
	a, b = iatptest.Pair(t, agreeing("off", "require", nil))
	r := post(t, a, "/proxy/b", bookNYC, nil)
	if r.Status != 428 || slugOf(t, r) != iatp.SlugAgreementRequired || len(made(t, a))+len(made(t, b)) != 0 || len(b.Agent.Seen()) != 0 {
		t.Errorf("b asks and a does not want: %d %s", r.Status, r.Body)
	}
	if end := last(t, a, r); end["outcome"] != "none" {
		t.Errorf("a's record says %v, want none: b has proven it", end["outcome"])
	}
}

// An agreement ends with the manifest of either side: nothing is executed under
// the old one, and the next call makes a new one.
func TestAgreementEndsWithAManifest(t *testing.T) {
	var cfgA, cfgB sidecar.Config
	p := wired(t, agreeing("require", "require", func(a, b *iatptest.Options) {
		of, with := a.Config, b.Config
		a.Config = func(c *sidecar.Config) { of(c); cfgA = *c }
		b.Config = func(c *sidecar.Config) { with(c); cfgB = *c }
	}))
	call := func() *iatptest.Reply { t.Helper(); return post(t, p.a, "/proxy/b", bookNYC, nil) }
	first := call()
	if first.Status != 200 {
		t.Fatalf("%d %s", first.Status, first.Body)
	}
	cfgB.Manifest = writeFile(t, "b.json", strings.Replace(iatptest.Friend, "verified_partner", "trusted", 1), 0o600)
	if _, err := p.b.Sidecar.Reload(cfgB); err != nil {
		t.Fatal(err)
	}
	if r := call(); slugOf(t, r) != iatp.SlugTermsChanged || r.Problem(t)["outcome"] != "none" {
		t.Fatalf("b's manifest changed: %d %s, want terms-changed, none", r.Status, r.Body)
	}
	second := call()
	if second.Status != 200 || agrOf(t, p, second) == agrOf(t, p, first) {
		t.Fatalf("after b's change: %d %s, want 200 under another agreement", second.Status, second.Body)
	}
	cfgA.Manifest = writeFile(t, "a.json", strings.Replace(iatptest.Friend, "verified_partner", "standard", 1), 0o600)
	if _, err := p.a.Sidecar.Reload(cfgA); err != nil {
		t.Fatal(err)
	}
	third := call()
	if third.Status != 200 || agrOf(t, p, third) == agrOf(t, p, second) {
		t.Errorf("after a's change: %d %s, want 200 under another agreement", third.Status, third.Body)
	}
	if len(made(t, p.a)) != 3 || len(p.agent.Seen()) != 3 {
		t.Errorf("%d agreements, %d calls; want 3 of each", len(made(t, p.a)), len(p.agent.Seen()))
	}
}

// Each pair of a chain has an agreement of its own.
func TestAgreementsInAChain(t *testing.T) {
	var nodes []*iatptest.Node
	nodes = iatptest.Chain(t, 3, func(options []iatptest.Options) {
		for i := range options {
			known := options[i].Config
			options[i].Config = func(c *sidecar.Config) { known(c); c.Ingress.Agreement = "require" }
		}
		options[1].Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			req, _ := http.NewRequestWithContext(r.Context(), "POST", nodes[1].URL+"/proxy/c", strings.NewReader(bookNYC))
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body)
		})
	})
	a, b, c := nodes[0], nodes[1], nodes[2]
	for range 2 {
		if r := post(t, a, "/proxy/b", bookNYC, nil); r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
	}
	of, middle, end := made(t, a), made(t, b), made(t, c)
	if len(of) != 1 || len(middle) != 2 || len(end) != 1 || len(c.Agent.Seen()) != 2 {
		t.Errorf("agreements %d, %d, %d, want 1, 2, 1; c's agent was called %d times", len(of), len(middle), len(end), len(c.Agent.Seen()))
	}
	for id := range of {
		if middle[id] == nil || end[id] != nil {
			t.Errorf("the agreement of a and b stands with b: %v, with c: %v", middle[id] != nil, end[id] != nil)
		}
	}
}

// proposal is one that pa may make to pb on the manifests of now.
func proposal(t testing.TB, pa, pb *iatptest.Party, a, b *iatptest.Node) *iatp.Agreement {
	t.Helper()
	party := func(p *iatptest.Party, n *iatptest.Node) (iatp.Party, *iatp.Manifest) {
		m, err := iatp.ParseManifest(n.Get(t, "/capabilities", nil).Body)
		if err != nil {
			t.Fatal(err)
		}
		text, err := m.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digest, err := iatp.ParseContentDigest(text)
		if err != nil {
			t.Fatal(err)
		}
		return iatp.Party{URI: p.URL, JKT: p.Key.Thumbprint(), Manifest: digest}, m
	}
	initiator, _ := party(pa, a)
	responder, m := party(pb, b)
	terms, err := iatp.TermsOf(m)
	if err != nil {
		t.Fatal(err)
	}
	terms.Receipt = true
	now := time.Now().Unix()
	return &iatp.Agreement{Initiator: initiator, Responder: responder, Terms: terms, Iat: now, Exp: now + 600, Nonce: "0123456789abcdef"}
}

const hotel = `{"identity":{"agent_id":"hotel"},"trust_level":"verified_partner","scopes":["book","quote"],"capabilities":{"sla_latency_ms":60000},` +
	`"reversibility":{"level":"partial","undo_window_seconds":3600,"compensation_endpoint":"/compensate/{transaction_id}","max_fee":"50.00","currency":"USD"},"privacy":{"retention_policy":"temporary"}}`

// The responder signs the terms that its manifest offers, of whoever has signed the
// request, once; and it shows the agreement to its parties and to nobody else.
func TestProposals(t *testing.T) {
	pa, pb, pc := iatptest.NewParty(t), iatptest.NewParty(t), iatptest.NewParty(t)
	known := map[string]sidecar.Peer{"a": pa.AsPeer("trusted"), "c": pc.AsPeer("trusted")}
	b := iatptest.Start(t, iatptest.Options{Manifest: hotel, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers, c.Limits.PerPeer = known, plenty
	}})
	a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: pa.Listen})
	propose := func(who *iatptest.Party, change func(*iatp.Agreement), by iatp.PrivateKey) *iatptest.Reply {
		t.Helper()
		x := proposal(t, pa, pb, a, b)
		if change != nil {
			change(x)
		}
		if err := x.Sign(by); err != nil {
			t.Fatal(err)
		}
		doc, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		return says(t, who, "POST", pb.URL+"/agreements", string(doc), nil, nil)
	}
	usd := func(amount string) iatp.Money {
		m, err := iatp.ParseMoney(amount, "USD")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	day := int64(86400)
	other := iatp.DigestOf([]byte("another"))
	for name, c := range map[string]struct {
		change func(*iatp.Agreement)
		by     *iatptest.Party
		status int
		slug   string
	}{
		"full undo":                {func(x *iatp.Agreement) { x.Terms.Reversibility = iatp.ReversibilityFull }, pa, 409, iatp.SlugTermsRejected},
		"no undo":                  {func(x *iatp.Agreement) { x.Terms.Reversibility = "" }, pa, 409, iatp.SlugTermsRejected},
		"a longer window":          {func(x *iatp.Agreement) { x.Terms.UndoWindowSeconds = &day }, pa, 409, iatp.SlugTermsRejected},
		"a lower fee":              {func(x *iatp.Agreement) { x.Terms.MaxFee = usd("49.99") }, pa, 409, iatp.SlugTermsRejected},
		"a higher fee":             {func(x *iatp.Agreement) { x.Terms.MaxFee = usd("50.01") }, pa, 409, iatp.SlugTermsRejected},
		"nothing kept":             {func(x *iatp.Agreement) { x.Terms.RetentionPolicy = iatp.RetentionEphemeral }, pa, 409, iatp.SlugTermsRejected},
		"another scope":            {func(x *iatp.Agreement) { x.Terms.Scopes = []string{"pay"} }, pa, 409, iatp.SlugTermsRejected},
		"any scope":                {func(x *iatp.Agreement) { x.Terms.Scopes = nil }, pa, 409, iatp.SlugTermsRejected},
		"faster":                   {func(x *iatp.Agreement) { x.Terms.SLALatencyMS = 1 }, pa, 409, iatp.SlugTermsRejected},
		"a budget over all":        {func(x *iatp.Agreement) { x.Terms.Budget = usd("5.00") }, pa, 409, iatp.SlugTermsRejected},
		"another manifest of b":    {func(x *iatp.Agreement) { x.Responder.Manifest = other }, pa, 409, iatp.SlugTermsChanged},
		"another manifest of a":    {func(x *iatp.Agreement) { x.Initiator.Manifest = other }, pa, 409, iatp.SlugTermsChanged},
		"to somebody else":         {func(x *iatp.Agreement) { x.Responder.URI = pc.URL }, pa, 400, iatp.SlugInvalidRequest},
		"under another key of b":   {func(x *iatp.Agreement) { x.Responder.JKT = pc.Key.Thumbprint() }, pa, 400, iatp.SlugInvalidRequest},
		"sent by somebody else":    {nil, pc, 400, iatp.SlugInvalidRequest},
		"in the name of a by c":    {func(x *iatp.Agreement) { x.Initiator.JKT = pc.Key.Thumbprint() }, pc, 400, iatp.SlugInvalidRequest},
		"ended":                    {func(x *iatp.Agreement) { x.Iat, x.Exp = x.Iat-600, x.Iat-1 }, pa, 400, iatp.SlugInvalidRequest},
		"not begun":                {func(x *iatp.Agreement) { x.Iat, x.Exp = x.Iat+600, x.Exp+600 }, pa, 400, iatp.SlugInvalidRequest},
		"the terms of the offer":   {nil, pa, 201, ""},
		"a part of the scopes":     {func(x *iatp.Agreement) { x.Terms.Scopes, x.Nonce = []string{"quote"}, "another-nonce---" }, pa, 201, ""},
		"without receipt promised": {func(x *iatp.Agreement) { x.Terms.Receipt, x.Nonce = false, "a-third-nonce---" }, pa, 201, ""},
	} {
		by := pa.Key
		if name == "in the name of a by c" {
			by = pc.Key
		}
		r := propose(c.by, c.change, by)
		if r.Status != c.status || slugOf(t, r) != c.slug {
			t.Errorf("%s: %d %s, want %d %s", name, r.Status, r.Body, c.status, c.slug)
		}
		if c.slug != iatp.SlugTermsRejected {
			continue
		}
		var said struct{ Counter json.RawMessage }
		if err := json.Unmarshal(r.Body, &said); err != nil {
			t.Fatal(err)
		}
		counter, err := iatp.ParseTerms(said.Counter)
		if want := proposal(t, pa, pb, a, b).Terms; err != nil || !cmp.Equal(counter, want, cmp.Comparer(func(a, b iatp.Money) bool { return a == b })) {
			t.Errorf("%s: the counter is %s (%v), want the terms of the manifest", name, said.Counter, err)
		}
	}

	first := propose(pa, func(x *iatp.Agreement) { x.Nonce, x.Iat, x.Exp = "the-very-same---", x.Iat-5, x.Iat+500 }, pa.Key)
	doc, err := iatp.ParseAgreement(first.Body)
	if err != nil || first.Status != 201 || first.Header.Get("Location") != "/agreements/"+doc.ID().Base64URL() {
		t.Fatalf("%d %s to %q: %v", first.Status, first.Body, first.Header.Get("Location"), err)
	}
	if signed, err := doc.Verify(pa.Key.Public(), pb.Key.Public()); !signed || err != nil {
		t.Errorf("the agreement: signed by both %v, %v", signed, err)
	}
	half := bytes.Replace(first.Body, first.Body[bytes.LastIndex(first.Body, []byte(`,{"protected"`)):], []byte(`]}`), 1)
	for range 2 {
		if r := says(t, pa, "POST", pb.URL+"/agreements", string(half), nil, nil); r.Status != 200 || !bytes.Equal(r.Body, first.Body) {
			t.Errorf("the same proposal again: %d %s, want 200 and the same agreement", r.Status, r.Body)
		}
	}
	at := pb.URL + first.Header.Get("Location")
	if r := says(t, pa, "GET", at, "", nil, nil); r.Status != 200 || !bytes.Equal(r.Body, first.Body) {
		t.Errorf("shown to a: %d %s", r.Status, r.Body)
	}
	if r := says(t, pc, "GET", at, "", nil, nil); r.Status != 404 {
		t.Errorf("shown to c: %d %s, want 404", r.Status, r.Body)
	}
	if r := says(t, pa, "GET", pb.URL+"/agreements/"+other.Base64URL(), "", nil, nil); r.Status != 404 {
		t.Errorf("one that is not there: %d %s, want 404", r.Status, r.Body)
	}
	if r, err := http.Get(at); err != nil || r.StatusCode != 403 {
		t.Errorf("unsigned: %v %v, want 403", r, err)
	} else {
		r.Body.Close()
	}

	// What is executed under it is within its scopes, and no third party's.
	under := func(h http.Header) {
		h.Set("IATP-Agreement", doc.ID().ByteSequence())
		h.Set("IATP-Manifest", doc.Responder.Manifest.ByteSequence())
	}
	for name, c := range map[string]struct {
		who    *iatptest.Party
		body   string
		status int
		slug   string
	}{
		"within":        {pa, `{"task":"book","data":1}`, 200, ""},
		"without":       {pa, `{"task":"pay","data":1}`, 403, iatp.SlugScope},
		"not named":     {pa, `{"data":1}`, 403, iatp.SlugScope},
		"another case":  {pa, `{"Task":"book"}`, 403, iatp.SlugScope},
		"a third party": {pc, `{"task":"book"}`, 428, iatp.SlugAgreementRequired},
	} {
		if r := says(t, c.who, "POST", pb.URL+"/task", c.body, under, nil); r.Status != c.status || slugOf(t, r) != c.slug {
			t.Errorf("%s: %d %s, want %d %s", name, r.Status, r.Body, c.status, c.slug)
		}
	}
	if n := len(b.Agent.Seen()); n != 1 {
		t.Errorf("b's agent was called %d times, want 1", n)
	}
}

// A principal has room for some agreements in force, and no more.
func TestAgreementsAreBounded(t *testing.T) {
	pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
	b := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers, c.Limits.PerPeer = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}, plenty
	}})
	a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: pa.Listen})
	x := proposal(t, pa, pb, a, b)
	for i := range 17 {
		x.Nonce = fmt.Sprintf("nonce-%06d", i)
		if err := x.Sign(pa.Key); err != nil {
			t.Fatal(err)
		}
		doc, _ := json.Marshal(x)
		r := says(t, pa, "POST", pb.URL+"/agreements", string(doc), nil, nil)
		if i < 16 && r.Status != 201 || i == 16 && slugOf(t, r) != iatp.SlugOverloaded {
			t.Errorf("agreement %d: %d %s", i, r.Status, r.Body)
		}
	}
	if n := len(made(t, b)); n != 16 {
		t.Errorf("b has recorded %d agreements, want 16", n)
	}
}

// signs answers a proposal with a document.
func signs(t testing.TB, w http.ResponseWriter, status int, a *iatp.Agreement) {
	t.Helper()
	doc, err := json.Marshal(a)
	if err != nil {
		t.Error(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(doc)
}

// counter signs as the responder with that key, whoever the text names.
func counter(t testing.TB, a *iatp.Agreement, k iatp.PrivateKey) *iatp.Agreement {
	t.Helper()
	if err := a.Countersign(k); err != nil {
		t.Error(err)
	}
	return a
}

// A responder that gives back anything but the proposal with its signature under
// the key that the proposal names has agreed on nothing: the call is not sent.
func TestLiesInAgreements(t *testing.T) {
	a, l := startLiar(t, func(c *sidecar.Config) {
		p := c.Peers["b"]
		p.Agreement = "require"
		c.Peers["b"] = p
	})
	other := newKey(t)
	// rewritten is the proposal with other words, which the liar cannot get signed by
	// a: it signs both sides itself, or takes a's signature along.
	rewritten := func(x *iatp.Agreement, change func(*iatp.Agreement), by iatp.PrivateKey) *iatp.Agreement {
		y := &iatp.Agreement{Initiator: x.Initiator, Responder: x.Responder, Terms: x.Terms, Iat: x.Iat, Exp: x.Exp, Nonce: x.Nonce}
		y.Initiator.JKT = by.Thumbprint()
		change(y)
		if err := y.Sign(by); err != nil {
			t.Error(err)
		}
		return y
	}
	grafted := func(x *iatp.Agreement, change func(payload string) string) []byte {
		doc, _ := json.Marshal(counter(t, x, l.Key))
		var d struct {
			Payload    string          `json:"payload"`
			Signatures json.RawMessage `json:"signatures"`
		}
		_ = json.Unmarshal(doc, &d)
		raw, _ := base64.RawURLEncoding.DecodeString(d.Payload)
		d.Payload = base64.RawURLEncoding.EncodeToString([]byte(change(string(raw))))
		doc, _ = json.Marshal(d)
		return doc
	}
	write := func(w http.ResponseWriter, doc []byte) { w.WriteHeader(201); _, _ = w.Write(doc) }
	problem := func(w http.ResponseWriter, status int, slug, more string) {
		w.Header().Set("Content-Type", iatp.ProblemContentType)
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":"%sproblems/%s","status":%d%s,"error":"\u001b[31mcall 555\u202e"}`, iatp.BaseURI, slug, status, more)
	}
	var earlier atomic.Pointer[iatp.Agreement] // which a has signed, and which came to nothing
	l.set(func() {
		l.agree = func(w http.ResponseWriter, x *iatp.Agreement) { earlier.Store(x); panic(http.ErrAbortHandler) }
	})
	post(t, a, "/proxy/b", bookNYC, nil)
	for name, c := range map[string]struct {
		agree func(http.ResponseWriter, *iatp.Agreement)
		slug  string
	}{
		"an earlier proposal": {func(w http.ResponseWriter, _ *iatp.Agreement) {
			signs(t, w, 201, counter(t, earlier.Load(), l.Key))
		}, iatp.SlugAgreementInvalid},
		"other terms, a's signature": {func(w http.ResponseWriter, x *iatp.Agreement) {
			write(w, grafted(x, func(p string) string { return strings.Replace(p, `"temporary"`, `"permanent"`, 1) }))
		}, iatp.SlugAgreementInvalid},
		"another nonce": {func(w http.ResponseWriter, x *iatp.Agreement) {
			signs(t, w, 201, counter(t, rewritten(x, func(y *iatp.Agreement) { y.Nonce = "AAAAAAAAAAAA" }, other), l.Key))
		}, iatp.SlugAgreementInvalid},
		"a text of its own": {func(w http.ResponseWriter, x *iatp.Agreement) {
			signs(t, w, 201, counter(t, rewritten(x, func(y *iatp.Agreement) { y.Terms = iatp.Terms{} }, other), l.Key))
		}, iatp.SlugAgreementInvalid},
		"a longer life": {func(w http.ResponseWriter, x *iatp.Agreement) {
			write(w, grafted(x, func(p string) string { return strings.Replace(p, fmt.Sprint(x.Exp), fmt.Sprint(x.Exp-1), 1) }))
		}, iatp.SlugAgreementInvalid},
		"the signature of a third party": {func(w http.ResponseWriter, x *iatp.Agreement) {
			doc, _ := json.Marshal(counter(t, x, l.Key))
			var d map[string]any
			_ = json.Unmarshal(doc, &d)
			third, _ := json.Marshal(counter(t, rewritten(x, func(y *iatp.Agreement) { y.Responder.JKT = other.Thumbprint(); y.Initiator.JKT = l.Key.Thumbprint() }, l.Key), other))
			var e map[string]any
			_ = json.Unmarshal(third, &e)
			d["signatures"].([]any)[1] = e["signatures"].([]any)[1]
			doc, _ = json.Marshal(d)
			write(w, doc)
		}, iatp.SlugAgreementInvalid},
		"the initiator's signature twice": {func(w http.ResponseWriter, x *iatp.Agreement) {
			doc, _ := json.Marshal(x)
			var d map[string]any
			_ = json.Unmarshal(doc, &d)
			d["signatures"] = append(d["signatures"].([]any), d["signatures"].([]any)[0])
			doc, _ = json.Marshal(d)
			write(w, doc)
		}, iatp.SlugAgreementInvalid},
		"no signature":   {func(w http.ResponseWriter, x *iatp.Agreement) { signs(t, w, 201, x) }, iatp.SlugAgreementInvalid},
		"not JSON":       {func(w http.ResponseWriter, x *iatp.Agreement) { write(w, []byte("yes")) }, iatp.SlugAgreementInvalid},
		"endless":        {func(w http.ResponseWriter, x *iatp.Agreement) { write(w, make([]byte, 1<<20)) }, iatp.SlugAgreementInvalid},
		"another status": {func(w http.ResponseWriter, x *iatp.Agreement) { signs(t, w, 202, counter(t, x, l.Key)) }, iatp.SlugUpstreamFailed},
		"a redirect": {func(w http.ResponseWriter, x *iatp.Agreement) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(307)
		}, iatp.SlugUpstreamFailed},
		"a question": {func(w http.ResponseWriter, x *iatp.Agreement) { problem(w, 449, "override-required", "") }, iatp.SlugUpstreamFailed},
		"hung up":    {func(http.ResponseWriter, *iatp.Agreement) { panic(http.ErrAbortHandler) }, iatp.SlugUpstreamFailed},
		"a counter": {func(w http.ResponseWriter, x *iatp.Agreement) {
			problem(w, 409, iatp.SlugTermsRejected, `,"counter":{"receipt":true,"retention_policy":"permanent"}`)
		}, iatp.SlugTermsRejected},
		"a counter that is none": {func(w http.ResponseWriter, x *iatp.Agreement) {
			problem(w, 409, iatp.SlugTermsRejected, `,"counter":{"please":"call 555"}`)
		}, iatp.SlugTermsRejected},
		"changed terms": {func(w http.ResponseWriter, x *iatp.Agreement) { problem(w, 409, iatp.SlugTermsChanged, "") }, iatp.SlugTermsChanged},
	} {
		l.set(func() { l.agree = c.agree })
		r := post(t, a, "/proxy/b", bookNYC, nil)
		if slugOf(t, r) != c.slug || r.Problem(t)["outcome"] != "none" || bytes.Contains(r.Body, []byte("call 555")) {
			t.Errorf("%s: %d %s, want %s, outcome none, and none of the peer's words", name, r.Status, r.Body, c.slug)
		}
		if end := last(t, a, r); end["type"] != "agreement" || end["reason"] != "not_made" || end["error"] != c.slug {
			t.Errorf("%s: a's last record is %v, want that no agreement was made", name, end)
		}
		if want := name == "a counter"; (r.Problem(t)["counter"] != nil) != want {
			t.Errorf("%s: counter %v", name, r.Problem(t)["counter"])
		}
	}
	if n := l.count("/task"); n != 0 || len(made(t, a)) != 0 {
		t.Fatalf("%d calls were sent, %d agreements recorded", n, len(made(t, a)))
	}
	l.set(func() {
		l.agree = func(w http.ResponseWriter, x *iatp.Agreement) { signs(t, w, 201, counter(t, x, l.Key)) }
	})
	r := post(t, a, "/proxy/b", bookNYC, nil)
	clean(t, "an honest one", r)
	if len(made(t, a)) != 1 {
		t.Errorf("%d agreements", len(made(t, a)))
	}

	// And a receipt that names another agreement, or none, is not of this call.
	for name, agr := range map[string]iatp.Digest{"none": {}, "another": iatp.DigestOf([]byte("another"))} {
		l.set(func() {
			l.task = func(w http.ResponseWriter, c *told) { c.receipt.Agr = agr; l.answer(t, w, c, l.Key) }
		})
		if r := post(t, a, "/proxy/b", bookNYC, nil); r.Header.Get("Iatp-Proof") != "invalid" {
			t.Errorf("a receipt that names %s: proof %q, want invalid", name, r.Header.Get("Iatp-Proof"))
		}
	}
}

// A receipt that promises less than was agreed breaks it.
func TestReceiptKeepsToTheAgreement(t *testing.T) {
	a, l := startLiar(t, func(c *sidecar.Config) {
		p := c.Peers["b"]
		p.Agreement = "require"
		c.Peers["b"] = p
	})
	hour := time.Hour
	undo := map[string]any{"level": "partial", "undo_window_seconds": int(hour.Seconds()), "max_fee": "50.00", "currency": "USD"}
	l.set(func() {
		l.manifest = l.serve(l.document(t, map[string]any{"reversibility": undo}, l.Key))
		l.agree = func(w http.ResponseWriter, x *iatp.Agreement) { signs(t, w, 201, counter(t, x, l.Key)) }
	})
	fee := func(amount string) iatp.Money { m, _ := iatp.ParseMoney(amount, "USD"); return m }
	until := time.Now().Add(hour).Unix()
	for name, c := range map[string]struct {
		undo  *iatp.Undo
		proof string
	}{
		"as agreed":        {&iatp.Undo{Level: iatp.ReversibilityPartial, Until: until + 60, MaxFee: fee("50.00")}, ""},
		"better":           {&iatp.Undo{Level: iatp.ReversibilityFull, MaxFee: fee("1.00")}, ""},
		"none":             {nil, "invalid"},
		"a shorter window": {&iatp.Undo{Level: iatp.ReversibilityPartial, Until: until - 600, MaxFee: fee("50.00")}, "invalid"},
		"a higher fee":     {&iatp.Undo{Level: iatp.ReversibilityPartial, Until: until + 60, MaxFee: fee("50.01")}, "invalid"},
	} {
		l.set(func() {
			l.task = func(w http.ResponseWriter, c2 *told) { c2.receipt.Undo = c.undo; l.answer(t, w, c2, l.Key) }
		})
		r := post(t, a, "/proxy/b", bookNYC, nil)
		if r.Status != 200 || r.Header.Get("Iatp-Proof") != c.proof {
			t.Errorf("%s: %d, proof %q, want %q", name, r.Status, r.Header.Get("Iatp-Proof"), c.proof)
		}
	}
}

// Whatever a man in the middle changes in a proposal or in what comes back, a and b
// have signed one and the same text, or there is no call.
func TestWireChangesAnAgreement(t *testing.T) {
	p := wired(t, agreeing("require", "require", nil))
	calls := 0
	spoil := func(where string, at int, bit byte) {
		t.Helper()
		flip := func(text []byte) []byte {
			body := bytes.Index(text, []byte("\r\n\r\n")) + 4
			if at < 0 {
				at = -at % body // in the head
			} else {
				at = body + at%(len(text)-body)
			}
			changed := slices.Clone(text)
			changed[at] ^= bit
			return changed
		}
		isProposal := func(text []byte) bool { return bytes.HasPrefix(text, []byte("POST /agreements ")) }
		proposing := false
		p.tap(func(text []byte) []byte {
			if proposing = isProposal(text); proposing && where == "proposal" {
				return flip(text)
			}
			return text
		}, func(text []byte) []byte {
			if proposing && where == "answer" {
				return flip(text)
			}
			return text
		})
		r := post(t, p.a, "/proxy/b", bookNYC, nil)
		p.tap(nil, nil)
		if r.Status == 200 {
			calls++
			id := agrOf(t, p, r)
			if of, with := made(t, p.a)[id], made(t, p.b)[id]; of == nil || with == nil {
				t.Errorf("%s, byte %d: executed under %s, which a has %v and b %v", where, at, id, of != nil, with != nil)
			}
		} else if r.Problem(t)["outcome"] != "none" {
			t.Errorf("%s, byte %d: %d %s, want outcome none", where, at, r.Status, r.Body)
		}
		if len(p.agent.Seen()) != calls {
			t.Fatalf("%s, byte %d: b's agent was called %d times, a was answered %d times", where, at, len(p.agent.Seen()), calls)
		}
	}
	for at := 0; at < 1300; at += 97 {
		if len(made(t, p.a)) == 0 {
			spoil("proposal", at, 1)
		}
		if len(made(t, p.a)) == 0 {
			spoil("answer", at+13, 4)
		}
	}
	if len(made(t, p.a)) != 0 {
		t.Fatalf("an agreement came through, changed in its body")
	}
	spoil("neither", 0, 1)
	if id := theOneOf(t, p); calls != 1 || id == "" {
		t.Errorf("untouched: %d calls", calls)
	}
}

// theOneOf is the one agreement that a has, and b has too, beside those that b has
// signed and a never got.
func theOneOf(t testing.TB, p *pair) string {
	t.Helper()
	of, with := made(t, p.a), made(t, p.b)
	for id := range of {
		if with[id] != nil && len(of) == 1 {
			return id
		}
	}
	return ""
}

// A call under an agreement that was made on other manifests than those of now, or
// that has ended, is not executed, whatever else the caller says.
func TestCallUnderAnOldAgreement(t *testing.T) {
	pa, pb := iatptest.NewParty(t), iatptest.NewParty(t)
	var cfgA, cfgB sidecar.Config
	b := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) {
		pb.Listen(c)
		c.Peers, c.Limits.PerPeer = map[string]sidecar.Peer{"a": pa.AsPeer("trusted")}, plenty
		cfgB = *c
	}})
	a := iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Config: func(c *sidecar.Config) { pa.Listen(c); cfgA = *c }})
	agree := func(lives ...int64) *iatp.Agreement { // the first that is long enough for this machine
		t.Helper()
		for _, life := range lives {
			x := proposal(t, pa, pb, a, b)
			x.Exp, x.Nonce = x.Iat+life, fmt.Sprintf("nonce-%06d", len(made(t, b)))
			if err := x.Sign(pa.Key); err != nil {
				t.Fatal(err)
			}
			doc, _ := json.Marshal(x)
			r := says(t, pa, "POST", pb.URL+"/agreements", string(doc), nil, nil)
			if r.Status == 201 {
				return x
			}
			t.Logf("%d %s", r.Status, r.Body)
		}
		t.Fatal("no agreement")
		return nil
	}
	call := func(when string, x *iatp.Agreement, want string) {
		t.Helper()
		mft := proposal(t, pa, pb, a, b).Responder.Manifest // the one in force
		r := says(t, pa, "POST", pb.URL+"/task", bookNYC, func(h http.Header) {
			h.Set("IATP-Manifest", mft.ByteSequence())
			h.Set("IATP-Agreement", x.ID().ByteSequence())
		}, nil)
		if slugOf(t, r) != want || want == "" && r.Status != 200 {
			t.Errorf("%s: %d %s, want %q", when, r.Status, r.Body, want)
		}
	}
	change := func(n *iatptest.Node, cfg *sidecar.Config, level string) {
		t.Helper()
		cfg.Manifest = writeFile(t, level+".json", strings.Replace(iatptest.Friend, "verified_partner", level, 1), 0o600)
		if _, err := n.Sidecar.Reload(*cfg); err != nil {
			t.Fatal(err)
		}
	}
	first := agree(600)
	call("on the manifests of now", first, "")
	change(b, &cfgB, "trusted")
	call("after b's manifest changed", first, iatp.SlugTermsChanged)
	second := agree(600)
	call("agreed anew", second, "")
	change(a, &cfgA, "standard")
	third := agree(600) // which makes b look at a's manifest
	call("after a's manifest changed", second, iatp.SlugTermsChanged)
	call("agreed anew", third, "")
	short := agree(1, 2, 5, 15, 60)
	time.Sleep(time.Until(time.Unix(short.Exp, 0)))
	call("after its end", short, iatp.SlugAgreementRequired)
	if n := len(b.Agent.Seen()); n != 3 {
		t.Errorf("b's agent was called %d times, want 3", n)
	}
}
