package httpsig

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

// An input is our member of Signature-Input: what a signature covers, and how.
type input struct {
	components []string // as they are spelled: "content-type", with the quotes
	created    int64    // seconds since 1970
	expires    int64
	nonce      string
	keyID      string
	text       string // its one spelling: see spell
}

// spell returns the one spelling of the input.
func (in input) spell() string {
	return "(" + strings.Join(in.components, " ") + ")" +
		";created=" + strconv.FormatInt(in.created, 10) +
		";expires=" + strconv.FormatInt(in.expires, 10) +
		`;nonce="` + in.nonce + `";keyid="` + in.keyID + `";alg="ed25519";tag="` + Tag + `"`
}

// parseInput reads an input in its one spelling.
func parseInput(text string) (in input, ok bool) {
	list, rest, found := strings.Cut(text, ")")
	parameters := strings.Split(rest, ";")
	if !found || list == "" || len(parameters) != 7 {
		return input{}, false
	}
	in.components = strings.Split(list[1:], " ")
	for i, p := range []struct {
		name   string
		number *int64
		text   *string
	}{{"created", &in.created, nil}, {"expires", &in.expires, nil}, {"nonce", nil, &in.nonce}, {"keyid", nil, &in.keyID}} {
		value, _ := strings.CutPrefix(parameters[i+1], p.name+"=")
		if p.number != nil {
			*p.number, _ = strconv.ParseInt(value, 10, 64)
		} else {
			*p.text = strings.Trim(value, `"`)
		}
	}
	// What was read wrong, or not at all, is spelled differently now.
	in.text = in.spell()
	return in, in.text == text && in.valid()
}

// valid reports whether the values are within the bounds of the profile.
func (in input) valid() bool {
	life := in.expires - in.created
	return in.created > 0 && in.created < 1e12 && life > 0 && life <= int64(MaxLife/time.Second) &&
		len(in.components) <= MaxComponents && validNonce(in.nonce) && len(in.keyID) == 43 && isBase64URL(in.keyID)
}

func validNonce(s string) bool {
	return len(s) >= MinNonce && len(s) <= MaxNonce && isBase64URL(s)
}

func isBase64URL(s string) bool {
	return strings.Trim(s, upper+lower+digits+"-_") == ""
}

// parseSignature reads our member of Signature in its one spelling.
func parseSignature(text string) ([]byte, bool) {
	inner, ok := strings.CutPrefix(text, ":")
	inner, found := strings.CutSuffix(inner, ":")
	raw, err := base64.StdEncoding.DecodeString(inner)
	return raw, ok && found && err == nil && formatSignature(raw) == text
}

func formatSignature(raw []byte) string {
	return ":" + base64.StdEncoding.EncodeToString(raw) + ":"
}
