package sidecar

import (
	"net/http"
	"sync"

	"github.com/inter-agent-trust/iatp/internal/upstream"
)

// exchanges are exchanges that are over.
var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// kit is the memory that an exchange needs once it has its place, used by one
// after another. What others may still hold when the exchange is over is not of it: the
// values of the answer's head, and every text. Each method also works without a kit:
// then the memory is new.
type kit struct {
	call         call
	request      upstream.Request
	fields       [24]upstream.Field // what is sent has hardly more
	forward      http.Header
	signed       http.Header // what is signed
	body, answer []byte
	form         []byte // see scan
}

var kits = sync.Pool{New: func() any { return newKit() }}

func newKit() *kit { return &kit{forward: http.Header{}, signed: http.Header{}} }

const (
	// leastBuffer and mostBuffer bound the buffers that a kit keeps.
	leastBuffer = 2 << 10
	mostBuffer  = 16 << 10
)

// equip gives the exchange a kit, which recycle takes back. Over HTTP/2 an answer may
// still be on its way from its buffer when the exchange is over, so there is none.
func (x *exchange) equip() {
	if x.relayed && x.r.ProtoMajor == 1 {
		x.kit = kits.Get().(*kit)
	}
}

// recycle gives the memory of an exchange that is over to another one.
func (x *exchange) recycle() {
	if x.kit != nil {
		x.kit.reset(x.body)
		kits.Put(x.kit)
	}
	x.report.Release()
	*x = exchange{}
	exchanges.Put(x)
}

// reset makes the kit good for another exchange, with the body's buffer unless that is
// too large.
func (k *kit) reset(body []byte) {
	if cap(body) >= leastBuffer && cap(body) <= mostBuffer {
		k.body = body[:0]
	}
	k.request = upstream.Request{}
	clear(k.fields[:])
	clear(k.forward)
	clear(k.signed)
}

func (k *kit) newCall() *call {
	if k == nil {
		return new(call)
	}
	return &k.call
}

// newRequest is a request without fields.
func (k *kit) newRequest() *upstream.Request {
	if k == nil {
		return &upstream.Request{Fields: make([]upstream.Field, 0, len(k.fields))}
	}
	k.request.Fields = k.fields[:0]
	return &k.request
}

// newHead is an empty head for what is forwarded of the caller's.
func (k *kit) newHead() http.Header {
	if k == nil {
		return make(http.Header, len(forwardedHeaders))
	}
	return k.forward
}

// newSigned is an empty head for what is signed of an attempt.
func (k *kit) newSigned() http.Header {
	if k == nil {
		return make(http.Header, 2*len(forwardedHeaders)+12)
	}
	clear(k.signed)
	return k.signed
}

// bodyOf is an empty buffer for a request of so many bytes.
func (k *kit) bodyOf(size int64) []byte {
	if k == nil {
		return make([]byte, 0, size)
	}
	if int64(cap(k.body)) < size {
		k.body = make([]byte, 0, max(size, leastBuffer))
	}
	return k.body[:0]
}

// answerOf is a buffer for an answer of so many bytes, never nil.
func (k *kit) answerOf(size int64) []byte {
	if k == nil || size > mostBuffer {
		return make([]byte, size)
	}
	if k.answer == nil || int64(cap(k.answer)) < size {
		k.answer = make([]byte, max(size, leastBuffer))
	}
	return k.answer[:size]
}
