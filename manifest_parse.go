package iatp

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// ParseManifest reads a manifest as it comes from the network. The error is a
// *ManifestError.
//
// It refuses what two readers could understand differently (see package ijson),
// documents over MaxManifestSize and MaxManifestDepth, numbers beyond ±2^53, a
// missing identity.agent_id or trust_level, members of a wrong type and unknown
// words where the protocol lists the known ones. In a signed document numbers
// must be integers, and updated_at must be there. Signatures are checked for
// their shape only: see VerifySignature.
//
// Members of the operator's own configuration, such as compensation_endpoint, are
// not read from here.
func ParseManifest(data []byte) (*Manifest, error) {
	root, err := parseTree(data)
	if err != nil {
		return nil, err
	}
	m, err := bind(root, data)
	if err != nil {
		return nil, err
	}
	m.raw = slices.Clone(data)
	return m, nil
}

// bind reads the meaning of a document. data is the text that root was read from.
func bind(root *value, data []byte) (*Manifest, error) {
	b := binder{data: data, m: new(Manifest)}
	b.manifest(root)
	if b.err != nil {
		return nil, b.err
	}
	unsigned := *root
	unsigned.members = slices.Clone(root.members)
	unsigned.take("signatures")
	canonical, err := ijson.AppendCanonical(nil, unsigned.appendTo(nil), ijson.Limits{})
	if err != nil {
		return nil, manifestError(err)
	}
	b.m.canonical = canonical
	return b.m, nil
}

// A binder fills a Manifest from a document and keeps the first fault.
type binder struct {
	data   []byte
	m      *Manifest
	signed bool
	err    error
}

// refuse notes that v is at fault.
func (b *binder) refuse(v *value, format string, args ...any) {
	if b.err == nil {
		b.err = faultAt(b.data, v, fmt.Sprintf(format, args...))
	}
}

// A field reads one member of an object.
type field func(*binder, *value)

// object reads the members of v that the protocol knows; the others are left
// alone.
func (b *binder) object(v *value, fields map[string]field) {
	if v.kind != ijson.BeginObject {
		b.wrongType(v, "an object")
		return
	}
	for _, m := range v.members {
		if read := fields[m.name]; read != nil && b.err == nil {
			read(b, m.value)
		}
	}
}

func (b *binder) manifest(root *value) {
	if root.kind != ijson.BeginObject {
		b.wrongType(root, "an object")
		return
	}
	m := b.m
	m.ProtocolVersion = ProtocolVersion
	b.signed = root.get("signatures") != nil
	b.numbers(root)
	b.object(root, map[string]field{
		"$schema":          text(&m.Schema),
		"identity":         (*binder).identity,
		"trust_level":      (*binder).trustLevel,
		"capabilities":     (*binder).capabilities,
		"reversibility":    (*binder).reversibility,
		"privacy":          (*binder).privacy,
		"protocol_version": (*binder).protocolVersion,
		"manifest_version": text(&m.ManifestVersion),
		"updated_at":       timestamp(&m.UpdatedAt),
		"expires_at":       timestamp(&m.ExpiresAt),
		"scopes":           texts(&m.Scopes, 256),
		"endorsements":     (*binder).endorsements,
		"revoked_keys":     (*binder).revokedKeys,
		"signatures":       (*binder).signatures,
	})
	b.present(root)
}

// present refuses a document that leaves out what it must have.
func (b *binder) present(root *value) {
	identity := root.get("identity")
	switch {
	case identity == nil && root.get("agent_id") != nil:
		b.refuse(root, "identity is missing: this is the older flat form, which is read from an operator's own file only; put agent_id into an identity object")
	case identity == nil:
		b.refuse(root, `identity is missing, add "identity": {"agent_id": "…"}`)
	case identity.kind == ijson.BeginObject && identity.get("agent_id") == nil:
		b.refuse(identity, `agent_id is missing, add "agent_id": "…"`)
	case root.get("trust_level") == nil:
		b.refuse(root, "trust_level is missing, add one of %s", levelNames)
	case b.signed && root.get("updated_at") == nil:
		b.refuse(root, "updated_at is missing: a signed manifest needs it, so that an older one cannot take its place")
	}
}

