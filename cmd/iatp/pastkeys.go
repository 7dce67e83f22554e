package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/handshake"
)

// remembered returns the key that a receipt names, if the flight log in a directory
// has seen that its issuer had it, and what a receipt under it proves. Keys change,
// and a receipt stays under the one that was in force.
func remembered(data, jws string) (keys iatp.KeySet, remark string, err error) {
	iss, kid, err := issuer(jws)
	if err != nil {
		return keys, "", err
	}
	a, err := flight.OpenArchive(data)
	if err != nil {
		return keys, "", fmt.Errorf("%w; --data wants the data directory of a sidecar", err)
	}
	past, err := handshake.History(a.Lines(0), iss)
	if err != nil {
		return keys, "", err
	}
	at := slices.IndexFunc(past, func(k handshake.PastKey) bool { return k.Key.Thumbprint() == kid })
	switch {
	case len(past) == 0:
		return keys, "", fmt.Errorf("the log in %s has seen no key of %s", data, shown(iss))
	case at < 0:
		return keys, "", fmt.Errorf("it is under the key %s, which the log in %s has never seen with %s", shown(kid), data, shown(iss))
	}
	k := past[at]
	seen, err := recorded(a, iatp.DigestOf([]byte(jws)).Base64URL())
	if err != nil {
		return keys, "", err
	}
	if !k.Revoked.IsZero() && (seen == nil || !seen.Time.Before(k.Revoked)) {
		return keys, "", fmt.Errorf("its key %s was revoked by its owner, as was learned on %s, and no record of before says that the receipt was there",
			shown(kid), day(k.Revoked))
	}
	keys, err = iatp.NewKeySet(iatp.DirectoryKey{Key: k.Key})
	return keys, inForce(k, seen), err
}

// issuer reads whose word a receipt is, and under which key. Nothing is verified.
func issuer(jws string) (iss, kid string, err error) {
	parts := strings.Split(jws, ".")
	var head struct {
		Kid string `json:"kid"`
	}
	var claims struct {
		Iss string `json:"iss"`
	}
	for i, v := range []any{&head, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, v)
		}
		if err != nil {
			return "", "", errors.New("it is no signed statement")
		}
	}
	return claims.Iss, head.Kid, nil
}

// recorded returns the first record that names a receipt, nil if there is none.
func recorded(a *flight.Archive, digest string) (*flight.Record, error) {
	member := []byte(`"receipt":"` + digest + `"`)
	for rec, err := range a.Lines(0) {
		if err != nil {
			return nil, err
		}
		var l struct {
			Receipt string `json:"receipt"`
		}
		if bytes.Contains(rec.Line, member) && json.Unmarshal(rec.Line, &l) == nil && l.Receipt == digest {
			rec.Line = nil
			return &rec, nil
		}
	}
	return nil, nil
}

// inForce says when a key was in force, and what became of it.
func inForce(k handshake.PastKey, seen *flight.Record) string {
	text := fmt.Sprintf("under the key that it had since %s (record %d, %s)", day(k.Since), k.Seq, words(k.Event))
	switch {
	case !k.Revoked.IsZero():
		text += ", revoked since: " + day(k.Revoked)
	case !k.Forgotten.IsZero():
		text += ", forgotten by the operator since: " + day(k.Forgotten)
	case !k.Until.IsZero():
		text += " until it changed to another, which that one or an authority vouched for: " + day(k.Until)
	default:
		text += ", its latest that this log knows"
	}
	if seen != nil {
		return text + fmt.Sprintf("; record %d of %s names the receipt", seen.Seq, day(seen.Time))
	}
	return text + "; no record names the receipt, so when it was made is its own word"
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
