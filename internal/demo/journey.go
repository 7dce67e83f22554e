package demo

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/policy"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// Contact is an address of the traveller, which the booking agent need not have.
const Contact = "ann@example.com"

// peerName is what the traveller's agent calls the booking agent.
const peerName = "expedia"

// raiseMesh starts the traveller's agent and those that it calls. Their sidecars know
// each other by their keys.
func (c *Cast) raiseMesh(dir string) error {
	traveller, err := newPassport(dir, "travel")
	if err != nil {
		return err
	}
	defer traveller.place.Close() // if it comes to nothing
	peers := map[string]sidecar.Peer{}
	callee := func(name, known string, agent http.Handler) (*Party, error) {
		own, err := newPassport(dir, name)
		if err != nil {
			return nil, err
		}
		defer own.place.Close()
		peers[known] = sidecar.Peer{URL: own.url, Pin: own.key.Public().String(), MaxLevel: iatp.VerifiedPartner.String()}
		return raise(name, agent, dir, func(cfg *sidecar.Config) {
			own.give(cfg)
			cfg.Peers = map[string]sidecar.Peer{"travel": {URL: traveller.url, Pin: traveller.key.Public().String()}}
		})
	}
	if c.Booking, err = callee("booking", peerName, NewBooking()); err != nil {
		return err
	}
	c.purse = NewPurse(purseBefore)
	for _, d := range []struct {
		name       string
		places     int
		price, fee Cents
	}{{"flight", 9, 400_00, 0}, {"hotel", 9, 300_00, hotelFee}, {"car", 0, 100_00, 0}} {
		desk, err := callee(d.name, d.name, NewDesk(d.name+"-agent", d.places, d.price, d.fee, c.purse))
		if err != nil {
			return err
		}
		c.Desks = append(c.Desks, desk)
	}
	c.Travel, err = raise("travel", NewBackend(), dir, func(cfg *sidecar.Config) {
		traveller.give(cfg)
		cfg.Require.Reversibility = iatp.ReversibilityPartial
		cfg.Peers = peers
		cfg.Privacy.Rules = []policy.DataRule{{Kinds: []string{"contact"}, Calls: []string{"out"}, Action: "redact"}}
	})
	return err
}

// A passport is what a sidecar needs to be known to others.
type passport struct {
	key     iatp.PrivateKey
	file    string // with the key
	address string // of the public listener
	url     string
	place   net.Listener // keeps the address until the sidecar starts
}

// newPassport makes a key and finds a free address, which it keeps for the sidecar.
func newPassport(dir, name string) (*passport, error) {
	key, err := iatp.GeneratePrivateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	text, err := key.MarshalPEM()
	if err != nil {
		return nil, err
	}
	p := &passport{key: key, file: filepath.Join(dir, name+".key")}
	if err := os.WriteFile(p.file, text, 0o600); err != nil {
		return nil, err
	}
	if p.place, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	p.address = p.place.Addr().String()
	p.url = "http://" + p.address
	return p, nil
}

// give makes a configuration the holder's, who takes the address over: between here
// and its start another program could have it, and then the start says so.
func (p *passport) give(cfg *sidecar.Config) {
	p.place.Close() // nobody was ever let in
	cfg.Key, cfg.Public, cfg.PublicURL = p.file, p.address, p.url
}

// Journey is the scene between two sidecars: the traveller requires that things
// can be undone, the booking agent says that it cannot, a person decides.
func (c *Cast) Journey() []Scene {
	book := `{"task":"book_flight","data":{"from":"SFO","to":"NYC","contact":"` + Contact + `"}}`
	return []Scene{
		{
			Title: "Book a flight via another agent that cannot take it back: a person is asked first.",
			To:    c.Travel, Peer: peerName, about: c.Booking,
			Body:   book,
			status: iatp.StatusRetryWith, says: []string{`"requires_override":true`, `Agent cannot UNDO this`},
		},
		{
			Title: "“Override. Do it.” The call goes out signed, without the traveller's address, and comes back with proof of execution.",
			To:    c.Travel, Peer: peerName, about: c.Booking,
			Body:     book,
			Override: true,
			status:   http.StatusOK, quarantined: true, says: []string{`"ticket":"` + Ticket + `"`, `"confirmation_to":"[EMAIL_REDACTED]"`},
		},
	}
}

// Proof verifies the receipt of an answer of the journey as anybody could who has
// the booking agent's key: that it signed for this very answer.
func (c *Cast) Proof(a *Answer) (*iatp.Receipt, error) {
	key, ok := c.Booking.sidecar.PublicKey()
	if !ok {
		return nil, errors.New("the booking agent has no key")
	}
	keys, err := iatp.NewKeySet(iatp.DirectoryKey{Key: key})
	if err != nil {
		return nil, err
	}
	r, err := iatp.VerifyReceipt(a.Header.Get(iatp.HeaderReceipt), keys)
	switch {
	case err != nil:
		return nil, err
	case r.Res.Digest != iatp.DigestOf(a.Body) || r.Res.Status != a.Status || r.TraceID != a.Trace:
		return nil, errors.New("the receipt is of another answer")
	case r.Outcome != iatp.OutcomeExecuted:
		return nil, fmt.Errorf("the receipt says %s, promised was executed", r.Outcome)
	}
	return r, nil
}
