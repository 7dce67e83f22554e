package sidecar

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"slices"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/privacy"
	"github.com/inter-agent-trust/iatp/trust"
)

// opaqueKind stands in records and metrics for what could not be read.
const opaqueKind iatp.DataClass = "opaque"

// passage is one direction of an exchange, for the data rules: who gets the data.
// An answer goes to a caller of whom a manifest is known only if he is a peer.
func (x *exchange) passage(response bool) *policy.Passage {
	p := &policy.Passage{Response: response, Part: response && x.part, Call: string(x.dir), Peer: x.peerName()}
	switch {
	case !response:
		p.Manifest, p.Level, p.Evidence = x.st.manifest, x.st.assessment.Level, x.st.assessment.Evidence
	case x.caller != nil && x.caller.Met != nil && x.caller.Met.Manifest != nil:
		a := trust.Assess(x.caller.Met.Input)
		p.Manifest, p.Level, p.Evidence = x.caller.Met.Manifest, a.Level, a.Evidence
	}
	return p
}

// treat makes of a request what may go on. It comes before anybody is asked and
// before anything is signed, so that the question, the signature, the record and
// the receipt are all about the bytes that leave (hardening 28). What another
// sidecar has signed stays committed to as it was signed.
func (s *Sidecar) treat(x *exchange) *iatp.Problem {
	if !x.verdict.Redact {
		return nil
	}
	clean := appendTreated(nil, x.body, x.report, x.st.rules, x.passage(false))
	if !s.bodies.take(int64(len(clean))) {
		return s.overloaded("request bodies already hold " + sizeText(s.cfg.Limits.BodyMemory))
	}
	x.held += int64(len(clean))
	if s.keepsPayloads(x.st) {
		x.payload = redacted(x.body, x.report)
	}
	x.body, x.changed.request = clean, true
	if x.dir != flight.In {
		x.bodySum, x.size = sha256.Sum256(clean), int64(len(clean))
	}
	return nil
}

// appendTreated appends body with each finding as the data rules want it.
func appendTreated(dst, body []byte, r privacy.Report, rules *policy.Set, p *policy.Passage) []byte {
	return privacy.AppendRedactedBy(dst, body, r, func(f privacy.Finding) privacy.Action {
		if !rules.Counts(&f) {
			return privacy.Keep
		}
		return actionOf(rules.Treat(p, policy.Finding{Kind: f.Kind, Pointer: f.Pointer}))
	})
}

// actionOf is what a treatment does to the bytes of a value.
func actionOf(t policy.Treatment) privacy.Action {
	switch t {
	case policy.AskFor, policy.Record: // asked about as a whole
		return privacy.Keep
	case policy.Mask:
		return privacy.Mask
	}
	return privacy.Redact
}

// maxPlacesKept is how many pointers of one kind a record names.
const maxPlacesKept = 8

// tally counts findings by kind and by what becomes of them in one direction.
// Places are named only where the recorder may keep text: member names are the
// caller's words.
func (x *exchange) tally(r privacy.Report, response, places bool) []flight.Count {
	if len(r.Findings)+len(r.Opaque) == 0 {
		return nil
	}
	return tally(r, x.st.rules, x.passage(response), places)
}

// tally counts what a report names. Requests with opaque parts are judged as a
// whole, before anything becomes of them.
func tally(r privacy.Report, rules *policy.Set, p *policy.Passage, places bool) []flight.Count {
	c := counts{places: places}
	for i := range r.Findings {
		if !rules.Counts(&r.Findings[i]) {
			continue
		}
		f := policy.Finding{Kind: r.Findings[i].Kind, Pointer: r.Findings[i].Pointer}
		c.add(f.Kind, actionName(rules.Treat(p, f)), f.Pointer)
	}
	action := ""
	if p.Response && rules.Opaque() == policy.Block {
		action = policy.Block.String()
	}
	for i := range r.Opaque {
		c.add(opaqueKind, action, r.Opaque[i].Pointer)
	}
	return c.sorted()
}

