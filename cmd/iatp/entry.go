package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// entry is a record of the flight recorder as far as people are shown it.
type entry struct {
	Seq         int64           `json:"seq"`
	Type        flight.Type     `json:"type"`
	TraceID     iatp.TraceID    `json:"trace_id"`
	Timestamp   time.Time       `json:"timestamp"`
	AgentID     iatp.AgentID    `json:"agent_id"`
	Dir         flight.Dir      `json:"dir"`
	Peer        string          `json:"peer"`
	Method      string          `json:"method"`
	Path        string          `json:"path"`
	ContentType string          `json:"content_type"`
	Bytes       int64           `json:"bytes"`
	Payload     json.RawMessage `json:"payload"`
	Opaque      string          `json:"opaque"`
	Truncated   bool            `json:"truncated"`
	Decision    string          `json:"decision"`
	Score       *int            `json:"score"`
	Level       string          `json:"level"`
	Evidence    string          `json:"evidence"`
	Reason      string          `json:"reason"`
	Reasons     []string        `json:"reasons"`
	Findings    []struct {
		Kind   iatp.DataClass `json:"kind"`
		Count  int            `json:"count"`
		Action string         `json:"action"`
		At     []string       `json:"at"`
	} `json:"findings"`
	Rules []struct {
		Name string `json:"name"`
		File string `json:"file"`
		Line int    `json:"line"`
	} `json:"rules"`
	Override     string         `json:"override"`
	Actor        string         `json:"actor"`
	State        string         `json:"state"`
	Note         string         `json:"note"`
	Base         string         `json:"base"`
	Receipt      string         `json:"receipt"`
	StatusCode   int            `json:"status_code"`
	LatencyMS    float64        `json:"latency_ms"`
	OwnMS        float64        `json:"own_ms"`
	Outcome      flight.Outcome `json:"outcome"`
	Attempts     int            `json:"attempts"`
	Error        string         `json:"error"`
	SLABreach    bool           `json:"sla_breach"`
	Tx           step           `json:"tx"`
	Quarantined  bool           `json:"quarantined"`
	OldSize      *int64         `json:"old_size"`
	NewSize      *int64         `json:"new_size"`
	DroppedBelow int64          `json:"dropped_below"`
}

func parseEntry(line []byte) (entry, error) {
	var e entry
	if err := json.Unmarshal(line, &e); err != nil {
		return e, fmt.Errorf("this is not a record of a flight recorder: %w", err)
	}
	return e, nil
}

