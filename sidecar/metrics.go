package sidecar

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/internal/undo"
)

// metrics are what a dashboard counts. Labels come from closed sets only: no
// id, no name of a caller, nothing that a request says.
type metrics struct {
	registry *prometheus.Registry

	requests      *prometheus.CounterVec // by decision
	byDecision    map[string]prometheus.Counter
	reasons       *prometheus.CounterVec // by reason code
	refused       *prometheus.CounterVec // by problem slug, before a decision
	findings      *prometheus.CounterVec // by direction and kind
	treated       *prometheus.CounterVec // by direction, kind and action
	agentFailures *prometheus.CounterVec // by kind
	score         prometheus.Histogram
	latency       prometheus.Histogram
	own           prometheus.Histogram
	requestBytes  prometheus.Counter
	replyBytes    prometheus.Counter
	slaBreaches   prometheus.Counter
	reloads       *prometheus.CounterVec // by result
	undoAttempts  *prometheus.CounterVec // by result
	undoLimits    *prometheus.CounterVec // by limit
	feeBreaches   prometheus.Counter
	logLooks      *prometheus.CounterVec // by what was found
}

func newMetrics(s *Sidecar) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), byDecision: map[string]prometheus.Counter{}}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		m.registry.MustRegister(h)
		return h
	}
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	m.requests = vec("iatp_requests_total", "Exchanges by what was decided about them.", "decision")
	m.reasons = vec("iatp_decision_reasons_total", "Reasons given in decisions that were not a plain allow.", "reason")
	m.refused = vec("iatp_refused_total", "Requests refused before a decision (malformed, too large, overloaded), by problem.", "problem")
	m.findings = vec("iatp_findings_total", "Sensitive data found, by direction and kind.", "direction", "kind")
	m.treated = vec("iatp_findings_treated_total", "Sensitive data that did not just pass, by direction, kind and what was done (block, ask, redact, mask).", "direction", "kind", "action")
	m.agentFailures = vec("iatp_agent_failures_total", "Calls to which the wrapped agent gave no whole answer, by kind.", "kind")
	m.score = histogram("iatp_trust_score", "Trust score of the receiver of each judged request.", []float64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	seconds := []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120}
	m.latency = histogram("iatp_request_duration_seconds", "Whole time of an exchange, from its head to the last byte of the answer.", seconds)
	m.own = histogram("iatp_own_duration_seconds", "The sidecar's own share of a forwarded exchange.", seconds)
	inside := func() float64 { n, _, _ := s.gate.state(); return float64(n) }
	waiting := func() float64 { _, n, _ := s.gate.state(); return float64(n) }
	limit := func() float64 { _, _, n := s.gate.state(); return float64(n) }
	gauge("iatp_in_flight", "Exchanges under way.", inside)
	gauge("iatp_waiting", "Exchanges that wait for a place.", waiting)
	gauge("iatp_concurrency_limit", "Exchanges that may be under way now; limits.concurrency, less under overload.", limit)
	m.requestBytes = counter("iatp_request_bytes_total", "Bytes of request bodies read.")
	m.replyBytes = counter("iatp_reply_bytes_total", "Bytes of answers of the wrapped agent passed on.")
	m.slaBreaches = counter("iatp_sla_breaches_total", "Exchanges that took longer than the sla_latency_ms of the manifest.")
	m.logLooks = vec("iatp_peer_log_looks_total", "Looks at the flight logs of peers, by what was found (good, not_shown, fork, set_back, bad_signature).", "found")
	gauge("iatp_peer_logs_bad", "Peers whose flight log has contradicted itself, and who were not forgotten since.", func() float64 {
		if s.mesh == nil {
			return 0
		}
		return float64(s.mesh.logs.seen.Bad())
	})
	m.reloads = vec("iatp_reloads_total", "Reloads of manifest and policies, by result.", "result")

	m.undoAttempts = vec("iatp_undo_attempts_total", "Compensation calls to the wrapped agent, by result.", "result")
	m.undoLimits = vec("iatp_undo_limited_total", "Tasks refused because of what their caller could have undone, or had, by limit (open, cost, ratio).", "limit")
	m.feeBreaches = counter("iatp_undo_fee_breaches_total", "Undos for which the wrapped agent kept more than the max_fee of its manifest.")

	// A counter that nobody has touched is shown as 0, not left out: a rate
	// over something absent alarms nobody.
	for _, d := range []string{decidedAllow, decidedAsk, decidedDeny, decidedOverride, decidedBusy, decidedFailed, decidedReplay, decidedRefused} {
		m.byDecision[d] = m.requests.WithLabelValues(d)
	}
	for _, r := range []string{"answered", "refused", "no_answer"} {
		m.undoAttempts.WithLabelValues(r)
	}
	for _, limit := range []string{"open", "cost", "ratio"} {
		m.undoLimits.WithLabelValues(limit)
	}
	m.reloads.WithLabelValues("done")
	m.reloads.WithLabelValues("refused")

	gauge("iatp_request_body_bytes_held", "Bytes of request bodies and long answers held in memory.", func() float64 { return float64(s.bodies.held.Load()) })
	gauge("iatp_quarantine_open", "Quarantined traces that nobody has released.", func() float64 { return float64(s.quarantine.open()) })
	if s.mesh != nil {
		moving := func(name, help string, value func(undo.Figures) int) {
			gauge(name, help, func() float64 { return float64(value(s.mesh.undo.Figures())) })
		}
		moving("iatp_undo_active", "Transactions, calls and sagas under way.", func(f undo.Figures) int { return f.Active })
		moving("iatp_undo_unknown", "Transactions of which nobody knows yet whether they took effect.", func(f undo.Figures) int { return f.Unknown })
		moving("iatp_undo_compensating", "Transactions, calls and sagas that are being undone.", func(f undo.Figures) int { return f.Compensating })
		moving("iatp_undo_open", "Tasks done for others that could still be undone.", func(f undo.Figures) int { return f.Open })
		moving("iatp_undo_waiting", "Transactions, calls and sagas that wait for a person. Alarm on this one.", func(f undo.Figures) int { return f.Waiting })
	}
	stat := func(name, help string, value func(flight.Stats) float64) {
		gauge(name, help, func() float64 { return value(s.book.Stats()) })
	}
	stat("iatp_recorder_records", "Records ever appended to the flight recorder.", func(st flight.Stats) float64 { return float64(st.Size) })
	stat("iatp_recorder_bytes", "Bytes of records on disk.", func(st flight.Stats) float64 { return float64(st.Bytes) })
	stat("iatp_recorder_lag_records", "Records written and not yet known to be on disk.", func(st flight.Stats) float64 { return float64(st.Size - st.Durable) })
	stat("iatp_recorder_fsync_seconds", "Duration of the last fsync.", func(st flight.Stats) float64 { return st.LastSync.Seconds() })
	stat("iatp_recorder_disk_free_bytes", "Space left on the disk of the data directory.", func(st flight.Stats) float64 { return float64(st.FreeDisk) })
	return m
}

// decided is the counter of a decision, without the search that a vector makes.
func (m *metrics) decided(as string) prometheus.Counter { return m.byDecision[as] }

// found counts what was found, by kind and by what became of it. Kinds are those
// of the detectors, of which there is a bounded number.
func (m *metrics) found(direction string, counts []flight.Count) {
	for _, c := range counts {
		m.findings.WithLabelValues(direction, string(c.Kind)).Add(float64(c.Count))
		if c.Action != "" {
			m.treated.WithLabelValues(direction, string(c.Kind), c.Action).Add(float64(c.Count))
		}
	}
}

// handler serves the Prometheus text format.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{DisableCompression: true})
}
