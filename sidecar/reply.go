package sidecar

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
	"github.com/inter-agent-trust/iatp/privacy"
)

// passWhole scans, treats, records and then releases an answer that is all here.
// A peer's receipt is over what came, ours over what leaves.
func (s *Sidecar) passWhole(x *exchange, resp *http.Response, body []byte) *iatp.Problem {
	sum := sha256.Sum256(body)
	end := &ending{
		status: resp.StatusCode, bytes: int64(len(body)), sum: sum[:], body: body,
		mediaType: s.recordedType(resp.Header), encoding: strings.Join(resp.Header["Content-Encoding"], ", "), outcome: outcomeOfStatus(resp.StatusCode),
	}
	var read replyText
	s.readReply(x, resp.Header, body, end, &read)
	var said *iatp.Problem
	if x.dir == flight.Out {
		said = s.proveWhole(x, resp, sum, end)
	}
	body, withheld := s.treatReply(x, resp, body, &read, end)
	if withheld {
		return s.withhold(x, end)
	}
	if x.dir != flight.Out {
		s.treatHead(x, resp.Header)
		end.contentType = first(resp.Header, "Content-Type")
		if x.changed.response {
			sum = sha256.Sum256(body)
			end.bytes, end.sum, end.body = int64(len(body)), sum[:], body
		}
		said = s.proveWhole(x, resp, sum, end)
	}
	if err := s.recordEnd(x, end); err != nil {
		return s.unrecorded(x, err, string(end.outcome))
	}
	if said != nil {
		return s.about(x, said)
	}
	s.copyReplyHead(x, resp)
	rc := http.NewResponseController(x.w)
	for rest := body; ; { // a caller who takes it slowly has that time for each piece
		piece := rest[:min(len(rest), wholeReply)]
		s.boundWrite(rc)
		_, err := x.w.Write(piece)
		if rest = rest[len(piece):]; err != nil || len(rest) == 0 {
			break // a caller who left has no use for the error; the record stands
		}
	}
	s.metrics.replyBytes.Add(float64(len(body)))
	return nil
}

// unrecorded withholds an answer whose record cannot be written, and its receipt:
// nothing is proven that is not in the book.
func (s *Sidecar) unrecorded(x *exchange, err error, outcome string) *iatp.Problem {
	x.receipt = ""
	p := s.logUnavailable(err)
	p.Outcome = outcome
	p.Error = "the call was forwarded, but the flight recorder cannot write, so its answer is withheld"
	return p
}

// proveWhole issues the receipt of an answer, or verifies that of a peer. A
// problem is what our agent is told in place of the answer.
func (s *Sidecar) proveWhole(x *exchange, resp *http.Response, sum iatp.Digest, end *ending) *iatp.Problem {
	switch x.dir {
	case flight.In:
		x.cost, x.undo.data = s.costOf(x, resp), s.undoDataOf(x, resp)
		s.giveReceipt(x, end, sum)
	case flight.Out:
		jws := resp.Header.Get(iatp.HeaderReceipt)
		var earlier bool
		x.proof, end.outcome, earlier = s.checkProof(x, resp, jws, sum)
		if x.proof == proofValid {
			x.receipt = jws
		}
		if end.outcome == flight.OutcomeNone && len(x.bases) > 1 {
			// The receipt is of this attempt; an earlier one may have been
			// executed, and its answer lost.
			end.outcome = s.askPeer(x)
		}
		if s.unproven(x) {
			return s.withholdUnproven(x, end)
		}
		p := s.peerSays(x, resp, end.outcome, earlier)
		if p == nil && x.proof == proofValid && !slices.Contains(x.bases, x.undo.proven.Req.Base) {
			x.w.Header().Set(iatp.HeaderReplayed, "?1") // by the receipt, whatever the peer says
		}
		return p
	}
	return nil
}

// replyText is a whole answer as it was read.
type replyText struct {
	text       []byte // without content encoding
	report     privacy.Report
	passed     bool   // through a filter: it is neither one JSON document nor text
	clean      []byte // what came out of that
	unreadable bool   // nobody knows what is in it
}

