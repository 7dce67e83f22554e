package handshake

import (
	"fmt"
	"strings"

	"github.com/inter-agent-trust/iatp"
)

// A mark is an endorsement that holds for the peer and the key at hand.
type mark struct {
	mark    *iatp.Endorsement
	ceiling iatp.TrustLevel // the lower of what it says and what its authority may say
}

// endorsements returns the marks of a manifest that a configured authority gave
// to this principal with this key, and that hold at the time. All others count
// for nothing; a manifest may well carry marks of authorities that are unknown
// here.
func (p *Peers) endorsements(f *finding, v visit, own iatp.Key) []mark {
	var good []mark
	for _, jws := range v.manifest.Endorsements {
		k, err := p.endorsement(jws)
		if err == nil {
			err = k.mark.ValidAt(v.at)
		}
		if err != nil || k.mark.Sub != v.peer.URI || k.mark.JKT != own.Thumbprint() {
			f.note(NoteEndorsementIgnored)
			continue
		}
		good = append(good, k)
	}
	return good
}

// endorsement verifies a mark under the key of the authority that gave it.
func (p *Peers) endorsement(jws string) (mark, error) {
	for _, a := range p.authorities {
		e, err := iatp.VerifyEndorsement(jws, a.Key)
		if err != nil || !a.speaksFor(e.Sub) || p.revoked[a.Key.Thumbprint()] {
			continue
		}
		return mark{e, min(a.MaxLevel, e.TrustLevel)}, nil
	}
	return mark{}, fmt.Errorf("no configured authority gave it")
}

// exceeded reports whether the manifest promises more than the authority vouches
// for. Then the mark vouches for none of it: what it was given for has changed.
func (k mark) exceeded(m *iatp.Manifest) bool {
	most := k.mark.MaxClaims
	if most.Reversibility != "" && !most.Reversibility.AtLeast(m.Reversibility.Level) {
		return true
	}
	return most.RetentionPolicy != "" && retains(m.Privacy.RetentionPolicy) < retains(most.RetentionPolicy)
}

// retains orders the retention policies by how long they keep what they are sent.
func retains(p iatp.RetentionPolicy) int {
	switch p {
	case iatp.RetentionEphemeral:
		return 0
	case iatp.RetentionTemporary:
		return 1
	}
	return 2 // for ever, or no promise
}

// speaksFor reports whether the authority may endorse that principal.
func (a *Authority) speaksFor(uri string) bool {
	for _, pattern := range a.For {
		if pattern == uri || pattern == anyHTTPS && strings.HasPrefix(uri, "https://") {
			return true
		}
		if domain, ok := strings.CutPrefix(pattern, anyHTTPS+"."); ok {
			host, ok := strings.CutPrefix(uri, "https://")
			if ok && strings.HasSuffix(host, "."+domain) {
				return true
			}
		}
	}
	return false
}

// anyHTTPS is the pattern for every https origin; with ".example.com" behind it,
// for the hosts below that domain, at the port that is understood.
const anyHTTPS = "https://*"

// check reports what is wrong with the authority as it is configured.
func (a *Authority) check() error {
	if a.Key == (iatp.Key{}) {
		return fmt.Errorf("it has no key")
	}
	if len(a.For) == 0 {
		return fmt.Errorf("it may speak for nobody; list the origins in for")
	}
	for _, pattern := range a.For {
		domain, below := strings.CutPrefix(pattern, anyHTTPS+".")
		if below {
			domain = "https://" + domain
		} else {
			domain = pattern
		}
		if o, err := parseOrigin(domain); pattern != anyHTTPS && (err != nil || below && o.port != "443") {
			return fmt.Errorf("for: %q is not an origin, https://*.domain or https://*", pattern)
		}
	}
	return nil
}