func parseEntries(lines []json.RawMessage) ([]entry, error) {
	entries := make([]entry, len(lines))
	for i, line := range lines {
		var err error
		if entries[i], err = parseEntry(line); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// headline says in a few words what a record means, and how it should look.
func (e *entry) headline() (string, ink) {
	switch e.Type {
	case flight.Request:
		return e.request()
	case flight.Response:
		return e.response()
	case flight.Error:
		return join(", ", "no answer: "+words(e.Error), e.outcome(), e.latency()), red
	case flight.Blocked:
		return "blocked, nothing was sent: " + words(e.Reason), red
	case flight.Warning:
		return "a person was asked, nothing was sent: " + words(e.Reason), yellow
	case flight.UserOverride:
		return "released by " + shown(e.Actor) + " (" + shown(e.Override) + ")", yellow
	case flight.Quarantine:
		return e.quarantine()
	case flight.Forward:
		return e.forward(), plain
	case flight.Key:
		return e.key()
	case flight.Agreement:
		return e.agreement()
	case flight.CheckpointSeen:
		return e.seen()
	case flight.Recovery:
		return e.recovery(), yellow
	case flight.Compensation:
		return e.compensation()
	}
	return join(": ", words(string(e.Type)), words(e.Reason)), plain
}

func (e *entry) request() (string, ink) {
	verb, look := "denied", red
	switch e.Decision {
	case "allow":
		verb, look = "allowed", green
	case "ask":
		verb, look = "asks", yellow
	}
	text := shown(e.Method+" "+e.Path) + e.other() + ": " + verb
	if e.Score != nil {
		text += fmt.Sprintf(", score %d/10 (%s, %s)", *e.Score, shown(e.Level), shown(e.Evidence))
	}
	return text, look
}

// other is the sidecar at the far end, if there is one.
func (e *entry) other() string {
	if e.Peer == "" {
		return ""
	}
	return " " + otherText(e.Dir, e.Peer)
}

// otherText says which way a call went, "" within one sidecar.
func otherText(dir flight.Dir, peer string) string {
	switch {
	case peer == "":
		return ""
	case dir == flight.Out:
		return "to " + shown(peer)
	}
	return "from " + shown(peer)
}

// key says what was learned of another sidecar, or what is suspicious of it.
func (e *entry) key() (string, ink) {
	look := plain
	switch e.Reason {
	case "key_changed", "rolled_back", "equivocation", "bad_signature":
		look = red
	}
	return "peer " + shown(e.Peer) + ": " + words(e.Reason), look
}

// agreement says what became of a proposal.
func (e *entry) agreement() (string, ink) {
	if e.Reason != "made" {
		return "no agreement with " + shown(e.Peer) + ": " + words(e.Error), red
	}
	a, err := iatp.ParseAgreement(e.Payload)
	if err != nil {
		return "agreement with " + shown(e.Peer) + " that cannot be read", red
	}
	who := "proposed to it"
	if e.Dir == flight.In {
		who = "proposed by it"
	}
	return join(", ", "agreed with "+shown(e.Peer), who, "until "+time.Unix(a.Exp, 0).UTC().Format("2006-01-02 15:04:05 UTC")), green
}

// agreed are the terms of an agreement in words.
func (e *entry) agreed() string {
	a, err := iatp.ParseAgreement(e.Payload)
	if err != nil {
		return ""
	}
	t := &a.Terms
	undo := "undo: none"
	if t.Reversibility.Undoes() {
		undo = "undo: " + shown(string(t.Reversibility))
		switch {
		case t.UndoWindowSeconds == nil:
		case *t.UndoWindowSeconds == 0:
			undo += " without limit of time"
		default:
			undo += " within " + (time.Duration(*t.UndoWindowSeconds) * time.Second).String()
		}
		if !t.MaxFee.IsZero() {
			undo += " for at most " + t.MaxFee.String()
		}
	}
	return join("; ", undo, chosen(t.RetentionPolicy != "", "keeps data: "+shown(string(t.RetentionPolicy)), ""),
		chosen(len(t.Scopes) > 0, "for: "+shown(strings.Join(t.Scopes, ", ")), ""))
}

// seen says what another sidecar's flight log has signed for, or what is wrong
// with it.
func (e *entry) seen() (string, ink) {
	switch e.Reason {
	case "seen", "new_key":
		return "peer " + shown(e.Peer) + ": what its log has signed for: " + words(e.Reason), plain
	}
	return "peer " + shown(e.Peer) + ": its log contradicts what it has signed: " + words(e.Reason), red
}

// forward is a permission to send, or, with the digest of what was signed, an
// attempt at a peer.
func (e *entry) forward() string {
	switch {
	case e.Base != "" || strings.HasPrefix(e.Note, "base "):
		switch e.Path {
		case "/agreements":
			return "an agreement was proposed" + e.other()
		case "/transactions/close":
			return "asked what became of it" + e.other()
		}
		if strings.HasPrefix(e.Path, "/compensate/") {
			return "asked " + shown(e.Peer) + " to undo it"
		}
		return "signed and sent" + e.other()
	case e.Dir == flight.Out:
		return "may go" + e.other()
	}
	return "sent to the agent"
}

// receipt says what became of the proof of execution.
func (e *entry) receipt() string {
	what, ok := strings.CutPrefix(e.Note, "receipt ") // the first version had the digest there too
	if e.Receipt != "" {
		what, ok = e.Receipt, true
	}
	switch {
	case !ok:
		return ""
	case what == "missing":
		return "no receipt came: nothing proves what the peer says"
	case what == "invalid":
		return "the receipt is not valid: nothing proves what the peer says"
	case e.Dir == flight.Out:
		return "receipt verified (SHA-256 " + shown(what) + ")"
	default:
		return "receipt given (SHA-256 " + shown(what) + ")"
	}
}

func (e *entry) response() (string, ink) {
	look := green
	if e.StatusCode >= 400 {
		look = red
	}
	return join(", ", "answered "+strconv.Itoa(e.StatusCode), e.size(), e.outcome(), e.latency()), look
}

func (e *entry) quarantine() (string, ink) {
	text := shown(e.State)
	if e.Reason != "" {
		text += ": " + words(e.Reason)
	}
	if e.Actor != "" {
		text += " by " + shown(e.Actor)
	}
	if e.Note != "" {
		text += ": " + shown(e.Note)
	}
	if e.State == "released" {
		return text, green
	}
	return text, yellow
}

func (e *entry) recovery() string {
	switch {
	case e.DroppedBelow > 0:
		return fmt.Sprintf("the recorder dropped the lines below record %d, as its retention says", e.DroppedBelow)
	case e.OldSize != nil && e.NewSize != nil:
		return fmt.Sprintf("the recorder cut a tail that a crash had torn: %d records became %d", *e.OldSize, *e.NewSize)
	}
	return "the recorder was repaired"
}

// details are the further lines about a record.
func (e *entry) details() []string {
	var out []string
	add := func(label, text string) {
		if text != "" {
			out = append(out, label+text)
		}
	}
	add("found: ", e.found())
	if e.Type == flight.Request {
		add("because: ", wordList(e.Reasons))
	}
	for _, r := range e.Rules {
		add("rule: ", fmt.Sprintf("%s (%s:%d)", shown(r.Name), shown(r.File), r.Line))
	}
	if e.Attempts > 1 {
		add("", fmt.Sprintf("%d attempts", e.Attempts))
	}
	if e.SLABreach {
		add("", "slower than the manifest promises")
	}
	if e.Quarantined && e.Type != flight.Forward {
		add("", "in quarantine")
	}
	add("", e.receipt())
	add("", e.body())
	return out
}

// body is the redacted payload, or why there is none.
func (e *entry) body() string {
	switch {
	case e.Type == flight.Agreement:
		return e.agreed()
	case e.Opaque != "":
		return "no text is kept (" + words(e.Opaque) + ")"
	case len(e.Payload) == 0:
		return ""
	}
	text := string(e.Payload)
	var s string
	if json.Unmarshal(e.Payload, &s) == nil {
		text = s
	}
	text = shown(text)
	if e.Truncated {
		text += " (cut)"
	}
	return text
}

func (e *entry) found() string {
	var parts []string
	for _, f := range e.Findings {
		text := words(string(f.Kind))
		if f.Count > 1 {
			text += fmt.Sprintf(" (%d)", f.Count)
		}
		if len(f.At) > 0 {
			text += " at " + shown(strings.Join(f.At, " "))
		}
		if f.Action != "" {
			text += ": " + shown(f.Action)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func (e *entry) outcome() string {
	switch e.Outcome {
	case "":
		return ""
	case flight.OutcomeUnknown:
		return "outcome unknown"
	case flight.OutcomeNone:
		return "not executed"
	}
	return shown(string(e.Outcome))
}

func (e *entry) size() string {
	if e.Bytes == 0 {
		return ""
	}
	return fmt.Sprintf("%d bytes", e.Bytes)
}

func (e *entry) latency() string {
	switch {
	case e.LatencyMS == 0:
		return ""
	case e.OwnMS == 0:
		return fmt.Sprintf("%.1f ms", e.LatencyMS)
	}
	return fmt.Sprintf("%.1f ms (%.2f ms of it the sidecar)", e.LatencyMS, e.OwnMS)
}

// words reads a code aloud: low_trust is "low trust".
func words(code string) string { return strings.ReplaceAll(shown(code), "_", " ") }

func wordList(codes []string) string {
	texts := make([]string, len(codes))
	for i, c := range codes {
		texts[i] = words(c)
	}
	return strings.Join(texts, ", ")
}

// join puts the texts that are not empty together.
func join(sep string, texts ...string) string {
	var kept []string
	for _, t := range texts {
		if t != "" {
			kept = append(kept, t)
		}
	}
	return strings.Join(kept, sep)
}
