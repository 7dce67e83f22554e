package iatp

import (
	"fmt"
	"strings"
)

// An AgentID is the label an agent gives itself. It is not an identity: anybody
// may claim any label.
type AgentID string

// A DataClass is a kind of sensitive data.
type DataClass string

// The classes of sensitive data that the protocol's own rules speak of.
const (
	CreditCard DataClass = "credit_card"
	SSN        DataClass = "ssn"
	Email      DataClass = "email"
)

// A TrustLevel says how far an agent is, or claims to be, trusted. Levels are
// ordered: a greater one is trusted more. The zero value is Untrusted.
type TrustLevel uint8

// The trust levels, lowest first.
const (
	Untrusted TrustLevel = iota
	Unknown
	Standard
	Trusted
	VerifiedPartner
)

var trustLevels = [...]string{
	Untrusted:       "untrusted",
	Unknown:         "unknown",
	Standard:        "standard",
	Trusted:         "trusted",
	VerifiedPartner: "verified_partner",
}

// ParseTrustLevel reads the name of a level as manifests spell it.
func ParseTrustLevel(s string) (TrustLevel, error) {
	for level, name := range trustLevels {
		if name == s {
			return TrustLevel(level), nil
		}
	}
	return Untrusted, enumError("trust level", s, trustLevels[:])
}

// String returns the name of the level as manifests spell it.
func (l TrustLevel) String() string {
	if int(l) < len(trustLevels) {
		return trustLevels[l]
	}
	return fmt.Sprintf("TrustLevel(%d)", uint8(l))
}

// MarshalText returns the name of the level. A value that is no level is an error.
func (l TrustLevel) MarshalText() ([]byte, error) {
	if int(l) >= len(trustLevels) {
		return nil, fmt.Errorf("no such trust level: %d", uint8(l))
	}
	return []byte(trustLevels[l]), nil
}

// UnmarshalText reads the name of a level.
func (l *TrustLevel) UnmarshalText(text []byte) error {
	level, err := ParseTrustLevel(string(text))
	if err == nil {
		*l = level
	}
	return err
}

// A ReversibilityLevel says how much of its effect an agent can undo. The zero
// value says nothing, and counts as ReversibilityNone.
type ReversibilityLevel string

// The reversibility levels.
const (
	ReversibilityNone    ReversibilityLevel = "none"
	ReversibilityPartial ReversibilityLevel = "partial"
	ReversibilityFull    ReversibilityLevel = "full"
)

var reversibilityLevels = []string{"none", "partial", "full"}

// ParseReversibilityLevel reads a level as manifests spell it.
func ParseReversibilityLevel(s string) (ReversibilityLevel, error) {
	return parseEnum[ReversibilityLevel]("reversibility level", s, reversibilityLevels)
}

// Undoes reports whether anything at all can be undone.
func (l ReversibilityLevel) Undoes() bool {
	return l == ReversibilityPartial || l == ReversibilityFull
}

// AtLeast reports whether l promises as much as want does.
func (l ReversibilityLevel) AtLeast(want ReversibilityLevel) bool {
	return l.rank() >= want.rank()
}

func (l ReversibilityLevel) rank() int {
	switch l {
	case ReversibilityPartial:
		return 1
	case ReversibilityFull:
		return 2
	}
	return 0
}

// A RetentionPolicy says how long an agent keeps what it is sent. The zero value
// says nothing: no bonus and no penalty, and no promise to rely on.
type RetentionPolicy string

// The retention policies. Permanent and Forever mean the same.
const (
	RetentionEphemeral RetentionPolicy = "ephemeral"
	RetentionTemporary RetentionPolicy = "temporary"
	RetentionPermanent RetentionPolicy = "permanent"
	RetentionForever   RetentionPolicy = "forever"
)

var retentionPolicies = []string{"ephemeral", "temporary", "permanent", "forever"}

// ParseRetentionPolicy reads a policy as manifests spell it.
func ParseRetentionPolicy(s string) (RetentionPolicy, error) {
	return parseEnum[RetentionPolicy]("retention policy", s, retentionPolicies)
}

// KeepsForever reports whether the policy is to keep data without end.
func (p RetentionPolicy) KeepsForever() bool {
	return p == RetentionPermanent || p == RetentionForever
}

func parseEnum[T ~string](what, s string, values []string) (T, error) {
	for _, v := range values {
		if v == s {
			return T(s), nil
		}
	}
	return "", enumError(what, s, values)
}

func enumError(what, got string, values []string) error {
	return fmt.Errorf("%s must be one of %s, got %s", what, strings.Join(values, ", "), snippet(got))
}
