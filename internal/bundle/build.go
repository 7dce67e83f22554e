package bundle

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// Options are the settings of Build.
type Options struct {
	// Requests takes in the requests as peers signed them. They hold digests of the
	// bodies that they asked with.
	Requests bool
}

// Errors of Build that a caller may tell apart.
var (
	ErrNoTrace = errors.New("no record of this trace")
	ErrTooMuch = fmt.Errorf("the trace has more than %d records, too many for a bundle; iatp log export --trace writes the records alone", flight.MaxTrace)
)

// member are those of a record that lead to other evidence.
type member struct {
	Seq      int64          `json:"seq"`
	Type     flight.Type    `json:"type"`
	Dir      flight.Dir     `json:"dir"`
	Peer     string         `json:"peer"`
	JKT      string         `json:"jkt"`
	Base     string         `json:"base"`
	Receipt  string         `json:"receipt"`
	Manifest string         `json:"manifest"`
	Agr      string         `json:"agr"`
	Outcome  flight.Outcome `json:"outcome"`
	TraceID  iatp.TraceID   `json:"trace_id"`
	Link     iatp.TraceID   `json:"link"`
	Idem     string         `json:"idem"`
	Note     string         `json:"note"`
	Reason   string         `json:"reason"`
	Error    string         `json:"error"`
	Tx       struct {
		State string `json:"state"`
	} `json:"tx"`
}

// builder collects the files of a bundle.
type builder struct {
	data    string // the directory
	archive *flight.Archive
	known   []*iatp.Manifest // those that were read
	needed  []signer         // whose keys must be in keys.txt, if they are known
	files   map[string][]byte
	members []member
	keys    Keys
	about   map[string]string // bases of the requests that receipts are about, by the SHA-256 of the receipt
	wanted  map[string]bool   // manifests by digest, as lines name them
	agreed  map[string]bool   // agreements by id
}

// signer is a key by the agent that signed with it and its thumbprint.
type signer struct{ uri, jkt string }

// Build makes the bundle of a trace from a data directory, whether or not a sidecar
// runs there. It waits for nothing: a record that the log has not signed for yet is
// ErrNotSigned of package flight; try again after a second.
func Build(data string, id iatp.TraceID, o Options) ([]byte, error) {
	archive, err := flight.OpenArchive(data)
	if err != nil {
		return nil, err
	}
	b := &builder{data: data, archive: archive, files: map[string][]byte{readmeName: []byte(readme)},
		about: map[string]string{}, wanted: map[string]bool{}, agreed: map[string]bool{}}
	records, err := archive.Trace(id)
	switch {
	case err != nil:
		return nil, err
	case len(records) == 0:
		return nil, ErrNoTrace
	case len(records) > flight.MaxTrace:
		return nil, ErrTooMuch
	}
	if err := b.records(records, o); err != nil {
		return nil, err
	}
	if err := errors.Join(b.agreements(), b.manifests(), b.findKeys()); err != nil {
		return nil, err
	}
	b.files[keysName] = b.keys.text()
	out := zipFiles(b.files)
	if _, err := Parse(out); err != nil {
		return nil, err // it is larger than a bundle may be
	}
	return out, nil
}

// records adds the records, their proofs, all under one checkpoint, and what they
// hold sealed.
func (b *builder) records(records []flight.Record, o Options) error {
	state, err := b.archive.State()
	if err != nil {
		return err
	}
	vkey, err := b.archive.VKey()
	if err != nil {
		return err
	}
	b.keys.logs = []string{vkey}
	b.files[checkpointName] = state.Checkpoint.Text
	for _, rec := range records {
		if err := b.record(state, rec, o); err != nil {
			return err
		}
	}
	return b.earlier(state, o)
}

// record adds a record and what it leads to.
func (b *builder) record(state *flight.State, rec flight.Record, o Options) error {
	var m member
	if err := json.Unmarshal(rec.Line, &m); err != nil {
		return err
	}
	proof, err := state.Prove(rec.Seq)
	if err != nil {
		return err
	}
	b.files[recordName(rec.Seq)], b.files[proofName(rec.Seq)] = rec.Line, proof
	b.members = append(b.members, m)
	if m.Manifest != "" {
		b.wanted[m.Manifest] = true
	}
	if m.Agr != "" {
		b.agreed[m.Agr] = true
	}
	return b.unseal(rec, m, o)
}

