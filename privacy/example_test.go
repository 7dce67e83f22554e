package privacy_test

import (
	"fmt"
	"io"
	"strings"

	"github.com/inter-agent-trust/iatp/internal/ijson"
	"github.com/inter-agent-trust/iatp/privacy"
)

func ExampleScanner_ScanJSON() {
	scanner := privacy.New()
	body := []byte(`{"task":"pay","data":{"note":"use 4532 0151 1283 0366","ssn":536904399}}`)
	report, err := scanner.ScanJSON(body, ijson.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range report.Findings {
		fmt.Printf("%s at %s (bytes %d to %d)\n", f.Kind, f.Pointer, f.Start, f.End)
	}
	fmt.Println(report.Classes())
	// Output:
	// credit_card at /data/note (bytes 34 to 53)
	// ssn at /data/ssn (bytes 61 to 70)
	// [credit_card ssn]
}

func ExampleAppendRedacted() {
	scanner := privacy.New()
	body := []byte(`{"card": 4532015112830366, "message": "{\"to\":\"ann@example.com\"}"}`)
	report, err := scanner.ScanJSON(body, ijson.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", privacy.AppendRedacted(nil, body, report))
	// Output:
	// {"card": "[CREDIT_CARD_REDACTED]", "message": "{\"to\":\"[EMAIL_REDACTED]\"}"}
}

func ExampleScanner_ScanText() {
	report := privacy.New().ScanText([]byte("/users/ann@example.com/cards"))
	fmt.Println(len(report.Findings), report.Classes())
	// Output:
	// 1 [email]
}

func ExampleScanner_RedactText() {
	fmt.Println(privacy.New().RedactText("SSN 536904399, card 3782-822463-10005."))
	// Output:
	// SSN [SSN_REDACTED], card [CREDIT_CARD_REDACTED].
}

// A reply is scanned as it passes.
func ExampleStream() {
	reply := strings.NewReader("data: {\"text\":\"Your card 4532015112830366 was charged.\"}\n\n")
	stream := privacy.New().NewStream(4 << 10)
	if _, err := io.Copy(stream, reply); err != nil {
		fmt.Println(err)
		return
	}
	kept, truncated := stream.Kept()
	fmt.Println(stream.Report().Classes(), stream.Binary(), truncated)
	fmt.Printf("%s", kept)
	// Output:
	// [credit_card] false false
	// data: {"text":"Your card [CREDIT_CARD_REDACTED] was charged."}
}

// Who scans many bodies full of findings releases the reports: their memory is used
// again.
func ExampleReport_Release() {
	scanner, found := privacy.New(), 0
	for _, body := range []string{`{"to":"ann@example.com"}`, `{"to":"bob@example.com","cc":"ann@example.com"}`} {
		report, err := scanner.ScanJSON([]byte(body), privacy.Limits{})
		if err != nil {
			fmt.Println(err)
			return
		}
		found += len(report.Findings)
		report.Release()
	}
	fmt.Println(found)
	// Output: 3
}
