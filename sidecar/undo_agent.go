package sidecar

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/undo"
	"github.com/inter-agent-trust/iatp/recovery"
)

// undoAttempt bounds one call to the wrapped agent about an undo, and maxUndoReply
// what it answers.
const (
	undoAttempt  = 30 * time.Second
	checkAttempt = 5 * time.Second
	maxUndoReply = 64 << 10
)

// compensation is what the wrapped agent answers to its compensation call.
type compensation struct {
	Success  *bool  `json:"success"`
	State    string `json:"state"`
	Returned amount `json:"amount_returned"`
	Fee      amount `json:"fee_charged"`
	Currency string `json:"currency"`
}

// amount is money as an agent writes it: a decimal in a string, or a number.
type amount string

var decimalNumber = regexp.MustCompile(`^[0-9]{1,15}(\.[0-9]{1,18})?$`)

// UnmarshalJSON reads either form. A number loses the zeros at its end, of which
// programs write more than a currency has.
func (a *amount) UnmarshalJSON(b []byte) error {
	text := string(b)
	if quoted, err := strconv.Unquote(text); err == nil {
		*a = amount(quoted)
		return nil
	}
	if text == "null" {
		return nil
	}
	if !decimalNumber.MatchString(text) {
		return errors.New("an amount must be a decimal")
	}
	whole, cents, _ := bytes.Cut(b, []byte{'.'})
	if cents = bytes.TrimRight(cents, "0"); len(cents) > 0 {
		whole = append(append(bytes.Clone(whole), '.'), cents...)
	}
	*a = amount(whole)
	return nil
}

// compensateAtAgent asks the wrapped agent to undo a task. The book asks again with
// the same key and the same bytes if nothing is known of it.
func (s *Sidecar) compensateAtAgent(ctx context.Context, o *undo.Order) undo.Result {
	st := s.standing.Load()
	switch over, known := s.untilState(ctx, st, o.Task.ID()); {
	case !known: // it may have been shipped: ask again
		return undo.Result{Code: "agent_does_not_answer"}
	case over:
		return undo.Result{Verdict: undo.Refused, Code: "until_state"}
	}
	target, err := at(s.agentURL, st.at.undo, o.Task.ID())
	if err != nil || st.at.undo == "" {
		return undo.Result{Verdict: undo.Refused, Code: "no_compensation_endpoint"}
	}
	// Half of the time that there is: an attempt that hangs is not to be the last.
	ctx, cancel := context.WithTimeout(ctx, min(undoAttempt, undoTime(st.manifest)/2))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, st.at.method, target, bytes.NewReader(o.Body))
	if err != nil {
		return undo.Result{Verdict: undo.Refused, Code: "no_compensation_endpoint"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(iatp.HeaderIdempotencyKey, iatp.FormatIdempotencyKey("undo:"+o.Task.ID()))
	status, body, err := s.askAgent(req, o.Task)
	s.metrics.undoAttempts.WithLabelValues(attemptResult(status, err)).Inc()
	if err != nil {
		return undo.Result{Code: "agent_does_not_answer"}
	}
	return s.readCompensation(o.Task, st, status, body)
}

// newUndoClient speaks to wherever the wrapped agent undoes things, which may be beside
// it: no proxy from the environment, no redirects, no compression, no second try.
func newUndoClient() *http.Transport {
	return &http.Transport{
		DialContext:     (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: 5 * time.Second,
		DisableCompression: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
}

func attemptResult(status int, err error) string {
	switch {
	case err != nil:
		return "no_answer"
	case status < 300:
		return "answered"
	}
	return "refused"
}

// askAgent sends a request about a task, and reads the answer.
func (s *Sidecar) askAgent(req *http.Request, t *undo.Thing) (int, []byte, error) {
	req.GetBody = nil
	req.Header.Set(iatp.HeaderTransaction, t.ID())
	req.Header.Set(iatp.HeaderTraceID, string(t.TraceID))
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", userAgent)
	resp, err := s.mesh.toAgent.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxUndoReply))
	return resp.StatusCode, body, err
}

// readCompensation takes the agent's answer for what it says.
func (s *Sidecar) readCompensation(t *undo.Thing, st *standing, status int, body []byte) undo.Result {
	switch {
	case status == http.StatusNotFound:
		return undo.Result{Verdict: undo.Never, Code: "agent_does_not_know_it"}
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return undo.Result{Code: "agent_fails"}
	case status >= 400:
		return undo.Result{Verdict: undo.Refused, Code: "agent_refuses"}
	case status >= 300:
		return undo.Result{Code: "agent_fails"}
	}
	var c compensation
	if len(bytes.TrimSpace(body)) > 0 && json.Unmarshal(body, &c) != nil {
		return undo.Result{Verdict: undo.Done, State: undo.Partially, Code: "answer_not_understood"}
	}
	if c.Success != nil && !*c.Success {
		return undo.Result{Verdict: undo.Refused, Code: "agent_refuses"}
	}
	r := undo.Result{Verdict: undo.Done}
	switch undo.State(c.State) {
	case undo.Compensated, undo.Partially:
		r.State = undo.State(c.State)
	}
	s.figures(&r, t, &c)
	return r
}

// figures takes the amounts over, and sees whether the fee is within what was
// promised.
func (s *Sidecar) figures(r *undo.Result, t *undo.Thing, c *compensation) {
	if c.Currency == "" {
		c.Currency = t.Currency
	}
	fee, errFee := money(c.Fee, c.Currency)
	returned, errBack := money(c.Returned, c.Currency)
	if errFee != nil || errBack != nil {
		r.State, r.Code = undo.Partially, "figures_not_understood"
		return
	}
	r.Fee, r.Returned = fee.Amount(), returned.Amount()
	if !fee.IsZero() || !returned.IsZero() {
		r.Currency = c.Currency
	}
	if aboveMax(t, fee) {
		r.Breach, r.Code = true, feeBreach
		s.tellBreach(t)
	}
}

// feeBreach says on a line that a fee was above what was promised.
const feeBreach = "fee_breach"

// aboveMax reports whether a fee is above what was promised for a task or a call. Amounts
// of two currencies cannot be compared: that is not what was promised either.
func aboveMax(t *undo.Thing, fee iatp.Money) bool {
	most, err := iatp.ParseMoney(t.MaxFee, t.Currency)
	if fee.IsZero() || err != nil {
		return false // nothing was kept, or no maximum was named
	}
	order, err := fee.Cmp(most)
	return err != nil || order > 0
}

func (s *Sidecar) tellBreach(t *undo.Thing) {
	s.metrics.feeBreaches.Inc()
	s.log.Error("the agent kept a higher fee than its manifest allows", "transaction", t.ID(), "max_fee", t.MaxFee)
}

// money reads an amount; none is zero.
func money(a amount, currency string) (iatp.Money, error) {
	if a == "" {
		return iatp.Money{}, nil
	}
	return iatp.ParseMoney(string(a), currency)
}

// checkAtAgent asks the wrapped agent what it knows of a task.
func (s *Sidecar) checkAtAgent(ctx context.Context, t *undo.Thing) undo.Knowledge {
	st := s.standing.Load()
	target, err := at(s.agentURL, st.at.check, t.ID())
	if err != nil || st.at.check == "" {
		return undo.Knowledge{}
	}
	ctx, cancel := context.WithTimeout(ctx, checkAttempt)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return undo.Knowledge{}
	}
	status, body, err := s.askAgent(req, t)
	switch {
	case err != nil:
		return undo.Knowledge{Retry: true}
	case status == http.StatusNotFound:
		return undo.Knowledge{Known: true}
	case status != http.StatusOK:
		return undo.Knowledge{Retry: true}
	}
	var k struct {
		Executed *bool  `json:"executed"`
		State    string `json:"state"`
	}
	if json.Unmarshal(body, &k) != nil {
		return undo.Knowledge{}
	}
	return undo.Knowledge{Known: true, Executed: k.Executed == nil || *k.Executed, State: k.State}
}

