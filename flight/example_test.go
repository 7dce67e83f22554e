package flight_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/inter-agent-trust/iatp/flight"
)

// A record is appended before what it records happens; afterwards anybody with
// the public key can check that it is in the log.
func Example() {
	dir, err := os.MkdirTemp("", "flight")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	recorder, err := flight.Open(dir, flight.Options{Origin: "bank.example/iatp"})
	if err != nil {
		log.Fatal(err)
	}
	seq, err := recorder.Append(&flight.Entry{
		Type:     flight.Request,
		TraceID:  "abc-123",
		Dir:      flight.Local,
		Payload:  []byte(`{"task": "transfer", "card": "[CREDIT_CARD_REDACTED]"}`),
		Decision: "allow",
	}, flight.Durable)
	if err != nil {
		log.Fatal(err) // and do not make the call
	}
	lines, err := recorder.Trace("abc-123")
	if err != nil {
		log.Fatal(err)
	}
	if err := recorder.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(seq, bytes.Contains(lines[0], []byte(`"payload":{"card":"[CREDIT_CARD_REDACTED]","task":"transfer"}`)))

	report, err := flight.Verify(dir, "")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Origin, report.OK(), report.Signed)
	// Output:
	// 0 true
	// bank.example/iatp true 1
}

// A proof is a text that stands for itself: it needs the line and the public
// key of the log, and no access to either side.
func ExampleVerifyProof() {
	dir, err := os.MkdirTemp("", "flight")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	recorder, err := flight.Open(dir, flight.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := recorder.Append(&flight.Entry{Type: flight.Blocked, TraceID: "abc-123"}, flight.Durable); err != nil {
		log.Fatal(err)
	}
	recorder.Close() // signs a last checkpoint

	recorder, err = flight.Open(dir, flight.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer recorder.Close()
	lines, _ := recorder.Trace("abc-123")
	proof, err := recorder.Prove(0)
	if err != nil {
		log.Fatal(err)
	}
	vkey, _ := os.ReadFile(dir + "/log.vkey")
	checkpoint, err := flight.VerifyProof(proof, lines[0], strings.TrimSpace(string(vkey)))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(checkpoint.Origin, checkpoint.Size)
	_, err = flight.VerifyProof(proof, []byte("another line"), strings.TrimSpace(string(vkey)))
	fmt.Println(err)
	// Output:
	// localhost/iatp 1
	// proof: the line is not the one at this index, or the proof was changed
}

// Any flipped byte is found, in a copy and without the running log.
func ExampleVerify() {
	dir, err := os.MkdirTemp("", "flight")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	recorder, err := flight.Open(dir, flight.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for _, decision := range []string{"allow", "deny"} {
		if _, err := recorder.Append(&flight.Entry{Type: flight.Request, Decision: decision}, flight.Written); err != nil {
			log.Fatal(err)
		}
	}
	recorder.Close()

	segment := dir + "/log/00000000000000000000.jsonl"
	data, _ := os.ReadFile(segment)
	os.WriteFile(segment, bytes.Replace(data, []byte("deny"), []byte("send"), 1), 0o600)
	report, err := flight.Verify(dir, "")
	if err != nil {
		log.Fatal(err)
	}
	for _, problem := range report.Problems {
		fmt.Println(problem)
	}
	// Output:
	// record 1, 00000000000000000000.jsonl: the line was changed: it does not have the signed hash
}

// Export writes the lines of one trace as they stand in the log.
func ExampleExport() {
	dir, err := os.MkdirTemp("", "flight")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	recorder, err := flight.Open(dir, flight.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range []flight.Type{flight.Request, flight.Response} {
		if _, err := recorder.Append(&flight.Entry{Type: t, TraceID: "abc-123"}, flight.Written); err != nil {
			log.Fatal(err)
		}
	}
	recorder.Close()
	var out bytes.Buffer
	if err := flight.Export(dir, &out, "abc-123"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Count(out.String(), "\n"), "lines")
	// Output:
	// 2 lines
}

// A line commits to the body that was seen without showing it: whoever has the data
// directory can tell whether it was this one.
func ExampleCommitted() {
	dir, err := os.MkdirTemp("", "flight")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	recorder, err := flight.Open(dir, flight.Options{})
	if err != nil {
		log.Fatal(err)
	}
	sum := sha256.Sum256([]byte("pay 100"))
	seq, err := recorder.Append(&flight.Entry{Type: flight.Request, TraceID: "order-7", Body: sum[:]}, flight.Durable)
	if err == nil {
		err = recorder.Close()
	}
	if err != nil {
		log.Fatal(err)
	}
	archive, err := flight.OpenArchive(dir)
	if err != nil {
		log.Fatal(err)
	}
	for record := range archive.Lines(seq) {
		for _, body := range []string{"pay 100", "pay 900"} {
			sum := sha256.Sum256([]byte(body))
			same, err := flight.Committed(dir, record.Line, sum[:])
			fmt.Println(body, same, err)
		}
		break
	}
	// Output:
	// pay 100 true <nil>
	// pay 900 false <nil>
}