// maxNumber is 2^53: integers of that size and below are exact everywhere.
const maxNumber = 1 << 53

// numbers checks every number of the document, also of members that the protocol
// does not know.
func (b *binder) numbers(v *value) {
	for _, m := range v.members {
		b.numbers(m.value)
	}
	for _, item := range v.items {
		b.numbers(item)
	}
	if v.kind != ijson.Number {
		return
	}
	if b.signed && !plainInteger(v.raw) {
		b.refuse(v, "numbers in a signed document must be integers below 2^53, got %s; write it as a string", v.describe())
	}
	if !exactRange(v.raw) {
		b.refuse(v, "number is beyond ±2^53, where readers disagree, got %s; write it as a string", v.describe())
	}
}

// exactRange reports whether the number raw lies within ±2^53. As a double 2^53+1
// looks like 2^53, so at the border the spelling decides.
func exactRange(raw string) bool {
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil {
		return false
	}
	return math.Abs(f) < maxNumber || strings.TrimPrefix(raw, "-") == strconv.Itoa(maxNumber)
}

// plainInteger reports whether raw spells an integer, other than -0, of a size
// below 2^53.
func plainInteger(raw string) bool {
	n, err := strconv.ParseInt(raw, 10, 64)
	return err == nil && -maxNumber < n && n < maxNumber && strconv.FormatInt(n, 10) == raw
}

func (b *binder) wrongType(v *value, want string) {
	b.refuse(v, "must be %s, got %s", want, v.describe())
}

// oneOf refuses v unless it is one of the words.
func (b *binder) oneOf(v *value, name string, words []string) bool {
	if v.kind == ijson.String && slices.Contains(words, v.text) {
		return true
	}
	b.refuse(v, "%s must be one of %s, got %s", name, strings.Join(words, ", "), v.describe())
	return false
}

var levelNames = func() string {
	names := slices.Clone(trustLevels[:])
	slices.Reverse(names)
	return strings.Join(names, ", ")
}()

func (b *binder) trustLevel(v *value) {
	if v.kind == ijson.String {
		if level, err := ParseTrustLevel(v.text); err == nil {
			b.m.TrustLevel = level
			return
		}
	}
	b.refuse(v, "trust_level must be one of %s, got %s", levelNames, v.describe())
}

func (b *binder) protocolVersion(v *value) {
	if v.kind != ijson.String {
		b.wrongType(v, `a string such as "1.0"`)
		return
	}
	for i, part := range strings.Split(v.text, ".") {
		if i == 0 && part != "1" || !numeric(part) {
			b.refuse(v, "protocol_version must be 1 or 1.x, got %s; this program speaks version %s", v.describe(), ProtocolVersion)
			return
		}
	}
	b.m.ProtocolVersion = v.text
}

