package bundle

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// Status is what a step of a verification came to.
type Status string

const (
	OK     Status = "ok"
	Remark Status = "remark" // it holds, and something about it is worth knowing
	Failed Status = "failed"
)

// Step is one link that was checked, in words. Texts of others in it are printable.
type Step struct {
	Status Status `json:"status"`
	Text   string `json:"text"`
}

// Report is what Verify found.
type Report struct {
	// Valid says that no step has failed. It says nothing about who made the bundle
	// unless Trusted is set too: then every signature is by a key from elsewhere.
	Valid   bool         `json:"valid"`
	Trusted bool         `json:"trusted"`
	TraceID iatp.TraceID `json:"trace_id"`
	Log     string       `json:"log"`  // its name
	Size    int64        `json:"size"` // records that the checkpoint covers
	Records int          `json:"records"`
	Steps   []Step       `json:"steps"`
}

// verifier walks over a bundle.
type verifier struct {
	*Bundle
	inside *Keys // what the bundle says
	keys   *Keys // what is believed
	report Report
	used   map[string]bool // files that something refers to
	tied   map[int64]bool  // records of requests that a receipt is about

	vkey    string
	members []member
	owner   string // uri of the log's owner; "" if no manifest says
}

// Verify checks every link of the chain, from the bytes of the records to the keys.
// trusted are keys that came another way; nil takes those of the bundle itself, which
// shows that it holds together and not who made it.
func (b *Bundle) Verify(trusted *Keys) *Report {
	v := &verifier{Bundle: b, tied: map[int64]bool{},
		used: map[string]bool{readmeName: true, checkpointName: true, keysName: true}}
	v.report.Trusted = trusted != nil
	if v.whose(trusted) && v.checkpoint() {
		v.records()
		v.manifests()
		v.agreements()
		v.receipts()
		v.requests()
		v.leftovers()
	}
	v.report.Valid = true
	for _, s := range v.report.Steps {
		v.report.Valid = v.report.Valid && s.Status != Failed
	}
	return &v.report
}

func (v *verifier) say(status Status, format string, args ...any) {
	v.report.Steps = append(v.report.Steps, Step{status, fmt.Sprintf(format, args...)})
}

// check says that something holds, or why it does not, and reports which.
func (v *verifier) check(err error, format string, args ...any) bool {
	if err != nil {
		v.say(Failed, "%s: %s", fmt.Sprintf(format, args...), iatp.Printable(err.Error()))
		return false
	}
	v.say(OK, format, args...)
	return true
}

// whose decides which keys are believed.
func (v *verifier) whose(trusted *Keys) bool {
	inside, err := ParseKeys(v.files[keysName])
	if err == nil && !bytes.Equal(inside.text(), v.files[keysName]) {
		err = fmt.Errorf("it is not in the form in which bundles have it")
	}
	if err == nil && len(inside.logs) != 1 {
		err = fmt.Errorf("it must name one log, not %d", len(inside.logs))
	}
	if err != nil {
		return v.check(err, "%s says whose keys these are", keysName)
	}
	v.inside, v.keys, v.vkey = inside, inside, inside.logs[0]
	if trusted == nil {
		return true
	}
	v.keys = trusted
	if stranger := inside.missing(trusted); stranger != "" {
		v.say(Failed, "the bundle needs a key that you do not trust: %s", iatp.Printable(stranger))
		return false
	}
	v.say(OK, "you trust all %d keys that the bundle needs", len(inside.logs)+len(inside.agents))
	return true
}

func (v *verifier) checkpoint() bool {
	c, err := flight.ParseCheckpoint(v.files[checkpointName], v.vkey)
	if err != nil {
		return v.check(err, "the log has signed the checkpoint")
	}
	v.report.Log, v.report.Size = iatp.Printable(c.Origin), c.Size
	v.say(OK, "the log %s has signed for %d records", v.report.Log, c.Size)
	return true
}