// readReply finds what is sensitive in a whole answer and makes its payload
// for the record.
func (s *Sidecar) readReply(x *exchange, h http.Header, body []byte, end *ending, read *replyText) {
	keep := s.keepsPayloads(x.st)
	read.text = body
	if coding := codingOf(h); coding != "" && len(body) > 0 { // no coding makes nothing of nothing
		var ok bool
		if read.text, ok = s.decodeReply(coding, body); !ok {
			end.opaque, read.unreadable = "content-encoding", true
			return
		}
	}
	contentType := first(h, "Content-Type")
	if isJSON(contentType) {
		if report, form, err := s.scan(x, read.text, keep); err == nil {
			read.report = report
			end.findings = x.tally(report, true, keep)
			if keep {
				end.json, end.form = redacted(read.text, report), form
			} else {
				end.opaque = "ephemeral"
			}
			return
		}
	}
	st := s.scanner().NewStream(keptPayload / 2)
	_, _ = st.Write(read.text)
	s.keepStream(st, keep, end)
	if !x.st.rules.ChangesAnswers() {
		end.findings = streamTally(x, st)
		return
	}
	if st.Binary() || privacy.FormatOf(contentType) != privacy.FormatText {
		s.filterReply(x, contentType, st.Binary(), end, read)
		return
	}
	read.report = s.scanner().ScanText(read.text)
	end.findings = x.tally(read.report, true, keep)
}

// filterReply treats an answer that is neither one JSON document nor text as a stream of
// it would be treated: no byte of another character set, and no thousand findings before
// it, hide a value.
func (s *Sidecar) filterReply(x *exchange, contentType string, binary bool, end *ending, read *replyText) {
	f := s.filterFor(x, contentType)
	clean, err := f.pass(read.text, true)
	read.passed, read.clean, read.unreadable = true, clean, err != nil
	report := f.redactor.Report()
	if binary && len(report.Opaque) == 0 {
		report.Opaque = []privacy.Opaque{{Reason: privacy.OpaqueBinary}}
	}
	end.findings = x.tallyFilter(f, report, s.keepsPayloads(x.st))
}

// streamTally counts what a stream scanner found: its report is bounded, its
// counts are not. What is no text counts as opaque.
func streamTally(x *exchange, st *privacy.Stream) []flight.Count {
	_ = st.Close()
	report := st.Report()
	if st.Binary() {
		report.Opaque = []privacy.Opaque{{Reason: privacy.OpaqueBinary}}
	}
	return x.tallyAll(report, st.Count, false)
}

// keepStream takes what a stream scanner kept.
func (s *Sidecar) keepStream(st *privacy.Stream, keep bool, end *ending) {
	switch kept, cut := st.Kept(); {
	case !keep:
		end.opaque = "ephemeral"
	case st.Binary() || !utf8.Valid(kept):
		end.opaque = "binary"
	default:
		end.text, end.truncated = kept, cut
	}
}