func numeric(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func (b *binder) identity(v *value) {
	id := &b.m.Identity
	b.object(v, map[string]field{
		"agent_id":         (*binder).agentID,
		"verification_key": (*binder).verificationKey,
		"owner":            text(&id.Owner),
		"uri":              (*binder).uri,
		"contact":          text(&id.Contact),
		"log":              (*binder).logKey,
	})
}

// maxAgentID is the greatest length of an agent id, in bytes.
const maxAgentID = 256

func (b *binder) agentID(v *value) {
	switch {
	case v.kind != ijson.String:
		b.wrongType(v, "a string")
	case v.text == "" || len(v.text) > maxAgentID:
		b.refuse(v, "agent_id must have 1 to %d bytes, got %d", maxAgentID, len(v.text))
	case strings.ContainsFunc(v.text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		b.refuse(v, "agent_id must not hold control characters, got %s", v.describe())
	default:
		b.m.Identity.AgentID = AgentID(v.text)
	}
}

// verificationKey takes any text. Only one that says it is an Ed25519 key has to
// be a good one.
func (b *binder) verificationKey(v *value) {
	if v.kind != ijson.String {
		b.wrongType(v, `a string such as "ed25519:…"`)
		return
	}
	if strings.HasPrefix(v.text, keyPrefix) {
		if _, err := ParseKey(v.text); err != nil {
			b.refuse(v, "%v", err)
			return
		}
	}
	b.m.Identity.VerificationKey = v.text
}

// maxLogKey is the greatest length of the key of a flight log, in bytes. Whoever
// meets its owner remembers it.
const maxLogKey = 512

func (b *binder) logKey(v *value) {
	switch {
	case v.kind != ijson.String:
		b.wrongType(v, "a string")
	case len(v.text) > maxLogKey:
		b.refuse(v, "log must have at most %d bytes, got %d", maxLogKey, len(v.text))
	case !isLogKey(v.text):
		b.refuse(v, "log must be the Ed25519 verifier key of a flight log in its one spelling, name+hash+key as in log.vkey, got %s", v.describe())
	default:
		b.m.Identity.Log = v.text
	}
}

// isLogKey reports whether s is a verifier key of C2SP signed-note for Ed25519: the
// hash is of the name and the key.
func isLogKey(s string) bool {
	name, rest, _ := strings.Cut(s, "+")
	hash, key, _ := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.Strict().DecodeString(key)
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != noteEd25519 || strings.ContainsAny(key, "\r\n") {
		return false
	}
	if name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return false
	}
	sum := sha256.Sum256(slices.Concat([]byte(name+"\n"), raw))
	return hash == hex.EncodeToString(sum[:4])
}

// noteEd25519 is how C2SP signed-note marks the keys of Ed25519.
const noteEd25519 = 1

func (b *binder) uri(v *value) {
	if v.kind != ijson.String {
		b.wrongType(v, "a string")
		return
	}
	if err := checkPrincipal(v.text); err != nil {
		b.refuse(v, "uri %v, got %s", err, v.describe())
		return
	}
	b.m.Identity.URI = v.text
}

var errPrincipal = errors.New("must be an https origin such as https://agent.example (lower case, no default port, no path) or a spiffe:// id")

// checkPrincipal reports why s does not name a principal in the one spelling that
// is compared.
func checkPrincipal(s string) error {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || len(s) > 2048 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errPrincipal
	}
	switch scheme {
	case "spiffe":
		domain, path, _ := strings.Cut(rest, "/")
		if hostname(domain) && path != "" && !strings.ContainsAny(path, "?#%@") {
			return nil
		}
		return errors.New("must be a spiffe:// id with a trust domain and a path")
	case "https", "http":
		defaultPort := "443"
		if scheme == "http" {
			defaultPort = "80"
		}
		if host, ok := origin(rest, defaultPort); !ok {
			return errPrincipal
		} else if scheme == "http" && host != "localhost" && host != "127.0.0.1" && host != "[::1]" {
			return errors.New("with http must be on this machine (localhost, 127.0.0.1, [::1]); use https")
		}
		return nil
	}
	return errPrincipal
}

// origin splits host[:port] and checks that both are in canonical form.
func origin(s, defaultPort string) (host string, ok bool) {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port || port == defaultPort {
			return "", false
		}
	}
	if inner, found := strings.CutPrefix(host, "["); found {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return host, err == nil && addr.Is6() && "["+addr.String()+"]" == host
	}
	return host, hostname(host)
}

// hostname reports whether s is a lower-case DNS name or an IPv4 address.
func hostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

func (b *binder) capabilities(v *value) {
	c := &b.m.Capabilities
	b.object(v, map[string]field{
		"idempotency":                  boolean(&c.Idempotency),
		"concurrency_limit":            count(&c.ConcurrencyLimit),
		"sla_latency_ms":               count(&c.SLALatencyMS),
		"sla_availability":             decimal(&c.SLAAvailability),
		"idempotency_duration_seconds": count(&c.IdempotencyDurationSeconds),
	})
}

