package iatp_test

import (
	"bytes"
	"fmt"

	"github.com/inter-agent-trust/iatp"
)

// A statement of one's own has a typ of its own, so that it is never taken for a
// receipt or an endorsement.
func ExampleVerifyStatement() {
	key, _ := iatp.GeneratePrivateKey(bytes.NewReader(make([]byte, 32))) // crypto/rand.Reader, outside of examples
	jws, err := iatp.SignStatement(key, "audit+jws", []byte(`{"year": 2026, "passed": true}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	known := func(kid string) (iatp.Key, bool) { return key.Public(), kid == key.Public().Thumbprint() }

	payload, signer, err := iatp.VerifyStatement(jws, "audit+jws", known)
	fmt.Println(string(payload), signer == key.Public(), err)
	_, _, err = iatp.VerifyStatement(jws, iatp.TypeReceipt, known)
	fmt.Println(err != nil)
	// Output:
	// {"passed":true,"year":2026} true <nil>
	// true
}

// The callee signs what it got and what it gave; the caller checks that against
// what it sent and what it received.
func ExampleReceipt() {
	callee, _ := iatp.GeneratePrivateKey(bytes.NewReader(make([]byte, 32))) // crypto/rand.Reader, outside of examples
	directory, _ := iatp.NewKeySet(iatp.DirectoryKey{Key: callee.Public()})
	request, answer := iatp.DigestOf([]byte("signature base")), iatp.DigestOf([]byte("Ticket #999"))

	jws, err := (&iatp.Receipt{
		Iss: "https://expedia.example", Aud: "https://travel.example", Iat: 1794650002, JTI: "rcpt_1", TraceID: "abc-123",
		Req: iatp.Requested{Base: request, Key: "booking-1"}, Res: iatp.Responded{Status: 200, Digest: answer},
		Outcome: iatp.OutcomeExecuted,
	}).Sign(callee)
	if err != nil {
		fmt.Println(err)
		return
	}

	receipt, err := iatp.VerifyReceipt(jws, directory)
	if err != nil {
		fmt.Println(err)
		return
	}
	want := iatp.ReceiptWant{
		Iss: "https://expedia.example", Aud: "https://travel.example", Key: "booking-1",
		Bases: []iatp.Digest{request}, Status: 200, Digest: answer,
	}
	fmt.Println(receipt.Check(want))
	want.Status = 201
	fmt.Println(receipt.Check(want))
	// Output:
	// <nil>
	// receipt is of another exchange: res.status differs
}
