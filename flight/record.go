package flight

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/internal/ijson"
)

// Record is a line of the log with the members that every reader needs.
type Record struct {
	Seq     int64
	Type    Type
	TraceID iatp.TraceID // empty in lines about the log itself
	Time    time.Time
	// Line is the record as it was written, without its newline.
	Line []byte

	droppedBelow int64
}

// ParseRecord reads a line, strictly: it must be in its canonical form
// (RFC 8785), of a known type, and carry seq, r and timestamp. The record keeps
// line, it does not copy it.
func ParseRecord(line []byte) (Record, error) { return new(lineParser).parse(line) }

// MaxPayloadDepth is the greatest nesting of a payload that is written as JSON. The line
// is an object around it, and anybody must be able to read the line with the
// default limit.
const MaxPayloadDepth = ijson.DefaultDepth - 1

// lineLimits bound what readers take: a level more than is written, for there
// are lines of old that hold a payload of the default depth.
var lineLimits = ijson.Limits{Depth: MaxPayloadDepth + 2}

// lineParser parses lines without allocating more than the longest one needs.
type lineParser struct {
	reader    ijson.Reader
	canonical []byte
}

func (p *lineParser) parse(line []byte) (Record, error) {
	if len(line) > MaxLine {
		return Record{}, fmt.Errorf("record of %d bytes, the limit is %d", len(line), MaxLine)
	}
	var err error
	p.canonical, err = ijson.AppendCanonical(p.canonical[:0], line, lineLimits)
	if err != nil {
		return Record{}, err
	}
	if !bytes.Equal(p.canonical, line) {
		return Record{}, errors.New("record is not in its canonical form")
	}
	return p.members(line)
}

// members reads the top level of a line that is valid JSON.
func (p *lineParser) members(line []byte) (Record, error) {
	rec := Record{Seq: -1, Line: line}
	var haveR bool
	p.reader.Reset(line, lineLimits)
	if tok, err := p.reader.Next(); err != nil || tok.Kind != ijson.BeginObject {
		return rec, errors.New("record is not an object")
	}
	for {
		tok, err := p.reader.Next()
		if err != nil {
			return rec, err
		}
		if tok.Kind == ijson.EndObject && p.reader.Depth() == 0 {
			break
		}
		if tok.Kind != ijson.Name || p.reader.Depth() != 1 {
			continue
		}
		name := line[tok.Start:tok.End]
		value, err := p.reader.Next()
		if err != nil {
			return rec, err
		}
		if string(name) == "r" {
			haveR = value.Kind == ijson.String && value.End-value.Start == 22
		}
		if err := rec.set(string(name), value, line[value.Start:value.End]); err != nil {
			return rec, err
		}
	}
	if rec.Seq < 0 || !rec.Type.known() || rec.Time.IsZero() || !haveR {
		return rec, errors.New("record lacks seq, r, timestamp or a known type")
	}
	return rec, nil
}

// set takes over one member.
func (r *Record) set(name string, tok ijson.Token, text []byte) (err error) {
	switch name {
	case "seq", "dropped_below":
		if tok.Kind != ijson.Number {
			return fmt.Errorf("member %s is not a number", name)
		}
		n, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("member %s is not a size", name)
		}
		if name == "seq" {
			r.Seq = n
		} else {
			r.droppedBelow = n
		}
	case "type", "trace_id", "timestamp":
		if tok.Kind != ijson.String || tok.Escaped {
			return fmt.Errorf("member %s is not a plain string", name)
		}
		switch name {
		case "type":
			r.Type = Type(text)
		case "trace_id":
			r.TraceID = iatp.TraceID(text)
		default:
			if r.Time, err = time.Parse(time.RFC3339Nano, string(text)); err != nil {
				return errors.New("member timestamp is not a time")
			}
		}
	}
	return nil
}

// traceOf finds the trace id of a line that this package wrote, without parsing
// it: no member after trace_id holds JSON of a caller, and inside a string the
// quotes would be escaped, so the last match is the member itself. In a line
// that has none it may find one inside the payload: the index is only a hint,
// and whoever follows it parses the line.
func traceOf(line []byte) []byte {
	const member = `,"trace_id":"`
	i := bytes.LastIndex(line, []byte(member))
	if i < 0 {
		return nil
	}
	value := line[i+len(member):]
	if end := bytes.IndexByte(value, '"'); end >= 0 {
		return value[:end]
	}
	return nil
}

// seqOf finds seq the same way: no member after seq holds JSON of a caller.
func seqOf(line []byte) (int64, bool) {
	const member = `,"seq":`
	i := bytes.LastIndex(line, []byte(member))
	if i < 0 {
		return 0, false
	}
	digits := line[i+len(member):]
	end := bytes.IndexByte(digits, ',')
	if end < 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(digits[:end]), 10, 64)
	return n, err == nil
}
