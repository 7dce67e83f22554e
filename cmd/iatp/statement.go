package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// typeOfStatement is the typ of a compact JWS, "" if it has none. Nothing is
// verified here.
func typeOfStatement(jws string) string {
	head, err := base64.RawURLEncoding.DecodeString(jws[:strings.Index(jws, ".")])
	var h struct {
		Typ string `json:"typ"`
	}
	if err != nil || json.Unmarshal(head, &h) != nil {
		return ""
	}
	return h.Typ
}

// stated is the result of verifying a receipt or an endorsement.
type stated struct {
	File   string          `json:"file"`
	Kind   string          `json:"kind"`
	Valid  bool            `json:"valid"`
	Error  string          `json:"error,omitempty"`
	Key    string          `json:"key,omitempty"`    // that verifies it
	Remark string          `json:"remark,omitempty"` // what that is worth
	Claims json.RawMessage `json:"claims,omitempty"`

	lines []string // for a person
}

// verifyStatement verifies a receipt or an endorsement.
func (p *program) verifyStatement(ctx context.Context, file, kind string, data []byte, f *verifyFlags) error {
	jws := strings.TrimSpace(string(data))
	var keys iatp.KeySet
	var remark string
	var err error
	if f.data != "" && f.key == "" && f.from == "" && kind == iatp.TypeReceipt {
		if keys, remark, err = remembered(f.data, jws); err != nil {
			return p.printStated(&stated{File: file, Kind: "receipt", Error: err.Error()}, f.asJSON)
		}
	} else if keys, remark, err = p.statementKeys(ctx, f); err != nil {
		return err
	}
	result := stated{File: file, Kind: "endorsement", Remark: remark}
	if kind == iatp.TypeReceipt {
		result.Kind = "receipt"
		err = p.receipt(&result, jws, keys, f)
	} else {
		err = result.endorsement(jws, keys, f, time.Now())
	}
	if err != nil {
		result.Error = err.Error()
	} else {
		result.Valid = true
		result.Claims, result.Key = claimsOf(jws)
	}
	return p.printStated(&result, f.asJSON)
}

// statementKeys are the keys that --key or --from names, and what a statement
// under them proves.
func (p *program) statementKeys(ctx context.Context, f *verifyFlags) (keys iatp.KeySet, remark string, err error) {
	switch {
	case (f.key == "") == (f.from == "") || f.data != "":
		return keys, "", usagef("say whose word it must be: --key ed25519:…, --from URL for the keys that somebody publishes, or for a receipt --data DIR for those that our log has seen")
	case f.key != "":
		text := f.key
		if !strings.HasPrefix(text, "ed25519:") {
			if text, err = p.readKey(f.key); err != nil {
				return keys, "", err
			}
		}
		key, err := iatp.ParseKey(text)
		if err != nil {
			return keys, "", usagef("--key: %w", err)
		}
		keys, err = iatp.NewKeySet(iatp.DirectoryKey{Key: key})
		return keys, "under the key that you gave", err
	}
	u, err := scanURL(f.from)
	if err != nil {
		return keys, "", err
	}
	origin := originOf(u)
	if err := iatp.CheckOrigin(origin); err != nil {
		return keys, "", usagef("--from: %w", err)
	}
	r, err := newRemote(f.ca)
	if err != nil {
		return keys, "", err
	}
	keys, err = r.keys(ctx, origin)
	return keys, "under a key that " + origin + " publishes now", err
}

// issued holds a statement to the origin whose keys were fetched: a directory
// may list any key, and speaks for its own origin only.
func (f *verifyFlags) issued(iss string) error {
	if f.from == "" {
		return nil
	}
	if u, err := scanURL(f.from); err != nil || originOf(u) != iss {
		return fmt.Errorf("it is by %s, and not by %s", shown(iss), f.from)
	}
	return nil
}