func (b *binder) reversibility(v *value) {
	r := &b.m.Reversibility
	b.object(v, map[string]field{
		"level": func(b *binder, v *value) {
			if b.oneOf(v, "level", reversibilityLevels) {
				r.Level = ReversibilityLevel(v.text)
			}
		},
		"undo_window_seconds": func(b *binder, v *value) {
			r.UndoWindowSeconds = new(int64)
			count(r.UndoWindowSeconds)(b, v)
		},
		"compensation_method": text(&r.CompensationMethod),
		"compensation_notes":  text(&r.CompensationNotes),
		"compensation_sla_ms": count(&r.CompensationSLAMS),
		"undo_conditions": func(b *binder, v *value) {
			b.object(v, map[string]field{"until_state": text(&r.UntilState)})
		},
		"max_fee":  money(&r.MaxFee),
		"currency": currency(&r.Currency),
	})
}

func (b *binder) privacy(v *value) {
	p := &b.m.Privacy
	b.object(v, map[string]field{
		"retention_policy": func(b *binder, v *value) {
			if b.oneOf(v, "retention_policy", retentionPolicies) {
				p.RetentionPolicy = RetentionPolicy(v.text)
			}
		},
		"retention_duration_seconds": count(&p.RetentionDurationSeconds),
		"human_in_loop":              boolean(&p.HumanInLoop),
		"training_consent":           boolean(&p.TrainingConsent),
		"storage_location":           text(&p.StorageLocation),
		"encryption_at_rest":         optional(&p.EncryptionAtRest),
		"encryption_in_transit":      optional(&p.EncryptionInTransit),
	})
}

// maxEndorsements bounds the work of verifying them.
const maxEndorsements = 16

func (b *binder) endorsements(v *value) {
	texts(&b.m.Endorsements, maxEndorsements)(b, v)
	for _, item := range v.items {
		if !compactJWS(item.text) {
			b.refuse(item, "an endorsement must be a compact JWS: three parts of base64url with dots between them")
		}
	}
}

func (b *binder) revokedKeys(v *value) {
	b.each(v, 64, func(b *binder, v *value) {
		var k RevokedKey
		b.object(v, map[string]field{"kid": text(&k.KeyID), "at": timestamp(&k.At)})
		if raw, ok := decodeBase64URL(k.KeyID); !ok || len(raw) != 32 || k.At.IsZero() {
			b.refuse(v, `a revoked key needs "kid", the RFC 7638 thumbprint of the key, and "at", a time`)
		}
		b.m.RevokedKeys = append(b.m.RevokedKeys, k)
	})
}

// maxSignatures bounds the work of verifying them.
const maxSignatures = 4

// signatures checks their shape.
func (b *binder) signatures(v *value) {
	b.signatureList(v, maxSignatures, &b.m.Signatures)
	if b.err == nil && len(v.items) == 0 {
		b.refuse(v, "signatures must have 1 to %d elements, got none; leave it out of an unsigned manifest", maxSignatures)
	}
}

// signatureList reads signatures by their shape. Their members are the only ones
// that no signature covers, so unknown ones are refused.
func (b *binder) signatureList(v *value, most int, dst *[]ManifestSignature) {
	b.each(v, most, func(b *binder, v *value) {
		var s ManifestSignature
		b.object(v, map[string]field{"protected": base64URL(&s.Protected), "signature": base64URL(&s.Signature)})
		for _, m := range v.members {
			if m.name != "protected" && m.name != "signature" {
				b.refuse(m.value, "a signature has the members protected and signature only: nothing protects any other")
			}
		}
		if s.Protected == "" || s.Signature == "" {
			b.refuse(v, "a signature needs the members protected and signature")
		}
		*dst = append(*dst, s)
	})
}

// each reads the elements of an array of at most most elements.
func (b *binder) each(v *value, most int, read field) {
	if v.kind != ijson.BeginArray {
		b.wrongType(v, "an array")
		return
	}
	if len(v.items) > most {
		b.refuse(v, "must have at most %d elements, got %d", most, len(v.items))
		return
	}
	for _, item := range v.items {
		read(b, item)
	}
}