// tallyAll counts what an answer holds whose report names the first thousand
// findings alone; count knows of all. Those that it does not name count as if
// they had no place.
func (x *exchange) tallyAll(r privacy.Report, count func(iatp.DataClass) int, places bool) []flight.Count {
	if len(r.Findings)+len(r.Opaque) == 0 {
		return nil
	}
	named := make(map[iatp.DataClass]int)
	for i := range r.Findings {
		named[r.Findings[i].Kind]++
	}
	p := x.passage(true)
	c := counts{list: tally(r, x.st.rules, p, places), places: places}
	for kind, n := range named {
		if more := count(kind) - n; more > 0 {
			c.addMany(kind, actionName(x.st.rules.Treat(p, policy.Finding{Kind: kind})), "", more)
		}
	}
	return c.sorted()
}

// tallyFilter counts what an answer holds that went through a filter. What the
// filter left as it is was not treated, whatever the rules want.
func (x *exchange) tallyFilter(f *filter, r privacy.Report, places bool) []flight.Count {
	c := counts{list: x.tallyAll(r, f.redactor.Count, places)}
	p := x.passage(true)
	for _, kind := range r.Classes() {
		t := x.st.rules.Treat(p, policy.Finding{Kind: kind})
		if left := f.redactor.Left(kind); left > 0 && t != policy.Block {
			c.addMany(kind, t.String(), "", -left)
			c.addMany(kind, "", "", left)
		}
	}
	c.list = slices.DeleteFunc(c.list, func(one flight.Count) bool { return one.Count == 0 })
	return c.sorted()
}

// actionName is a treatment in a record; what passes has none.
func actionName(t policy.Treatment) string {
	if t == policy.Record {
		return ""
	}
	return t.String()
}

// strictest is what becomes of an answer as a whole.
func strictest(counts []flight.Count) policy.Treatment {
	least := policy.Record
	for _, c := range counts {
		if t, err := policy.ParseTreatment(c.Action); err == nil && t < least {
			least = t
		}
	}
	return least
}

// treatReply makes of a whole answer what may be released: body itself, a redacted
// copy, or nothing (withheld). The head then speaks of the copy.
func (s *Sidecar) treatReply(x *exchange, resp *http.Response, body []byte, read *replyText, end *ending) (released []byte, withheld bool) {
	if !x.st.rules.ChangesAnswers() {
		return body, false
	}
	switch strictest(end.findings) {
	case policy.Record:
		return body, read.unreadable
	case policy.Block:
		return nil, true
	}
	clean := read.clean
	switch {
	case !read.passed:
		clean = appendTreated(nil, read.text, read.report, x.st.rules, x.passage(true))
	case read.unreadable:
		return nil, true
	case bytes.Equal(clean, read.text):
		return body, false // nothing went: what is no text by far would be broken
	}
	rewritten(resp, int64(len(clean)))
	x.changed.response, end.encoding = true, ""
	return clean, false
}

// rewritten makes the head of an answer fit a body that was changed: its length,
// its encoding, and nothing that was said of the bytes before.
func rewritten(resp *http.Response, length int64) {
	resp.ContentLength = length
	for _, name := range []string{"Content-Encoding", "Etag", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Ranges", "Content-Range"} {
		resp.Header.Del(name)
	}
}

// withhold ends an exchange whose answer may not be released. What was called has
// been done, and the problem says so.
func (s *Sidecar) withhold(x *exchange, end *ending) *iatp.Problem {
	x.decision = decidedFailed
	held := kindsIn(end.findings, policy.Block)
	if held == "" {
		held = "what cannot be read"
	}
	p := s.about(x, &iatp.Problem{
		Slug: iatp.SlugPrivacyViolation, Status: http.StatusBadGateway, Blocked: true, Outcome: string(end.outcome),
		Error: "Privacy Violation: the answer holds " + held + ", so it is withheld",
		Hint:  "the call itself was made: see outcome",
	})
	end.status, end.errCode, end.encoding = p.Status, "privacy_violation", ""
	end.body, end.json, end.form, end.text = nil, nil, nil, nil
	if x.signed != nil {
		s.receiptForProblem(x, p, end)
	}
	if err := s.recordEnd(x, end); err != nil {
		return s.unrecorded(x, err, p.Outcome)
	}
	return p
}

// kindsIn lists the kinds that are treated so.
func kindsIn(counts []flight.Count, t policy.Treatment) string {
	text := ""
	for _, c := range counts {
		if c.Action == t.String() {
			if text != "" {
				text += ", "
			}
			if c.Kind == opaqueKind {
				text += "parts that cannot be read"
			} else {
				text += string(c.Kind)
			}
		}
	}
	return text
}