// chunks are the buffers of streams under way.
var chunks = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// passStream passes an answer on as it comes, scanning it in a window. The
// response is in the book before the last byte leaves: before the final chunk
// of a chunked answer, before the last piece of one of known length.
func (s *Sidecar) passStream(c *call, x *exchange, resp *http.Response) *iatp.Problem {
	rc := http.NewResponseController(x.w)
	scan, sum := s.scanner().NewStream(keptPayload/2), sha256.New()
	end := &ending{status: resp.StatusCode, mediaType: s.recordedType(resp.Header), encoding: strings.Join(resp.Header["Content-Encoding"], ", "), outcome: outcomeOfStatus(resp.StatusCode)}
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)

	length, open := resp.ContentLength, unbounded(resp)
	through, source, err := s.newFilter(x, resp, sum, end)
	if err != nil { // nothing has been released yet
		s.proveUnread(x, resp, sum, end)
		return s.withhold(x, end)
	}
	if x.dir != flight.Out {
		s.treatHead(x, resp.Header)
		end.contentType = first(resp.Header, "Content-Type")
	}
	if x.dir == flight.In { // trailers get lost on the way
		x.w.Header().Set(iatp.HeaderReceiptID, x.receiptID())
	}
	s.copyReplyHead(x, resp, streamTrailer(x)...)
	if err := rc.Flush(); err != nil {
		c.callerGone(x)
	}
	if through != nil {
		length = -1 // of the bytes before
	}
	for got := int64(0); ; {
		began := s.now()
		c.within(began, time.Duration(s.cfg.Limits.Idle))
		n, err := source.Read(*buf)
		c.rest() // how long the caller takes is not the agent's fault
		x.away += s.now().Sub(began)
		piece := (*buf)[:n]
		got += int64(n)
		_, _ = scan.Write(piece)
		last := err != nil || x.dir != flight.Out && got == length // a peer's trailer comes after it
		released, withheld := through.pass(piece, last)
		proven := released // what the receipt is about
		if x.dir == flight.Out {
			proven = piece
		}
		if !through.sums() {
			sum.Write(proven)
		}
		end.bytes += int64(len(proven))
		if last || withheld != nil {
			end.sum = sum.Sum(nil)
			if err == io.EOF && x.dir == flight.Out && open {
				err = io.ErrUnexpectedEOF // it may be a part: nobody can tell
			}
			if err = cmp.Or(withheld, err); err == nil || err == io.EOF {
				if s.proveStream(x, resp, end, open); s.unproven(x) {
					err = errUnproven
				}
			}
			s.finishStream(c, x, resp, scan, through, end, err)
		}
		s.boundWrite(rc) // also for the end, which net/http writes
		if len(released) > 0 {
			s.release(c, x, rc, released)
		}
		if last {
			return nil
		}
	}
}

// proveUnread reads a peer's answer to its end though nobody here understands it:
// its receipt comes behind it.
func (s *Sidecar) proveUnread(x *exchange, resp *http.Response, sum hash.Hash, end *ending) {
	end.opaque = "content-encoding"
	if x.dir != flight.Out {
		end.sum = sum.Sum(nil)
		return
	}
	_, _ = io.Copy(sum, io.LimitReader(resp.Body, int64(s.cfg.Limits.Body))) // what is cut has no receipt
	end.sum = sum.Sum(nil)
	jws := resp.Trailer.Get(iatp.HeaderReceipt)
	if x.proof, end.outcome, _ = s.checkProof(x, resp, jws, iatp.Digest(end.sum)); x.proof == proofValid {
		x.receipt = jws
		return
	}
	end.outcome = s.askPeer(x)
}

// unbounded reports an answer that ends where its connection ends.
func unbounded(resp *http.Response) bool {
	return resp.ProtoMajor == 1 && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0
}

// streamTrailer lists what is said after a stream: what is proven of it is known
// at its end.
func streamTrailer(x *exchange) []string {
	switch x.dir {
	case flight.In:
		return []string{iatp.HeaderReceipt}
	case flight.Out:
		return []string{iatp.HeaderReceipt, headerProof, iatp.HeaderQuarantined}
	}
	return nil
}

// proveStream issues or verifies the receipt of an answer that has passed, and
// says in the trailer what came of it: what was passed on cannot be taken back.
func (s *Sidecar) proveStream(x *exchange, resp *http.Response, end *ending, open bool) {
	sum := iatp.Digest(end.sum)
	switch x.dir {
	case flight.In:
		x.cost, x.undo.data = s.costOf(x, resp), s.undoDataOf(x, resp)
		if open {
			end.outcome = flight.OutcomeUnknown // nobody can tell whether this is all of it (hardening 39)
		}
		s.giveReceipt(x, end, sum)
		x.w.Header().Set(iatp.HeaderReceipt, x.receipt)
	case flight.Out:
		jws := resp.Header.Get(iatp.HeaderReceipt) // there the peer had all of it before its head left
		if jws == "" {
			jws = resp.Trailer.Get(iatp.HeaderReceipt)
		}
		if jws == "" {
			jws = s.fetchReceipt(x, resp.Header.Get(iatp.HeaderReceiptID))
		}
		x.proof, end.outcome, _ = s.checkProof(x, resp, jws, sum)
		if x.proof == proofValid {
			x.receipt = jws
			x.w.Header().Set(iatp.HeaderReceipt, jws)
		} else if x.proof != proofNone {
			x.w.Header().Set(headerProof, string(x.proof))
			x.w.Header().Set(iatp.HeaderQuarantined, "true")
		}
	}
}

