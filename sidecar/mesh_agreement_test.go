package sidecar_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
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
	pa, pb, pc := iatptest.NewParty(t), iatptest.NewParty(t), iatptest.NewParty(t)
	start := func(p *iatptest.Party, agent http.Handler, peers map[string]sidecar.Peer) *iatptest.Node {
		return iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Agent: agent, Config: func(c *sidecar.Config) {
			p.Listen(c)
			c.Peers, c.Ingress.Agreement = peers, "require"
		}})
	}
	c := start(pc, nil, map[string]sidecar.Peer{"b": pb.AsPeer("trusted")})
	var b *iatptest.Node
	onward := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, _ := http.NewRequestWithContext(r.Context(), "POST", b.URL+"/proxy/c", strings.NewReader(bookNYC))
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
	b = start(pb, onward, map[string]sidecar.Peer{"a": pa.AsPeer("trusted"), "c": pc.AsPeer("verified_partner")})
	a := start(pa, nil, map[string]sidecar.Peer{"b": pb.AsPeer("verified_partner")})
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
