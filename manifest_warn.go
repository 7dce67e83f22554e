package iatp

import "fmt"

// Warnings lists what in the manifest contradicts itself or promises less than it
// seems to, one sentence each. A manifest with warnings is still valid.
func (m *Manifest) Warnings() []string {
	var w warnings
	w.identity(m)
	w.reversibility(m.Reversibility)
	w.privacy(m.Privacy)
	if m.Capabilities.IdempotencyDurationSeconds > 0 && !m.Capabilities.Idempotency {
		w.add("capabilities.idempotency_duration_seconds has no effect while idempotency is false")
	}
	if !m.ExpiresAt.IsZero() && !m.ExpiresAt.After(m.UpdatedAt) {
		w.add("expires_at is not after updated_at: the manifest was never valid")
	}
	return w
}

type warnings []string

func (w *warnings) add(format string, args ...any) { *w = append(*w, fmt.Sprintf(format, args...)) }

func (w *warnings) identity(m *Manifest) {
	key, isKey := m.VerificationKey()
	signed := len(m.Signatures) > 0
	switch {
	case signed && !isKey:
		w.add("the manifest is signed, but identity.verification_key is not an ed25519 key: nobody will believe it")
	case !signed && m.TrustLevel > Unknown:
		w.add("trust_level is %s, but the manifest is unsigned: a stranger believes no more than unknown", m.TrustLevel)
	}
	if m.TrustLevel == Untrusted && (signed || len(m.Endorsements) > 0) {
		w.add("trust_level is untrusted, yet the manifest is signed or endorsed")
	}
	if signed && m.Identity.URI == "" {
		w.add("the manifest is signed, but has no identity.uri: the signature vouches for nobody in particular")
	}
	if len(m.Endorsements) > 0 && !signed {
		w.add("endorsements count only for a signed manifest")
	}
	for _, revoked := range m.RevokedKeys {
		if isKey && revoked.KeyID == key.Thumbprint() {
			w.add("identity.verification_key is among revoked_keys")
		}
	}
}

func (w *warnings) reversibility(r Reversibility) {
	switch {
	case r.Level.Undoes() && r.UndoWindowSeconds == nil:
		w.add("reversibility.level is %s, but undo_window_seconds is missing: nothing says for how long", r.Level)
	case !r.Level.Undoes() && r.UndoWindowSeconds != nil && *r.UndoWindowSeconds > 0:
		w.add("reversibility.undo_window_seconds has no effect while level is none")
	}
	if r.Level.Undoes() && r.CompensationMethod == "" {
		w.add("reversibility.level is %s, but compensation_method does not say how", r.Level)
	}
	if !r.Level.Undoes() && r.CompensationMethod != "" {
		w.add("reversibility.compensation_method has no effect while level is none")
	}
	if r.MaxFee != "" && r.Currency == "" {
		w.add("reversibility.max_fee has no currency")
	}
}

func (w *warnings) privacy(p Privacy) {
	off := p.EncryptionAtRest != nil && !*p.EncryptionAtRest
	switch {
	case p.RetentionPolicy.KeepsForever() && off:
		w.add("data is kept for ever and not encrypted at rest")
	case p.RetentionPolicy == RetentionTemporary && off:
		w.add("data is kept for a time and not encrypted at rest")
	}
	if p.RetentionPolicy.KeepsForever() && p.RetentionDurationSeconds > 0 {
		w.add("privacy.retention_duration_seconds contradicts retention_policy %s", p.RetentionPolicy)
	}
	if p.RetentionPolicy != RetentionEphemeral {
		return
	}
	if p.RetentionDurationSeconds > 0 {
		w.add("privacy.retention_duration_seconds contradicts retention_policy ephemeral")
	}
	if p.TrainingConsent {
		w.add("privacy.training_consent contradicts retention_policy ephemeral: what trains a model stays in it")
	}
	if p.HumanInLoop {
		w.add("privacy.human_in_loop sits badly with retention_policy ephemeral: people remember and copy")
	}
}
