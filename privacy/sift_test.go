package privacy

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// slowSift is sift, a byte at a time.
func slowSift(b []byte) bool {
	digits, row, above := 0, 0, false
	for _, c := range b {
		above = above || c >= 0x80
		if row++; c == ' ' {
			row = 0
		}
		if isDigit(c) {
			digits++
		}
		if bytes.IndexByte([]byte("@:=%&"), c) >= 0 || row >= siftRow {
			return true
		}
	}
	return digits >= siftDigits || digits > 0 && strings.Contains(string(b), "assw") || above && siftUnicode(b, digits)
}

// slowUUID is uuid, a byte at a time.
func slowUUID(b []byte) bool {
	letters := [2]bool{}
	for i, c := range b {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case isHexLetter(c):
			letters[i/19] = true
		case !isDigit(c):
			return false
		}
	}
	return letters[0] && letters[1]
}

// slowTimestamp is timestamp, a byte at a time.
func slowTimestamp(b []byte) bool {
	for i, c := range b {
		switch {
		case i == 4 || i == 7:
			if c != '-' {
				return false
			}
		case i == 10:
			if c != 'T' {
				return false
			}
		case i == 13 || i == 16:
			if c != ':' {
				return false
			}
		case !isDigit(c) && (i < 19 || bytes.IndexByte([]byte(".:Z+-"), c) < 0):
			return false
		}
	}
	return true
}

// TestSiftAgainstSlow holds the arithmetic on words to loops over bytes.
func TestSiftAgainstSlow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const set = "abcxyz  ABF019/:;@G`g{\x00\x7f-é=%&"
	for n := range 200_000 {
		b := make([]byte, r.IntN(40))
		for i := range b {
			if b[i] = set[r.IntN(len(set))]; r.IntN(8) > 0 {
				b[i] = "abcdefgh "[r.IntN(9)]
			}
		}
		if n%4 == 0 && len(b) > 4 {
			copy(b[r.IntN(len(b)-3):], siftWord)
		}
		if got, want := sift(b), slowSift(b); got != want {
			t.Fatalf("sift(%q) = %t, want %t", b, got, want)
		}
	}
	for range 200_000 {
		b := []byte("2026-11-23T04:05:06.789+01:00")
		for range r.IntN(3) {
			if b[r.IntN(len(b))] = byte(r.IntN(256)); r.IntN(2) == 0 {
				b[r.IntN(len(b))] = "0123456789:/;-T.Z"[r.IntN(17)]
			}
		}
		if got, want := timestamp(b), slowTimestamp(b); got != want {
			t.Fatalf("timestamp(%q) = %t, want %t", b, got, want)
		}
	}
	for range 200_000 {
		b := []byte("8e03978e-40d5-43e8-bc93-6894a57f9324")
		for range r.IntN(3) {
			b[r.IntN(len(b))] = byte(r.IntN(256))
		}
		if r.IntN(4) == 0 {
			b = []byte("80039780-4005-4308-0093-689405709324")
			b[r.IntN(36)] = set[r.IntN(len(set))]
		}
		if got, want := uuid(b), slowUUID(b); got != want {
			t.Fatalf("uuid(%q) = %t, want %t", b, got, want)
		}
	}
}

// Of ASCII, exactly what may be part of a value is odd, wherever it stands and whatever stands beside it.
func TestOddBytes(t *testing.T) {
	for c := range 0x80 {
		odd := c >= 0x30 && c <= 0x40 || c >= 0x24 && c <= 0x27
		for at := range 8 {
			for _, beside := range []uint64{0, ' ', 'a', 0x7F} {
				x := beside*ones&^(0xFF<<(8*at)) | uint64(c)<<(8*at)
				if got := oddBytes(x); got != 0 != odd || odd && got != 0x80<<(8*at) {
					t.Fatalf("oddBytes(%#016x) = %#016x", x, got)
				}
			}
		}
	}
}

// FuzzSift holds sift to the loop over bytes.
func FuzzSift(f *testing.F) {
	for _, d := range builtin().all {
		for _, text := range slices.Concat(d.hits, d.misses) {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := sift(b), slowSift(b); got != want {
			t.Errorf("sift(%q) = %t, want %t", b, got, want)
		}
	})
}
