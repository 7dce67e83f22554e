package once

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// Answer is what a repetition of a call is answered.
type Answer struct {
	Status int
	// Header holds the header fields that are said again.
	Header http.Header
	Body   []byte
	// Dropped says that the body was not kept: it was streamed, too long, or
	// not to be kept at all.
	Dropped bool
	Receipt string // JWS; "" if there is none
}

// answerVersion is the first byte of an encoded answer.
const answerVersion = 1

// encode returns the answer as bytes: the version, whether the body was
// dropped, then status, number of header lines, lines (name, value) sorted by
// name, receipt and body. Numbers are uvarints; every text but the body, which
// is the rest, has its length in front.
func (a Answer) encode() []byte {
	b := append(make([]byte, 0, len(a.Body)+len(a.Receipt)+256), answerVersion, 0)
	if a.Dropped {
		b[1] = 1
	}
	b = binary.AppendUvarint(b, uint64(a.Status))
	lines := 0
	for _, values := range a.Header {
		lines += len(values)
	}
	b = binary.AppendUvarint(b, uint64(lines))
	for _, name := range slices.Sorted(maps.Keys(a.Header)) {
		for _, value := range a.Header[name] {
			b = appendText(appendText(b, name), value)
		}
	}
	return append(appendText(b, a.Receipt), a.Body...)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// decodeAnswer reads what encode writes, and nothing else.
func decodeAnswer(b []byte) (a Answer, err error) {
	if len(b) < 2 || b[0] != answerVersion || b[1] > 1 {
		return a, errors.New("answer is not of version 1")
	}
	r := texts{rest: b[2:]}
	a.Dropped = b[1] == 1
	a.Status = int(r.number(999))
	for range r.number(uint64(len(b))) {
		if a.Header == nil {
			a.Header = make(http.Header)
		}
		name := r.text()
		a.Header[name] = append(a.Header[name], r.text())
	}
	a.Receipt = r.text()
	if len(r.rest) > 0 {
		a.Body = r.rest
	}
	if r.err == nil && string(a.encode()) != string(b) {
		r.err = errors.New("not as it would be written")
	}
	if r.err != nil {
		return Answer{}, fmt.Errorf("answer: %w", r.err)
	}
	return a, nil
}

// texts reads numbers and texts. After an error everything is empty.
type texts struct {
	rest []byte
	err  error
}

// number reads a number of at most limit.
func (r *texts) number(limit uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > limit {
		r.rest, r.err = nil, errors.New("number is missing or too large")
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *texts) text() string {
	n := r.number(uint64(len(r.rest)))
	if n > uint64(len(r.rest)) {
		r.rest, r.err = nil, errors.New("text is cut")
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}