// untilState reports whether the agent's state is the one from which on nothing can
// be undone, and whether that is known.
func (s *Sidecar) untilState(ctx context.Context, st *standing, id string) (over, known bool) {
	last := st.manifest.Reversibility.UntilState
	if last == "" {
		return false, true
	}
	ref, err := undo.ParseID(id)
	if err != nil {
		return false, false
	}
	k := s.checkAtAgent(ctx, &undo.Thing{Ref: ref})
	return k.Known && k.State == last, k.Known
}

// outcome is that of a call that failed, after what was done about it.
func (u *undoing) outcome(otherwise string) string {
	switch u.state {
	case undo.Compensated, undo.Partially:
		return string(u.state)
	case undo.Failed:
		return iatp.OutcomeFailed
	case undo.Committed:
		return iatp.OutcomeExecuted
	}
	return otherwise
}

// rollBack is how a call that failed half way is undone before its caller is answered:
// after the agent was asked whether it did anything. Nil if nothing was promised.
func (s *Sidecar) rollBack(x *exchange) func(context.Context) error {
	u := &x.undo
	if s.cfg.Recovery != RecoveryAuto || !u.task() || u.step.Level == string(iatp.ReversibilityNone) {
		return nil
	}
	return func(ctx context.Context) error {
		t, err := s.mesh.undo.Load(u.ref)
		if err != nil {
			return err
		}
		switch k := s.checkAtAgent(ctx, t); {
		case k.Known && !k.Executed && !t.Voidable():
			u.state = undo.Failed
			return recovery.ErrNothingDone
		case k.Known && k.Executed && !k.Partly():
			u.state = undo.Committed
			return recovery.ErrStands
		}
		if _, err = s.mesh.undo.Undo(u.ref, undo.Ask{Who: undo.ByIngress, Reason: "the call failed", At: s.now()}); err != nil {
			return err
		}
		u.rolled = true
		s.mesh.undo.Await(ctx, u.ref)
		if t, err = s.mesh.undo.Load(u.ref); err != nil {
			return err
		}
		switch u.state = t.State; t.State {
		case undo.Compensated, undo.Partially:
			return nil
		case undo.Failed:
			return recovery.ErrNothingDone
		}
		return errors.New("it is not undone yet")
	}
}
