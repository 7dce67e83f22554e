package iatp

import (
	"errors"
	"fmt"
	"time"

	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// TrustLevelMark is the type of an Endorsement among the trust marks of OpenID
// Federation.
const TrustLevelMark = BaseURI + "marks/trust-level/v1"

// MaxEndorsementTime is the longest that an endorsement holds.
const MaxEndorsementTime = 30 * 24 * time.Hour

// An Endorsement is an authority's signed word on how far to trust a principal
// with a certain key: a trust mark of type TrustLevelMark.
type Endorsement struct {
	Iss        string // the authority, an https origin
	Sub        string // the principal that it speaks of
	JKT        string // thumbprint of the key that must have signed the manifest
	Iat, Exp   int64  // seconds since 1970
	TrustLevel TrustLevel

	// MaxClaims caps what the manifest may claim; "" sets no cap.
	MaxClaims MaxClaims
}

// MaxClaims are the best attributes that an authority vouches for.
type MaxClaims struct {
	RetentionPolicy RetentionPolicy    `json:"retention_policy,omitempty"`
	Reversibility   ReversibilityLevel `json:"reversibility,omitempty"`
}

// Sign returns the endorsement as a compact JWS, for a manifest's endorsements.
// What is returned is what VerifyEndorsement accepts.
func (e *Endorsement) Sign(k PrivateKey) (jws string, err error) {
	claims, err := marshalSigned(struct {
		Iss        string            `json:"iss"`
		Sub        string            `json:"sub"`
		Type       string            `json:"trust_mark_type"`
		Iat        int64             `json:"iat"`
		Exp        int64             `json:"exp"`
		Cnf        map[string]string `json:"cnf"`
		TrustLevel TrustLevel        `json:"trust_level"`
		MaxClaims  MaxClaims         `json:"max_claims,omitzero"`
	}{e.Iss, e.Sub, TrustLevelMark, e.Iat, e.Exp, map[string]string{"jkt": e.JKT}, e.TrustLevel, e.MaxClaims})
	if err == nil {
		_, err = parseEndorsement(claims)
	}
	if err == nil {
		jws, err = signCompact(k, TypeEndorsement, claims)
	}
	if err != nil {
		return "", fmt.Errorf("sign endorsement: %w", err)
	}
	return jws, nil
}

// VerifyEndorsement checks and reads an endorsement under the keys of an
// authority that the reader has chosen to trust. Whom it speaks of, and when it
// holds, is for the reader to compare: see Endorsement.ValidAt.
func VerifyEndorsement(jws string, authority ...Key) (*Endorsement, error) {
	payload, _, err := verifyCompact(jws, TypeEndorsement, func(kid string) (Key, bool) {
		for _, k := range authority {
			if k.valid && k.Thumbprint() == kid {
				return k, true
			}
		}
		return Key{}, false
	})
	if err != nil {
		return nil, fmt.Errorf("endorsement: %w", err)
	}
	return parseEndorsement(payload)
}

// parseEndorsement reads the claims. Unknown ones are ignored, as in every trust
// mark.
func parseEndorsement(claims []byte) (*Endorsement, error) {
	var e Endorsement
	err := parseSigned("endorsement", MaxStatementSize, claims, func(b *binder, root *value) { b.endorsement(&e, root) })
	if err != nil {
		return nil, err
	}
	if e.Exp <= e.Iat || e.Exp-e.Iat > int64(MaxEndorsementTime/time.Second) {
		return nil, fmt.Errorf("endorsement: exp must be after iat, and at most %d days", int(MaxEndorsementTime.Hours()/24))
	}
	return &e, nil
}

func (b *binder) endorsement(e *Endorsement, root *value) {
	b.object(root, map[string]field{
		"iss": principal(&e.Iss),
		"sub": principal(&e.Sub),
		"iat": count(&e.Iat),
		"exp": count(&e.Exp),
		"trust_mark_type": func(b *binder, v *value) {
			if v.kind != ijson.String || v.text != TrustLevelMark {
				b.refuse(v, "trust_mark_type must be %q, got %s", TrustLevelMark, v.describe())
			}
		},
		"cnf": func(b *binder, v *value) {
			b.object(v, map[string]field{"jkt": thumbprint(&e.JKT)})
			b.required(v, "jkt")
		},
		"trust_level": func(b *binder, v *value) {
			level, err := ParseTrustLevel(v.text)
			if err != nil || v.kind != ijson.String {
				b.refuse(v, "trust_level must be one of %s, got %s", levelNames, v.describe())
			}
			e.TrustLevel = level
		},
		"max_claims": func(b *binder, v *value) { b.maxClaims(&e.MaxClaims, v) },
	})
	b.required(root, "iss", "sub", "iat", "exp", "trust_mark_type", "cnf", "trust_level")
}

// maxClaims refuses caps that it does not know: to ignore one would be to lift it.
func (b *binder) maxClaims(m *MaxClaims, v *value) {
	b.only(v, map[string]field{
		"retention_policy": func(b *binder, v *value) {
			if b.oneOf(v, "retention_policy", retentionPolicies) {
				m.RetentionPolicy = RetentionPolicy(v.text)
			}
		},
		"reversibility": func(b *binder, v *value) {
			if b.oneOf(v, "reversibility", reversibilityLevels) {
				m.Reversibility = ReversibilityLevel(v.text)
			}
		},
	})
}

// ValidAt reports why the endorsement does not hold at that time.
func (e *Endorsement) ValidAt(now time.Time) error {
	switch {
	case time.Unix(e.Iat, 0).Sub(now) > clockSkew:
		return errors.New("endorsement begins in the future; are the clocks right?")
	case !now.Before(time.Unix(e.Exp, 0)):
		return errors.New("endorsement has ended")
	}
	return nil
}
