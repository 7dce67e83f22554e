package privacy

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// wallets finds addresses of cryptocurrencies by their check sums: base58check
// (Bitcoin, Litecoin, Dogecoin, Dash, Zcash, Tron, XRP), the CRC of Stellar, bech32 and bech32m (BIP 173, BIP 350),
// Ethereum's mixed case (ERC-55), the hash of Monero. Solana's have none, and need a word.
var wallets = detector{
	kind: "crypto_wallet", words: []string{"solana", "sol address", "sol wallet", "phantom wallet"},
	hits: []string{
		"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
		"BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "send to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa now",
		"rEb8TK3gBgk5auZkwc6sHnwrGVJH8DuaLh", "cosmos1fl48vsnmsdzcv85q5d2q4z5ajdha8yu34mf0eh",
		"GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ",
		"888tNkZrPN6JsEgekjMnABU4TBzc2Dt29EPAvkRxbANsAnjyPbb3iQ1YBRk1UXcdRsiKc9dhwMVgN5S9cQUiyoogDavup3H",
		"t1fYhbhUAXWSVoKguKUzY4WNEc7QsQ1wyCi", "addr1q9pjp3p5j45894ev3p4uhrawzenq95suc8a5wrremyusz0n9v75sg2jypq4luewhy09kyt62tq23hzjv3ygnanne2gtqwg9hmr",
		"solana wallet 7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV", `{"solana":"4fYNw3dojWmQ4dXtSGE9epjRGy9pFSx62YypT7avPYvA"}`,
		"xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8",
	},
	misses: []string{
		"888tNkZrPN6JsEgekjMnABU4TBzc2Dt29EPAvkRxbANsAnjyPbb3iQ1YBRk1UXcdRsiKc9dhwMVgN5S9cQUiyoogDavup3J",
		"4fYNw3dojWmQ4dXtSGE9epjRGy9pFSx62YypT7avPYvA", "solana wallet zzzzzzzzdojWmQ4dXtSGE9epjRGy9pFSx62YypT7avPY", "solana wallet 4fYNw3dojWmQ4dXtSGE9epjRGy9pFSx62YypT7avPYv0",
		"rEb8TK3gBgk5auZkwc6sHnwrGVJH8DuaLi", "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGA",
		"t1fYhbhUAXWSVoKguKUzY4WNEc7QsQ1wyCa", "addr1q9pjp3p5j45894ev3p4uhrawzenq95suc8a5wrremyusz0n9v75sg2jypq4luewhy09kyt62tq23hzjv3ygnanne2gtqwg9hmq",
		"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
		"5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "0x0000000000000000000000000000000000000000",
	},
}

// wallet looks at a row of at least 25 letters and digits.
func (f *finder) wallet(i, end int) int {
	b := f.text[i:end]
	switch {
	case len(b) == 42 && b[0] == '0' && b[1]|0x20 == 'x':
		return f.hit(&wallets, i, end, ethereum(b[2:]))
	case len(b) <= 35 && strings.IndexByte("13LMDATX9m2n", b[0]) >= 0 && base58check(b, 25, &base58Digits):
		return f.hit(&wallets, i, end, 0.97)
	case len(b) == 35 && b[0] == 't' && base58check(b, 26, &base58Digits):
		return f.hit(&wallets, i, end, 0.97)
	case len(b) <= 35 && b[0] == 'r' && base58check(b, 25, &rippleDigits):
		return f.hit(&wallets, i, end, 0.97)
	case (len(b) == 51 && (b[0] == '5' || b[0] == '9') && base58check(b, 37, &base58Digits)) || len(b) == 52 && strings.IndexByte("KLc", b[0]) >= 0 && base58check(b, 38, &base58Digits):
		return f.hit(&privateKeys, i, end, 0.97) // wallet import format
	case len(b) == 111 && string(b[1:4]) == "prv" && base58check(b, 82, &base58Digits):
		return f.hit(&privateKeys, i, end, 0.97) // BIP 32
	case len(b) == 111 && string(b[1:4]) == "pub" && base58check(b, 82, &base58Digits):
		return f.hit(&wallets, i, end, 0.97)
	case len(b) == 56 && b[0] == 'G' && stellar(b):
		return f.hit(&wallets, i, end, 0.97)
	case len(b) == 56 && b[0] == 'S' && stellar(b):
		return f.hit(&privateKeys, i, end, 0.97) // the seed of an account
	case len(b) >= 38 && len(b) <= longestBech32 && bech32(b):
		return f.hit(&wallets, i, end, 0.97)
	case (len(b) == 95 && (b[0] == '4' || b[0] == '8') || len(b) == 106 && b[0] == '4') && monero(b):
		return f.hit(&wallets, i, end, 0.97)
	case len(b) >= 43 && len(b) <= 44:
		var key [32]byte
		if t := (telling{f: f, start: i}); base58Bytes(key[:], b, &base58Digits) && key[0] != 0 && t.yes(&wallets, end) {
			return f.hit(&wallets, i, end, 0.85)
		}
	}
	return 0
}