// records checks that each stands in the log at its place, and that all are of one
// trace, that of the last, or of a request that one of the trace repeats.
func (v *verifier) records() {
	list := v.in(recordDir)
	v.report.Records = len(list)
	if len(list) == 0 {
		v.say(Failed, "the bundle holds no record")
		return
	}
	if last, err := flight.ParseRecord(v.files[list[len(list)-1]]); err == nil {
		v.report.TraceID = last.TraceID
	}
	for _, name := range list {
		v.used[name] = true
		rec, m, err := v.record(name)
		if err == nil && (rec.TraceID == "" || rec.TraceID != v.report.TraceID && !m.asks()) {
			err = fmt.Errorf("it is of another trace")
		}
		number := strings.TrimLeft(strings.TrimSuffix(path.Base(name), ".json"), "0")
		if v.check(err, "record %s (%s, %s) stands in the log", chosen(number == "", "0", number), iatp.Printable(string(rec.Type)), stamp(rec.Time)) {
			v.members = append(v.members, m)
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }

func chosen[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

func (v *verifier) record(name string) (rec flight.Record, m member, err error) {
	line := v.files[name]
	if rec, err = flight.ParseRecord(line); err != nil {
		return rec, m, err
	}
	if recordName(rec.Seq) != name {
		return rec, m, fmt.Errorf("it is record %d", rec.Seq)
	}
	proof := v.files[proofName(rec.Seq)]
	v.used[proofName(rec.Seq)] = true
	if proof == nil {
		return rec, m, fmt.Errorf("there is no proof")
	}
	if _, err = flight.VerifyProof(proof, line, v.vkey); err != nil {
		return rec, m, err
	}
	p, err := flight.ParseProof(proof)
	switch {
	case err != nil:
	case p.Index != rec.Seq:
		err = fmt.Errorf("the proof is about record %d", p.Index)
	case !bytes.Equal(p.Checkpoint, v.files[checkpointName]):
		err = fmt.Errorf("the proof is for another state of the log")
	default:
		err = json.Unmarshal(line, &m)
	}
	return rec, m, err
}

// manifests checks who has signed each.
func (v *verifier) manifests() {
	for _, name := range v.in(manifestDir) {
		m, err := v.manifest(name)
		if err != nil {
			v.check(err, "the manifest %s is what somebody promised", path.Base(name))
			continue
		}
		who := fmt.Sprintf("the manifest of %s (%s)", iatp.Printable(m.Identity.URI), iatp.Printable(string(m.Identity.AgentID)))
		if m.Identity.Log == v.vkey && len(m.Signatures) > 0 {
			v.used[name], v.owner = true, m.Identity.URI
			who += ", whose log this is,"
		}
		if len(m.Signatures) == 0 {
			v.say(Remark, "%s is unsigned: the records name it, and nothing says who wrote it", who)
			continue
		}
		v.check(v.signed(m), "%s is signed by it", who)
	}
}

func (v *verifier) manifest(name string) (*iatp.Manifest, error) {
	text := v.files[name]
	m, err := iatp.ParseManifest(text)
	if err != nil {
		return nil, err
	}
	canonical, err := ijson.AppendCanonical(nil, text, ijson.Limits{Depth: iatp.MaxManifestDepth})
	if err != nil {
		return nil, err
	}
	have, err := manifestName(m)
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(canonical, text):
		return nil, fmt.Errorf("it is not in its canonical form")
	case have != name:
		return nil, fmt.Errorf("it has another digest than its name says")
	}
	return m, nil
}

// signed reports whether a manifest is signed by keys of the agent that it names.
func (v *verifier) signed(m *iatp.Manifest) error {
	signers, err := m.VerifySignature(v.keys.of(m.Identity.URI)...)
	if err != nil {
		return err
	}
	for _, s := range signers {
		if v.keys.agent(m.Identity.URI, s.Thumbprint()) == (iatp.Key{}) {
			return fmt.Errorf("the key %s is not among the known keys of %s", s, m.Identity.URI)
		}
	}
	return nil
}

// agreements checks that both sides have signed each.
func (v *verifier) agreements() {
	for _, name := range v.in(agreementDir) {
		a, err := iatp.ParseAgreement(v.files[name])
		id := strings.TrimSuffix(path.Base(name), ".json")
		if err == nil {
			err = v.agreed(a, v.files[name], id)
		}
		v.check(err, "both sides have signed the agreement %s", id)
	}
}

func (v *verifier) agreed(a *iatp.Agreement, text []byte, id string) error {
	canonical, err := ijson.AppendCanonical(nil, text, ijson.Limits{Depth: iatp.MaxManifestDepth})
	switch {
	case err != nil:
		return err
	case !bytes.Equal(canonical, text):
		return fmt.Errorf("it is not in its canonical form")
	case a.ID().Base64URL() != id:
		return fmt.Errorf("it has another id")
	}
	both, err := a.Verify(v.keys.agent(a.Initiator.URI, a.Initiator.JKT), v.keys.agent(a.Responder.URI, a.Responder.JKT))
	if err == nil && !both {
		err = fmt.Errorf("only one side has signed it")
	}
	return err
}

// receipts checks who has signed each, and that it is the one of its records.
func (v *verifier) receipts() {
	for _, m := range v.members {
		if name := receiptDir + m.Receipt + ".jwt"; m.Receipt != "" && v.files[name] == nil {
			v.say(Failed, "record %d names the receipt %s, which is not in the bundle", m.Seq, iatp.Printable(m.Receipt))
		}
	}
	for _, name := range v.in(receiptDir) {
		v.receipt(name, string(v.files[name]))
	}
	for _, m := range v.members {
		if m.TraceID != v.report.TraceID && !v.tied[m.Seq] {
			v.say(Failed, "record %d is of another trace, and no receipt is about it", m.Seq)
		}
	}
	// What a record names needs no receipt.
	for _, m := range v.members {
		if d, err := iatp.ParseContentDigest(m.Manifest); err == nil {
			v.used[manifestDir+d.Base64URL()+".json"] = true
		}
		v.used[agreementDir+m.Agr+".json"] = true
	}
}

func (v *verifier) receipt(name, jws string) {
	id := strings.TrimSuffix(path.Base(name), ".jwt")
	r, err := v.readReceipt(jws)
	if err == nil && iatp.DigestOf([]byte(jws)).Base64URL() != id {
		err = fmt.Errorf("it has another SHA-256 than its name says")
	}
	if err != nil {
		v.check(err, "the receipt %s is signed by who it says", id)
		return
	}
	v.say(OK, "the receipt %s is signed by %s, for %s: %s, answer %d, at %s", iatp.Printable(r.JTI), iatp.Printable(r.Iss), iatp.Printable(r.Aud),
		r.Outcome, r.Res.Status, time.Unix(r.Iat, 0).UTC().Format("2006-01-02 15:04:05 UTC"))
	for _, m := range v.members {
		if m.Receipt == id {
			v.used[name] = true
			if v.check(v.fits(m, r), "record %d names this receipt", m.Seq) {
				v.tie(m, r)
			}
		}
	}
	v.about(r)
}

func (v *verifier) readReceipt(jws string) (*iatp.Receipt, error) {
	var claims struct{ Iss string }
	parts := strings.Split(jws, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("it is no JWS")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if err != nil {
		return nil, fmt.Errorf("it is no receipt")
	}
	key := v.keys.agent(claims.Iss, kidOf(parts[0]))
	if key == (iatp.Key{}) {
		return nil, fmt.Errorf("it is not by a known key of %s", claims.Iss)
	}
	set, err := iatp.NewKeySet(iatp.DirectoryKey{Key: key})
	if err != nil {
		return nil, err
	}
	return iatp.VerifyReceipt(jws, set)
}

// fits reports whether a record that names a receipt is of the same two parties.
func (v *verifier) fits(m member, r *iatp.Receipt) error {
	callee, caller := m.Peer, v.owner
	if m.Dir == flight.In {
		callee, caller = v.owner, m.Peer
	}
	switch {
	case m.Dir != flight.In && m.Dir != flight.Out:
		return fmt.Errorf("and it is of no call between two sidecars")
	case callee != "" && callee != r.Iss:
		return fmt.Errorf("and it is about a call to %s", callee)
	case caller != "" && caller != r.Aud:
		return fmt.Errorf("and it is about a call of %s", caller)
	}
	return nil
}

// about checks what else a receipt refers to.
func (v *verifier) about(r *iatp.Receipt) {
	if !slices.ContainsFunc(v.members, func(m member) bool { return m.says(r.Outcome) }) {
		v.say(Remark, "no record has the outcome that it states, %s", r.Outcome)
	}
	if !r.Mft.IsZero() {
		v.named(manifestDir+r.Mft.Base64URL()+".json", "the manifest that it names by digest")
	}
	if !r.Agr.IsZero() {
		v.named(agreementDir+r.Agr.Base64URL()+".json", "the agreement that it names by id")
	}
}

// says reports whether a record has that outcome. One of an undo has it as the state that
// the transaction came to; one of nothing done is failed there.
func (m *member) says(outcome string) bool {
	return string(m.Outcome) == outcome || m.Tx.State == outcome || m.Tx.State == "failed" && outcome == iatp.OutcomeNone
}

// named says whether what a receipt names is there; what is there was checked to
// have that name.
func (v *verifier) named(name, what string) {
	if v.files[name] == nil {
		v.say(Remark, "%s is not in the bundle", what)
		return
	}
	v.used[name] = true
	v.say(OK, "%s is %s", what, path.Base(name))
}

// requests checks that callers have signed what they asked.
func (v *verifier) requests() {
	for _, name := range v.in(requestDir) {
		id := strings.TrimSuffix(path.Base(name), ".txt")
		for _, m := range v.members {
			if m.Base == id && m.Dir == flight.In {
				v.used[name] = true
				v.check(v.request(v.files[name], m), "the request of record %d is signed by %s", m.Seq, iatp.Printable(m.Peer))
			}
		}
	}
}

func (v *verifier) request(text []byte, m member) error {
	base, signature, key, err := splitRequest(text)
	switch {
	case err != nil:
		return err
	case iatp.DigestOf(base).Base64URL() != m.Base:
		return fmt.Errorf("it is not the one that the record names")
	case key.Thumbprint() != m.JKT || v.keys.agent(m.Peer, m.JKT) != key:
		return fmt.Errorf("it is not by a known key of %s", m.Peer)
	case !key.Verify(base, signature):
		return fmt.Errorf("the signature does not verify")
	}
	return nil
}

// splitRequest takes a signed request apart: signature base, empty line, signature,
// key.
func splitRequest(text []byte) (base, signature []byte, key iatp.Key, err error) {
	base, rest, _ := bytes.Cut(text, []byte("\n\n"))
	encoded, last, _ := strings.Cut(string(rest), "\n")
	signature, err = base64.StdEncoding.Strict().DecodeString(encoded)
	if err == nil {
		key, err = iatp.ParseKey(strings.TrimSuffix(last, "\n"))
	}
	if err != nil || base64.StdEncoding.EncodeToString(signature)+"\n"+key.String()+"\n" != string(rest) {
		return nil, nil, key, fmt.Errorf("it is no signature base with a signature and a key")
	}
	return base, signature, key, nil
}

// leftovers refuses what nothing refers to: it was verified by nobody.
func (v *verifier) leftovers() {
	for _, dir := range []string{agreementDir, manifestDir, proofDir, receiptDir, requestDir} {
		for _, name := range v.in(dir) {
			if !v.used[name] {
				v.say(Failed, "nothing in the bundle refers to %s", name)
			}
		}
	}
}
