package iatp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// MaxAgreementTime is the longest that an agreement holds.
const MaxAgreementTime = 24 * time.Hour

// maxAgreementPayload leaves room in MaxStatementSize for base64 and signatures.
const maxAgreementPayload = 10 << 10

// An Agreement is a contract of two principals about the tasks that one sends to
// the other. As a document it is a JWS in the general JSON form: the initiator
// signs it, then the responder. Get one from ParseAgreement, or fill in the first
// six members and call Sign.
type Agreement struct {
	Initiator Party
	Responder Party
	Terms     Terms
	Iat, Exp  int64  // seconds since 1970; it holds from Iat until before Exp
	Nonce     string // 8 to 64 characters of base64url

	payload    []byte // what is signed, the RFC 8785 form
	signatures []ManifestSignature
}

// A Party is one side of an Agreement.
type Party struct {
	URI      string // the principal
	JKT      string // thumbprint of the key that signs
	Manifest Digest // of the manifest that the agreement was made on
}

type partyJSON struct {
	URI      string `json:"uri"`
	JKT      string `json:"jkt"`
	Manifest string `json:"manifest"`
}

func (p Party) json() partyJSON { return partyJSON{p.URI, p.JKT, p.Manifest.ContentDigest()} }

// Sign fixes the text of the agreement and signs it as the initiator, whose key k
// must be.
func (a *Agreement) Sign(k PrivateKey) error {
	payload, err := a.marshal()
	if err != nil {
		return fmt.Errorf("sign agreement: %w", err)
	}
	if k.Thumbprint() != a.Initiator.JKT {
		return errors.New("sign agreement: the key is not the initiator's")
	}
	s, err := signPayload(k, TypeAgreement, payload)
	if err != nil {
		return fmt.Errorf("sign agreement: %w", err)
	}
	a.payload, a.signatures = payload, []ManifestSignature{s}
	return nil
}

// Countersign signs a proposal as the responder, whose key k must be. Verify the
// proposal first.
func (a *Agreement) Countersign(k PrivateKey) error {
	if len(a.signatures) != 1 {
		return errors.New("countersign agreement: it must have the initiator's signature only")
	}
	if k.Thumbprint() != a.Responder.JKT {
		return errors.New("countersign agreement: the key is not the responder's")
	}
	s, err := signPayload(k, TypeAgreement, a.payload)
	if err != nil {
		return fmt.Errorf("countersign agreement: %w", err)
	}
	a.signatures = append(a.signatures, s)
	return nil
}

// ID names the agreement: SHA-256 of what is signed. It is zero before Sign.
func (a *Agreement) ID() Digest {
	if a.payload == nil {
		return Digest{}
	}
	return DigestOf(a.payload)
}

func (a *Agreement) marshal() ([]byte, error) {
	t, err := a.Terms.json()
	if err != nil {
		return nil, err
	}
	payload, err := marshalSigned(struct {
		Version   string    `json:"iatp"`
		Initiator partyJSON `json:"initiator"`
		Responder partyJSON `json:"responder"`
		Terms     termsJSON `json:"terms"`
		Iat       int64     `json:"iat"`
		Exp       int64     `json:"exp"`
		Nonce     string    `json:"nonce"`
	}{ProtocolVersion, a.Initiator.json(), a.Responder.json(), t, a.Iat, a.Exp, a.Nonce})
	if err != nil {
		return nil, err
	}
	return payload, new(Agreement).read(payload)
}

type signatureJSON struct {
	Protected string `json:"protected"`
	Signature string `json:"signature"`
}

// MarshalJSON returns the document with the signatures that the agreement has.
func (a *Agreement) MarshalJSON() ([]byte, error) {
	if len(a.signatures) == 0 {
		return nil, errors.New("agreement is not signed")
	}
	doc := struct {
		Payload    string          `json:"payload"`
		Signatures []signatureJSON `json:"signatures"`
	}{Payload: base64.RawURLEncoding.EncodeToString(a.payload)}
	for _, s := range a.signatures {
		doc.Signatures = append(doc.Signatures, signatureJSON(s))
	}
	return json.Marshal(doc)
}

