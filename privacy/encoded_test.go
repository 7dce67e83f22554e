package privacy

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// TestEncoded finds a card, written in every way that is decoded, and takes it
// out.
func TestEncoded(t *testing.T) {
	text := "pay with " + card + " now"
	each := func(format func(c byte) string) string {
		var b strings.Builder
		for i := range len(card) {
			b.WriteString(format(card[i]))
		}
		return b.String()
	}
	s := New()
	for name, body := range map[string]string{
		"base64":             base64.StdEncoding.EncodeToString([]byte(text)),
		"base64 of a number": base64.StdEncoding.EncodeToString([]byte(card)),
		"base64url":          base64.RawURLEncoding.EncodeToString([]byte("ÿþ?>" + text)),
		"base64 in text":     "see " + base64.StdEncoding.EncodeToString([]byte(text)) + ", thanks",
		"base64 twice":       base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(text)))),
		"data URL":           "data:text/plain;base64," + base64.StdEncoding.EncodeToString([]byte(text)),
		"hex":                hex.EncodeToString([]byte(text)),
		"hex of a number":    strings.ToUpper(hex.EncodeToString([]byte(card))),
		"hex of a literal":   "0x" + hex.EncodeToString([]byte(text)),
		"percent":            each(func(c byte) string { return "%3" + string(c) }),
		"percent twice":      each(func(c byte) string { return "%253" + string(c) }),
		"form":               "name=Ann&card=" + url.QueryEscape("4532 0151 1283 0366") + "&x=1",
		"full width":         url.QueryEscape("４５３２０１５１１２８３０３６６"),
		"HTML decimal":       each(func(c byte) string { return "&#" + string("45"[(c-'0'+8)/10]) + string('0'+(c-'0'+8)%10) + ";" }),
		"HTML hex":           each(func(c byte) string { return "&#x3" + string(c) + ";" }),
		"HTML space":         "4532&nbsp;0151&nbsp;1283&amp;nbsp;0366",
		"XML":                "<order><card>" + card + "</card></order>",
		"multipart":          "--b\r\nContent-Disposition: form-data; name=\"card\"\r\n\r\n" + card + "\r\n--b--\r\n",
		"event":              "event: reply\ndata: {\"card\":\"" + card + "\"}\n\n",
	} {
		if r := s.ScanText([]byte(body)); len(r.Findings) == 0 || r.Findings[0].Kind != iatp.CreditCard {
			t.Errorf("%s: %v in %q", name, r.Findings, body)
		}
		checkRedaction(t, s, ijson.AppendString(nil, body))
		if clean := s.RedactText(body); strings.Contains(clean, card) || len(s.ScanText([]byte(clean)).Findings) > 0 {
			t.Errorf("%s: left in %q", name, clean)
		}
	}
	for _, body := range []string{
		base64.StdEncoding.EncodeToString([]byte("nothing of the kind is in here")), hex.EncodeToString([]byte("nothing at all")),
		"100%25 of 4532 people", "AT&amp;T 4532", "sha256=" + strings.Repeat("4a", 32),
	} {
		if r := s.ScanText([]byte(body)); len(r.Findings) > 0 {
			t.Errorf("%v in %q", r.Findings, body)
		}
	}
}

// TestOrdinaryIDs: calls with a finding in an id or a header are refused, so
// there must be none in what callers use.
func TestOrdinaryIDs(t *testing.T) {
	s := New()
	for _, id := range []string{
		"8e03978e-40d5-43e8-bc93-6894a57f9324", "4bf92f3577b34da6a3ce929d0e0e4736", "order-2026-11-23-000123", "req_01HZX3K7Q8V5N2M4P6R8T0W2Y4", "01HZX3K7Q8V5N2M4P6R8T0W2Y4",
		"agent-192.168.1.10-42", "trace.2026.11.23.1", "build-1.2.3.4", "cart_9f86d081884c7d65", "run-20261123T040506Z", "1732334706789", "job-000000000001",
		"en-US,en;q=0.9,de-DE;q=0.8", "application/json", "application/json; charset=utf-8", "application/problem+json", "*/*;q=0.1", "text/event-stream, application/json;q=0.9",
		"respond-async, wait=10", "return=minimal", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "\"book-flight-7\"", "payment-2026-000017-retry-2", "2026-11-23T04:05:06Z/17",
		"user_12345:cart_67890", "session=abc", "k8s-prod-eu-west-1-7d9f8b6c5d-x2x4z", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "V1StGXR8_Z5jdHi6B-myT", "MTIzNDU2Nzg5MDEy",
	} {
		if r := s.ScanText([]byte(id)); len(r.Findings) > 0 {
			t.Errorf("%v in %q", r.Classes(), id)
		}
	}
}