// finishStream records the end of a stream. If that cannot be done, or the
// agent broke off, the caller's connection is cut, so that what he has can not
// be mistaken for the whole.
func (s *Sidecar) finishStream(c *call, x *exchange, resp *http.Response, scan *privacy.Stream, through *filter, end *ending, err error) {
	if through == nil && codingOf(resp.Header) != "" {
		end.opaque = "content-encoding"
	} else if s.keepStream(scan, s.keepsPayloads(x.st), end); through != nil {
		end.findings = x.tallyFilter(through, through.redactor.Report(), s.keepsPayloads(x.st))
	} else {
		end.findings = streamTally(x, scan)
	}
	switch {
	case err == nil || err == io.EOF:
	case errors.Is(err, errUnproven):
		s.askUnproven(x, end)
		s.log.Warn("an answer is cut off: no receipt of the peer proves it", "peer", x.met.Peer.URI, "trace_id", x.in.trace.id)
	case errors.Is(err, errWithheld):
		end.errCode, x.decision = "privacy_violation", decidedFailed
		if x.dir == flight.Out { // the receipt comes behind what is not read
			resp.Body.Close()
			end.outcome = s.askPeer(x)
		}
		s.log.Warn("an answer is cut off: it holds what may not be passed on, or cannot be treated", "trace_id", x.in.trace.id, "error", err)
	default:
		end.outcome, end.errCode = "unknown", string(s.classify(c, x, &attemptError{truncation(err), true}).Kind)
		if errors.Is(c.Err(), errClientGone) || x.gone() {
			end.errCode = "client_gone"
		}
		x.decision = decidedFailed
		s.metrics.agentFailures.WithLabelValues(end.errCode).Inc()
	}
	recErr := s.recordEnd(x, end)
	if recErr != nil {
		s.logUnavailable(recErr)
	}
	if recErr != nil || end.errCode != "" {
		s.finish(x, end.status)
		cut(x)
	}
}

// cut ends the caller's connection in the middle of an answer. For HTTP/1.0 an
// answer of unknown length is whole when its connection ends, unless it is reset.
func cut(x *exchange) {
	if !x.r.ProtoAtLeast(1, 1) {
		if c, _, err := http.NewResponseController(x.w).Hijack(); err == nil {
			reset(c)
		}
	}
	panic(http.ErrAbortHandler)
}

// boundWrite gives the caller the idle limit to take what is written next. An
// error means that the connection has no deadlines, as in a test recorder.
func (s *Sidecar) boundWrite(rc *http.ResponseController) {
	_ = rc.SetWriteDeadline(time.Now().Add(time.Duration(s.cfg.Limits.Idle)))
}

// release hands a piece to the caller. A caller that does not take it within
// the idle limit is gone.
func (s *Sidecar) release(c *call, x *exchange, rc *http.ResponseController, piece []byte) {
	_, err := x.w.Write(piece)
	if err == nil {
		err = rc.Flush()
	}
	if err != nil {
		c.callerGone(x)
		return
	}
	s.pieces.Add(1)
	s.metrics.replyBytes.Add(float64(len(piece)))
}

// callerGone ends the call unless it has a key that obliges us to finish it.
func (c *call) callerGone(x *exchange) {
	if x.in.idempotencyKey == "" {
		c.stop(errClientGone)
	}
}

// recordedType is the media type of an answer as a record may have it. It is scrubbed as
// it was sent: a value in small letters may be none.
func (s *Sidecar) recordedType(h http.Header) string {
	return mediaTypeOf(s.scrub(first(h, "Content-Type")))
}

func mediaType(h http.Header) string { return mediaTypeOf(first(h, "Content-Type")) }

func mediaTypeOf(v string) string {
	if v == jsonType {
		return jsonType
	}
	media, _, err := mime.ParseMediaType(v)
	if err != nil {
		return ""
	}
	return media
}