// ParseAgreement reads a document with one signature, a proposal, or two. Call
// Verify before believing it.
func ParseAgreement(doc []byte) (*Agreement, error) {
	var payload string
	var a Agreement
	err := parseSigned("agreement", MaxStatementSize, doc, func(b *binder, root *value) {
		b.only(root, map[string]field{
			"payload": base64URL(&payload),
			"signatures": func(b *binder, v *value) {
				b.signatureList(v, 2, &a.signatures)
			},
		}, "payload", "signatures")
	})
	if err != nil {
		return nil, err
	}
	raw, _ := decodeBase64URL(payload) // the field has checked it
	if err := a.read(raw); err != nil {
		return nil, err
	}
	return &a, nil
}

// read reads the payload, which has to be in the RFC 8785 form.
func (a *Agreement) read(payload []byte) error {
	err := parseSigned("agreement", maxAgreementPayload, payload, func(b *binder, root *value) {
		b.only(root, map[string]field{
			"iatp":      (*binder).agreementVersion,
			"initiator": party(&a.Initiator),
			"responder": party(&a.Responder),
			"terms":     terms(&a.Terms),
			"iat":       count(&a.Iat),
			"exp":       count(&a.Exp),
			"nonce":     base64URL(&a.Nonce),
		}, "iatp", "initiator", "responder", "terms", "iat", "exp", "nonce")
	})
	if err != nil {
		return err
	}
	canonical, err := ijson.AppendCanonical(nil, payload, ijson.Limits{Depth: MaxManifestDepth})
	switch {
	case err != nil:
		return fmt.Errorf("agreement: %w", err)
	case !bytes.Equal(canonical, payload):
		return errors.New("agreement: payload is not in canonical form (RFC 8785)")
	case a.Initiator.URI == a.Responder.URI || a.Initiator.JKT == a.Responder.JKT:
		return errors.New("agreement: initiator and responder are the same")
	case a.Exp <= a.Iat || a.Exp-a.Iat > int64(MaxAgreementTime/time.Second):
		return fmt.Errorf("agreement: exp must be after iat, and at most %v", MaxAgreementTime)
	case len(a.Nonce) < 8 || len(a.Nonce) > 64:
		return errors.New("agreement: nonce must have 8 to 64 characters")
	}
	a.payload = payload
	return nil
}

func (b *binder) agreementVersion(v *value) {
	if v.kind != ijson.String || v.text != ProtocolVersion {
		b.refuse(v, "iatp must be %q, got %s", ProtocolVersion, v.describe())
	}
}

func party(dst *Party) field {
	return func(b *binder, v *value) {
		b.only(v, map[string]field{
			"uri": principal(&dst.URI), "jkt": thumbprint(&dst.JKT), "manifest": contentDigest(&dst.Manifest),
		}, "uri", "jkt", "manifest")
	}
}

// thumbprint reads the RFC 7638 thumbprint of a key.
func thumbprint(dst *string) field {
	return func(b *binder, v *value) {
		var d Digest
		base64Digest(&d)(b, v)
		*dst = v.text
	}
}

// Verify checks the signatures: that of a proposal under the initiator's key, that
// of an agreement under both. The keys must be those that the text names; signed
// reports whether both parties have signed.
func (a *Agreement) Verify(initiator, responder Key) (signed bool, err error) {
	if len(a.signatures) == 0 {
		return false, errors.New("agreement is not signed")
	}
	parties := []struct {
		name string
		key  Key
		jkt  string
	}{{"initiator", initiator, a.Initiator.JKT}, {"responder", responder, a.Responder.JKT}}
	for i, s := range a.signatures {
		p := parties[i]
		h, err := parseProtected(s.Protected)
		if err == nil && !isEdDSA(h.alg) {
			err = fmt.Errorf("alg must be EdDSA, got %s", snippet(h.alg))
		}
		if err == nil {
			_, err = verifyPayload(s, h, TypeAgreement, a.payload, func(kid string) (Key, bool) { return p.key, kid == p.jkt })
		}
		if err != nil {
			return false, fmt.Errorf("agreement: signature of the %s: %w", p.name, err)
		}
	}
	return len(a.signatures) == len(parties), nil
}

// ValidAt reports why the agreement does not hold at that time.
func (a *Agreement) ValidAt(now time.Time) error {
	switch {
	case time.Unix(a.Iat, 0).Sub(now) > clockSkew:
		return errors.New("agreement begins in the future; are the clocks right?")
	case !now.Before(time.Unix(a.Exp, 0)):
		return errors.New("agreement has ended")
	}
	return nil
}
