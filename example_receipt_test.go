package iatp_test

import (
	"bytes"
	"fmt"

	"github.com/inter-agent-trust/iatp"
)

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