func (p *program) receipt(result *stated, jws string, keys iatp.KeySet, f *verifyFlags) error {
	r, err := iatp.VerifyReceipt(jws, keys)
	if err == nil {
		err = f.issued(r.Iss)
	}
	if err == nil && f.body != "" {
		err = p.receiptOf(r, f.body)
	}
	if err != nil {
		return err
	}
	add := func(label, text string) { result.lines = append(result.lines, pad(label, receiptWidth)+shown(text)) }
	add("by", r.Iss)
	add("for", r.Aud)
	add("at", time.Unix(r.Iat, 0).UTC().Format("2006-01-02 15:04:05 UTC"))
	add("trace", string(r.TraceID))
	if r.Req.Key != "" {
		add("request", "idempotency key "+r.Req.Key)
	}
	add("outcome", r.Outcome)
	answer := fmt.Sprintf("%d, body %s", r.Res.Status, r.Res.Digest.ContentDigest())
	if f.body != "" {
		answer += ", which is the file's"
	}
	add("answer", answer)
	if !r.Cost.IsZero() {
		add("cost", r.Cost.String())
	}
	add("undo", undoOf(r))
	return nil
}

// receiptWidth is the width of the labels of a receipt.
const receiptWidth = 10

// undoOf says what a receipt promises to undo.
func undoOf(r *iatp.Receipt) string {
	if r.Undo == nil || !r.Undo.Level.Undoes() {
		return "nothing: what was done stays done"
	}
	text := string(r.Undo.Level)
	if r.Undo.Until != 0 {
		text += " until " + time.Unix(r.Undo.Until, 0).UTC().Format("2006-01-02 15:04:05 UTC")
	}
	return text
}

// receiptOf reports whether a file is the body that a receipt speaks of.
func (p *program) receiptOf(r *iatp.Receipt, file string) error {
	body, err := p.readFile(file, maxBody)
	switch {
	case err != nil:
		return err
	case len(body) > maxBody:
		return fmt.Errorf("%s is longer than %d bytes", file, maxBody)
	case iatp.DigestOf(body) != r.Res.Digest:
		return fmt.Errorf("%s is not the answer that it speaks of", file)
	}
	return nil
}

// maxBody bounds the body that a receipt is compared with, in bytes.
const maxBody = 64 << 20

func (result *stated) endorsement(jws string, keys iatp.KeySet, f *verifyFlags, now time.Time) error {
	e, err := iatp.VerifyEndorsement(jws, keys.ValidAt(now)...)
	if err == nil {
		err = errors.Join(f.issued(e.Iss), e.ValidAt(now))
	}
	if err != nil {
		return err
	}
	add := func(label, text string) { result.lines = append(result.lines, pad(label, receiptWidth)+shown(text)) }
	add("by", e.Iss)
	add("for", e.Sub)
	add("key", "thumbprint "+e.JKT)
	add("level", e.TrustLevel.String())
	add("until", time.Unix(e.Exp, 0).UTC().Format("2006-01-02 15:04:05 UTC"))
	if c := e.MaxClaims; c != (iatp.MaxClaims{}) {
		add("covers", join(", ", string(c.RetentionPolicy), string(c.Reversibility)))
	}
	return nil
}

// claimsOf returns the payload and the thumbprint of the key of a statement that
// was verified.
func claimsOf(jws string) (claims json.RawMessage, jkt string) {
	parts := strings.Split(jws, ".")
	head, _ := base64.RawURLEncoding.DecodeString(parts[0])
	claims, _ = base64.RawURLEncoding.DecodeString(parts[1])
	var h struct {
		KeyID string `json:"kid"`
	}
	_ = json.Unmarshal(head, &h)
	return bytes.Clone(claims), h.KeyID
}

func (p *program) printStated(r *stated, asJSON bool) error {
	switch {
	case asJSON:
		if err := writeJSON(p.stdout, r); err != nil {
			return err
		}
	case !r.Valid:
		p.out.line("%s: %s %s", r.File, p.out.in(red, "not valid:"), shown(r.Error))
	default:
		p.out.line("%s: %s %s, %s", r.File, p.out.in(green, "valid"), r.Kind, shown(r.Remark))
		for _, line := range r.lines {
			p.out.line("  %s", line)
		}
	}
	if !r.Valid {
		return errFailed
	}
	return nil
}
