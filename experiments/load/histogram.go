package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets whose width grows with the value, as
// HdrHistogram does: 128 buckets to an octave, so that a percentile is at most
// 0.8 % too high, from a nanosecond to hours. The zero value is empty. It is
// used by one goroutine at a time.
type histogram struct {
	counts [subBuckets * 40]uint32
	n      int64
	max    time.Duration
}

const (
	subBits    = 7
	subBuckets = 1 << subBits
)

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[min(bucketOf(uint64(d)), len(h.counts)-1)]++
	h.n++
	h.max = max(h.max, d)
}

// bucketOf numbers the buckets: below 256 each value has its own, above them
// the leading eight bits name it.
func bucketOf(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift*subBuckets + int(v>>shift)
}

// upper is the largest value of a bucket.
func upper(bucket int) time.Duration {
	if bucket < 2*subBuckets {
		return time.Duration(bucket)
	}
	shift := bucket/subBuckets - 1
	return time.Duration((uint64(bucket%subBuckets+subBuckets)+1)<<shift - 1)
}

func (h *histogram) merge(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// at returns the value that a share of all, from 0 to 1, does not exceed; 0 of
// nothing.
func (h *histogram) at(share float64) time.Duration {
	left := int64(share*float64(h.n) + 0.5)
	for i, c := range h.counts {
		if left -= int64(c); left <= 0 && c > 0 {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

// points are what a percentile plot needs: pairs of share and microseconds.
func (h *histogram) points() [][2]float64 {
	var out [][2]float64
	for _, share := range []float64{0, .1, .25, .5, .75, .9, .95, .975, .99, .995, .999, .9995, .9999, 1} {
		if h.n > 0 && (share == 1 || float64(h.n)*(1-share) >= 1) {
			out = append(out, [2]float64{share, micros(h.at(share))})
		}
	}
	return out
}

func micros(d time.Duration) float64 { return float64(d) / 1000 }