// earlier adds the records of requests that those of the trace repeat, where a receipt
// is about them: a repetition is answered with the receipt of the first.
func (b *builder) earlier(state *flight.State, o Options) error {
	missing := map[string]member{} // by base, who names a receipt about it
	for _, m := range b.members {
		if base := b.about[m.Receipt]; base != "" {
			if _, found := requestOf(b.members, m, base); !found && mayRepeat(b.members, m) {
				missing[base] = m
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	for rec, err := range b.archive.Lines(0) {
		if err != nil {
			return err
		}
		if len(missing) == 0 || rec.Seq >= state.Checkpoint.Size {
			break
		}
		var one member
		if rec.Type != flight.Forward && rec.Type != flight.Request || json.Unmarshal(rec.Line, &one) != nil {
			continue
		}
		m, wanted := missing[one.Base]
		if !wanted || !one.asks() || !repeated(b.members, m, one) {
			continue
		}
		delete(missing, one.Base)
		rec.Line = bytes.Clone(rec.Line)
		if err := b.record(state, rec, o); err != nil {
			return err
		}
	}
	return nil
}

func recordName(seq int64) string { return fmt.Sprintf("%s%020d.json", recordDir, seq) }
func proofName(seq int64) string  { return fmt.Sprintf("%s%020d.tlog-proof", proofDir, seq) }

// unseal adds the receipt or the signed request of a record.
func (b *builder) unseal(rec flight.Record, m member, o Options) error {
	text, err := b.archive.Unseal(rec.Line)
	switch {
	case errors.Is(err, flight.ErrNotSealed):
		return nil
	case err != nil:
		return fmt.Errorf("record %d: %w", rec.Seq, err)
	case m.Receipt != "":
		b.files[receiptDir+m.Receipt+".jwt"] = text
		return b.receipt(m.Receipt, string(text))
	case o.Requests && m.Base != "":
		b.files[requestDir+m.Base+".txt"] = text
		if _, _, key, err := splitRequest(text); err == nil {
			b.keys.addAgent(m.Peer, key)
		}
	}
	return nil
}

// receipt notes what a receipt refers to. It was verified when it came.
func (b *builder) receipt(id, jws string) error {
	var claims struct {
		Iss, Mft, Agr string
		Req           struct{ Base string }
	}
	parts := strings.Split(jws, ".")
	if len(parts) != 3 {
		return errors.New("what is kept as a receipt is none")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if err != nil {
		return fmt.Errorf("what is kept as a receipt is none: %w", err)
	}
	b.about[id] = claims.Req.Base
	if claims.Mft != "" {
		b.wanted[claims.Mft] = true
	}
	if claims.Agr != "" {
		b.agreed[claims.Agr] = true
	}
	b.need(claims.Iss, kidOf(parts[0]))
	return nil
}

// kidOf is the thumbprint that a protected header names, "" if it names none.
func kidOf(protected string) string {
	var h struct{ Kid string }
	text, err := base64.RawURLEncoding.DecodeString(protected)
	if err != nil || json.Unmarshal(text, &h) != nil {
		return ""
	}
	return h.Kid
}

// need asks for a key in keys.txt.
func (b *builder) need(uri, jkt string) {
	b.needed = append(b.needed, signer{uri, jkt})
}

// findKeys puts the keys that are needed into keys.txt, if some manifest says what
// they are: nearly always one that was read for the bundle, else, such as after a change
// of keys, any that is kept.
func (b *builder) findKeys() error {
	for _, m := range b.known {
		b.offer(m)
	}
	if len(b.needed) == 0 {
		return nil
	}
	all, err := keptNames(b.data)
	if err != nil {
		return err
	}
	for _, name := range all {
		if len(b.needed) == 0 {
			break
		}
		if m := kept(b.data, name); m != nil {
			b.offer(m)
		}
	}
	return nil
}

// offer takes the key of a manifest, if it is needed.
func (b *builder) offer(m *iatp.Manifest) {
	key, ok := m.VerificationKey()
	if !ok {
		return
	}
	is := signer{m.Identity.URI, key.Thumbprint()}
	before := len(b.needed)
	if b.needed = slices.DeleteFunc(b.needed, func(s signer) bool { return s == is }); len(b.needed) < before {
		b.keys.addAgent(is.uri, key)
	}
}

// agreements adds those that records or receipts name, from the records that they
// stand in.
func (b *builder) agreements() error {
	if len(b.agreed) == 0 {
		return nil
	}
	for rec, err := range b.archive.Lines(0) {
		if err != nil {
			return err
		}
		if rec.Type != flight.Agreement {
			continue
		}
		var l struct {
			Agr     string
			Payload json.RawMessage
		}
		if json.Unmarshal(rec.Line, &l) != nil || !b.agreed[l.Agr] {
			continue
		}
		a, err := iatp.ParseAgreement(l.Payload)
		if err != nil || a.ID().Base64URL() != l.Agr {
			continue // such as a refusal
		}
		b.files[agreementDir+l.Agr+".json"] = append([]byte{}, l.Payload...)
		b.need(a.Initiator.URI, a.Initiator.JKT)
		b.need(a.Responder.URI, a.Responder.JKT)
	}
	return nil
}

// manifests adds those that are named and that of the log's owner.
func (b *builder) manifests() error {
	for _, text := range slices.Sorted(maps.Keys(b.wanted)) {
		d, err := iatp.ParseContentDigest(text)
		if err != nil {
			continue // the reader will say that it is missing
		}
		m := kept(b.data, d.Base64URL()+manifestSuffix)
		if m == nil {
			continue
		}
		if have, err := m.Digest(); err != nil || have != text {
			continue // damaged
		}
		if err := b.manifest(m); err != nil {
			return err
		}
	}
	if m, err := OwnManifest(b.data); err == nil && m.Identity.Log != "" && m.Identity.Log == b.keys.logs[0] {
		return b.manifest(m)
	}
	return nil
}

func (b *builder) manifest(m *iatp.Manifest) error {
	name, err := manifestName(m)
	if err != nil {
		return err
	}
	text, err := ijson.AppendCanonical(nil, m.Bytes(), ijson.Limits{Depth: iatp.MaxManifestDepth})
	if err != nil {
		return err
	}
	b.files[name] = text
	b.known = append(b.known, m)
	for _, s := range m.Signatures {
		b.need(m.Identity.URI, kidOf(s.Protected))
	}
	return nil
}

func manifestName(m *iatp.Manifest) (string, error) {
	text, err := m.Digest()
	if err != nil {
		return "", err
	}
	d, err := iatp.ParseContentDigest(text)
	return manifestDir + d.Base64URL() + ".json", err
}
