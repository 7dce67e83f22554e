package flight

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// Committed reports whether the commitment in a line of the log in dir is to
// body, which is what [Entry].Body was: in lines of a sidecar the SHA-256 of the body
// that came or went. It needs the store key of the data directory and the line itself: once
// the line is dropped nobody can tell any more.
func Committed(dir string, line, body []byte) (bool, error) {
	_, data, err := findLog(dir)
	if err != nil {
		return false, fmt.Errorf("check commitment: %w", err)
	}
	key, err := openStoreKey(data)
	if err != nil {
		return false, fmt.Errorf("check commitment: %w", err)
	}
	if _, err := ParseRecord(line); err != nil {
		return false, fmt.Errorf("check commitment: %w", err)
	}
	var members struct{ R, Commit string }
	if err := json.Unmarshal(line, &members); err != nil {
		return false, fmt.Errorf("check commitment: %w", err)
	}
	r, err := base64.RawURLEncoding.Strict().DecodeString(members.R)
	if err != nil || len(r) != 16 || members.Commit == "" {
		return false, errors.New("check commitment: the line has none")
	}
	want, err := base64.RawURLEncoding.Strict().DecodeString(members.Commit)
	if err != nil {
		return false, errors.New("check commitment: malformed")
	}
	sum := key.commit(new(mac), [16]byte(r), body)
	return subtle.ConstantTimeCompare(sum[:], want) == 1, nil
}
