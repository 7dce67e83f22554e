package privacy

import (
	"encoding/binary"
	"math/bits"
)

// keccak256 is the hash that Ethereum uses: Keccak as it was submitted, with the
// padding that SHA-3 changed later. The message must be shorter than a block of
// 136 bytes.
func keccak256(message []byte) (sum [32]byte) {
	var block [136]byte
	copy(block[:], message)
	block[len(message)] = 1
	block[len(block)-1] |= 0x80
	var a [25]uint64
	for i := range len(block) / 8 {
		a[i] = binary.LittleEndian.Uint64(block[8*i:])
	}
	keccakF(&a)
	for i := range 4 {
		binary.LittleEndian.PutUint64(sum[8*i:], a[i])
	}
	return sum
}

// keccakF is the permutation of FIPS 202, section 3, with lanes a[x+5*y].
func keccakF(a *[25]uint64) {
	register := uint8(1)
	for range 24 {
		var c, d [5]uint64
		for x := range 5 {
			c[x] = a[x] ^ a[x+5] ^ a[x+10] ^ a[x+15] ^ a[x+20]
		}
		for x := range 5 {
			d[x] = c[(x+4)%5] ^ bits.RotateLeft64(c[(x+1)%5], 1)
		}
		for i := range a {
			a[i] ^= d[i%5]
		}
		x, y, lane := 1, 0, a[1]
		for t := range 24 { // rho and pi
			x, y = y, (2*x+3*y)%5
			lane, a[x+5*y] = a[x+5*y], bits.RotateLeft64(lane, (t+1)*(t+2)/2)
		}
		for y := 0; y < 25; y += 5 {
			row := [5]uint64(a[y : y+5])
			for x := range 5 {
				a[y+x] = row[x] ^ ^row[(x+1)%5]&row[(x+2)%5]
			}
		}
		for j := range 7 { // iota: the constants come from a shift register
			if register&1 != 0 {
				a[0] ^= 1 << (1<<j - 1)
			}
			carry := register >> 7
			register = register<<1 ^ carry*0x71
		}
	}
}
