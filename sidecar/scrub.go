package sidecar

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/privacy"
)

// scrub takes sensitive values out of a text, but for those of the kinds in keep.
// Whatever is recorded, logged or answered by us and is not a body goes through
// here: bodies have places, and rules of the operator.
func scrub(s *privacy.Scanner, text string, keep ...iatp.DataClass) string {
	r := s.ScanText([]byte(text))
	if len(r.Findings) == 0 {
		return text
	}
	return string(privacy.AppendRedactedBy(nil, []byte(text), r, func(f privacy.Finding) privacy.Action {
		if slices.Contains(keep, f.Kind) {
			return privacy.Keep
		}
		return privacy.Redact
	}))
}

func (s *Sidecar) scrub(text string) string {
	if text == "" || text == jsonType { // what is recorded of nearly every answer
		return text
	}
	return scrub(s.scanner(), text)
}

// scrubPointer scrubs a JSON pointer name by name: what is a value by itself may be
// none in the middle of a path.
func (s *Sidecar) scrubPointer(pointer string) string {
	names := strings.Split(pointer, "/")
	for i, name := range names {
		names[i] = toPointer.Replace(s.scrub(fromPointer.Replace(name)))
	}
	return strings.Join(names, "/")
}

// How a name is written in a pointer: RFC 6901, section 3.
var (
	toPointer   = strings.NewReplacer("~", "~0", "/", "~1")
	fromPointer = strings.NewReplacer("~1", "/", "~0", "~")
)

// scrubProblem takes sensitive data out of a problem that quotes somebody, such as
// the pointer of a member whose name is a card number.
func (s *Sidecar) scrubProblem(p *iatp.Problem) {
	if p.Where != nil {
		p.Where.Pointer = s.scrubPointer(p.Where.Pointer)
	}
	for _, text := range []*string{&p.Error, &p.Hint, &p.Warning, &p.Title} {
		*text = s.scrub(*text)
	}
}

// scrubbed is a log without sensitive values. No line quotes a payload; an error
// of somebody else may quote what we do not know of. Addresses of machines stay:
// they tell an operator which peer does not answer.
func (s *Sidecar) scrubbed(log *slog.Logger) *slog.Logger {
	return slog.New(&scrubHandler{log.Handler(), s})
}

type scrubHandler struct {
	slog.Handler
	s *Sidecar
}

// Handle scrubs the message and the attributes of a line.
func (h *scrubHandler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, h.scrub(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(h.attr(a))
		return true
	})
	return h.Handler.Handle(ctx, out)
}

// WithAttrs and WithGroup keep the handler around the one that they give.
func (h *scrubHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.attr(a)
	}
	return &scrubHandler{h.Handler.WithAttrs(clean), h.s}
}

func (h *scrubHandler) WithGroup(name string) slog.Handler {
	return &scrubHandler{h.Handler.WithGroup(name), h.s}
}

func (h *scrubHandler) scrub(text string) string { return scrub(h.s.scanner(), text, "ip_address") }

func (h *scrubHandler) attr(a slog.Attr) slog.Attr {
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(h.scrub(v.String()))
	case slog.KindGroup:
		var clean []any
		for _, member := range v.Group() {
			clean = append(clean, h.attr(member))
		}
		return slog.Group(a.Key, clean...)
	case slog.KindAny: // an error, above all
		a.Value = slog.StringValue(h.scrub(v.String()))
	}
	return a
}