// monero checks the address of a wallet: base58 of blocks of eight bytes, the last four
// bytes the beginning of the hash of the others.
func monero(b []byte) bool {
	const block, digits, rest, restDigits = 8, 11, 5, 7
	var raw [9*block + rest]byte
	n := 0
	for ; len(b) > restDigits; b, n = b[digits:], n+block {
		if !base58Bytes(raw[n:n+block], b[:digits], &base58Digits) {
			return false
		}
	}
	if !base58Bytes(raw[n:n+rest], b, &base58Digits) {
		return false
	}
	sum := keccak256(raw[:n+1])
	return [4]byte(sum[:4]) == [4]byte(raw[n+1:])
}

const base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

var base58Digits = func() (t [256]uint8) {
	for i := range t {
		t[i] = 58
	}
	for i := range base58 {
		t[base58[i]] = uint8(i)
	}
	return t
}()

// rippleDigits is the same with the alphabet of the XRP Ledger.
var rippleDigits = func() (t [256]uint8) {
	for i := range t {
		t[i] = 58
	}
	for i, c := range []byte("rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz") {
		t[c] = uint8(i)
	}
	return t
}()

// maxBase58 is how many bytes an extended key has with its check sum.
const maxBase58 = 82

// base58check reports whether b is n bytes, the last four of them the check sum of
// the others.
func base58check(b []byte, n int, digits *[256]uint8) bool {
	var buf [maxBase58]byte
	out := buf[:n]
	if !base58Bytes(out, b, digits) {
		return false
	}
	once := sha256.Sum256(out[:n-4])
	twice := sha256.Sum256(once[:])
	return [4]byte(twice[:4]) == [4]byte(out[n-4:])
}

// base58Bytes decodes b into out, which is all zeros, and reports whether it fits.
func base58Bytes(out, b []byte, digits *[256]uint8) bool {
	for _, c := range b {
		carry := int(digits[c])
		if carry == 58 {
			return false
		}
		for k := len(out) - 1; k >= 0; k-- {
			carry += 58 * int(out[k])
			out[k] = byte(carry)
			carry >>= 8
		}
		if carry != 0 {
			return false
		}
	}
	return true
}

// stellar checks the CRC-16 of a key of Stellar: SEP 23.
func stellar(b []byte) bool {
	var raw [35]byte
	if n, err := base32.StdEncoding.Decode(raw[:], b); err != nil || n != len(raw) {
		return false
	}
	crc := uint16(0)
	for _, c := range raw[:33] {
		crc ^= uint16(c) << 8
		for range 8 {
			if crc>>15 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return raw[33] == byte(crc) && raw[34] == byte(crc>>8)
}

// longestBech32 is the length of the longest addresses, which are those of Cardano (CIP 19).
const longestBech32 = 120

// bech32 checks an address with a human-readable part of a known chain.
func bech32(b []byte) bool {
	sep := strings.LastIndexByte(string(b[:min(len(b), 8)]), '1')
	if sep < 2 {
		return false
	}
	switch strings.ToLower(string(b[:sep])) {
	case "bc", "tb", "ltc", "bnb", "addr", "stake", "osmo", "inj", "cosmos", "terra", "secret", "kava", "juno", "akash":
	default:
		return false
	}
	chk := uint32(1)
	feed := func(v uint32) {
		top := chk >> 25
		chk = chk&0x1ffffff<<5 ^ v
		for i, g := range [...]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 != 0 {
				chk ^= g
			}
		}
	}
	for _, c := range b[:sep] {
		feed(uint32(c|0x20) >> 5)
	}
	feed(0)
	for _, c := range b[:sep] {
		feed(uint32(c|0x20) & 31)
	}
	cased := b[0] & 0x20
	for _, c := range b[sep+1:] {
		if asciiLetter(c) && c&0x20 != cased {
			return false
		}
		v := strings.IndexByte("qpzry9x8gf2tvdw0s3jn54khce6mua7l", c|0x20)
		if isDigit(c) {
			v = strings.IndexByte("qpzry9x8gf2tvdw0s3jn54khce6mua7l", c)
		}
		if v < 0 {
			return false
		}
		feed(uint32(v))
	}
	return chk == 1 || chk == 0x2bc830a3
}

// ethereum returns the confidence in 40 hexadecimal digits behind 0x.
func ethereum(hex []byte) float64 {
	var lower [40]byte
	letters, capitals := 0, 0
	for i, c := range hex {
		if !isDigit(c) && !isHexLetter(c) {
			return 0
		}
		lower[i] = c
		if isHexLetter(c) {
			letters++
			lower[i] |= 0x20
			if upper(c) {
				capitals++
			}
		}
	}
	if !varied(lower[:], 6) {
		return 0
	}
	if capitals == 0 || capitals == letters {
		return 0.6
	}
	sum := keccak256(lower[:])
	for i, c := range hex {
		nibble := sum[i/2] >> (4 * (1 - i%2)) & 15
		if isHexLetter(c) && upper(c) != (nibble >= 8) {
			return 0
		}
	}
	return 0.97
}
