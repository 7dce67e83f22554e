package demo

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/inter-agent-trust/iatp"
)

func TestStory(t *testing.T) {
	defer goleak.VerifyNone(t)
	cast, err := Raise(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cast.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	for _, s := range cast.Scenes() {
		if _, err := s.Play(t.Context()); err != nil {
			t.Errorf("%s\n%v", s.Title, err)
		}
	}
	var last *Answer
	for _, s := range cast.Journey() {
		if last, err = s.Play(t.Context()); err != nil {
			t.Errorf("%s\n%v", s.Title, err)
		}
	}
	checkJourney(t, cast, last)
	checkTrip(t, cast)
	for _, p := range cast.Parties() {
		if _, err := p.Verify(t.Context()); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if files, err := p.Holding(Card); err != nil || len(files) > 0 {
			t.Errorf("%s: the card stands in %v, error %v", p.Name, files, err)
		}
	}
	if files, err := cast.Honeypot.Holding("[CREDIT_CARD_REDACTED]"); err != nil || len(files) == 0 {
		t.Errorf("the blocked request is nowhere in the honeypot's data, error %v", err)
	}
}

// checkJourney looks at the proof of the last answer, at one that is none, and at
// what both sides have recorded.
func checkJourney(t *testing.T, cast *Cast, a *Answer) {
	t.Helper()
	if _, err := cast.Proof(a); err != nil {
		t.Errorf("Proof: %v", err)
	}
	other := *a
	other.Body = append([]byte(" "), a.Body...)
	if _, err := cast.Proof(&other); err == nil {
		t.Error("the receipt is taken for that of another answer")
	}
	for _, test := range []struct {
		party *Party
		want  string
	}{
		{cast.Travel, "request user_override quarantine forward forward response"},
		{cast.Booking, "request response"},
	} {
		c, err := test.party.Client()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		trace, err := c.Trace(t.Context(), a.Trace)
		if err != nil {
			t.Fatal(err)
		}
		var types []string
		for _, line := range trace.Logs {
			var l struct{ Type string }
			if err := json.Unmarshal(line, &l); err != nil {
				t.Fatal(err)
			}
			types = append(types, l.Type)
		}
		if got := strings.Join(types, " "); got != test.want {
			t.Errorf("%s has recorded %q, want %q", test.party.Name, got, test.want)
		}
	}
}

// checkTrip plays the trip, and looks whether the balance is believed to be right
// before it is.
func checkTrip(t *testing.T, cast *Cast) {
	t.Helper()
	opening := cast.OpenTrip()
	opened, err := opening.Play(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	saga, err := TripID(opened)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := cast.TripBalance(); err == nil {
		t.Error("the balance counts as right before anything was booked")
	}
	for _, s := range cast.Trip(saga) {
		if _, err := s.Play(t.Context()); err != nil {
			t.Errorf("%s\n%v", s.Title, err)
		}
	}
	end, err := cast.PlayTripEnd(t.Context(), saga)
	if err != nil {
		t.Errorf("the end of the trip: %v", err)
	}
	if _, _, err := cast.TripBalance(); err != nil {
		t.Errorf("%v\n%s", err, end.Body)
	}
}

// TestStoryNotices plays scenes that do not go as promised.
func TestStoryNotices(t *testing.T) {
	cast, err := Raise(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer cast.Close()
	passes, blind := cast.Scenes()[0], cast.Scenes()[3]
	for _, test := range []struct {
		name  string
		scene Scene
		edit  func(*Scene)
		want  string
	}{
		{"status", passes, func(s *Scene) { s.status = http.StatusForbidden }, "the status is 200, promised was 403"},
		{"quarantine", passes, func(s *Scene) { s.quarantined = true }, "quarantined is false, promised was true"},
		{"body", passes, func(s *Scene) { s.says = []string{"nonsense"} }, "the body does not say nonsense"},
		{"an override that nobody was asked for", blind, func(*Scene) {}, "the status is 449, promised was 200"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.edit(&test.scene)
			if _, err := test.scene.Play(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Play = %v, want an error with %q", err, test.want)
			}
		})
	}
	if err := passes.check(&Answer{Status: http.StatusOK, Header: http.Header{iatp.HeaderTrustScore: {"9"}}, Body: []byte("{")}); err == nil ||
		!strings.Contains(err.Error(), `"9"`) || !strings.Contains(err.Error(), "not JSON") || !strings.Contains(err.Error(), "there is no "+iatp.HeaderTraceID) {
		t.Errorf("check = %v, want the score, the trace id and the body to be named", err)
	}
}

func TestVerifyNoticesAChange(t *testing.T) {
	cast, err := Raise(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer cast.Close()
	scene := cast.Scenes()[0]
	if _, err := scene.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := cast.Bank.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(cast.Bank.Data, "log", "*.jsonl"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("segments: %v, %v", logs, err)
	}
	data, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(logs[0], bytes.Replace(data, []byte(`"score":10`), []byte(`"score":11`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := cast.Bank.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "not what it signed") {
		t.Errorf("Verify of a changed log = %+v, %v, want an error that says so", r, err)
	}
}

// TestManifestsAreTheExamples holds the embedded manifests to those that users
// see.
func TestManifestsAreTheExamples(t *testing.T) {
	for _, name := range []string{"securebank.json", "honeypot.json", "travel.json", "booking.json"} {
		want, err := os.ReadFile(filepath.Join("..", "..", "examples", "manifests", name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := manifests.ReadFile("manifests/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s differs from examples/manifests (-example +embedded):\n%s", name, diff)
		}
	}
}
