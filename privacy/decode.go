package privacy

import "github.com/inter-agent-trust/iatp/internal/ijson"

// decode appends the text of a valid JSON string to dst, and to from where each
// byte of it came from, with one entry more for the end.
func decode(dst []byte, from []int32, raw []byte) ([]byte, []int32) {
	for i := 0; i < len(raw); {
		n := 1
		if raw[i] == '\\' {
			n = escapeLength(raw[i:])
		}
		before := len(dst)
		dst = ijson.AppendDecoded(dst, raw[i:i+n])
		for range len(dst) - before {
			from = append(from, int32(i))
		}
		i += n
	}
	return dst, append(from, int32(len(raw)))
}

// escapeLength returns the length of the escape, or the pair of them, at the
// start of b.
func escapeLength(b []byte) int {
	if b[1] != 'u' {
		return 2
	}
	if r, _ := unescape(b[1:]); r >= 0xD800 && r < 0xDC00 {
		return 12
	}
	return 6
}

// appendEscaped appends text as it stands between the quotes of a JSON string.
func appendEscaped(dst, text []byte) []byte {
	start := len(dst)
	dst = ijson.AppendString(dst, text)
	copy(dst[start:], dst[start+1:len(dst)-1])
	return dst[:len(dst)-2]
}
