package bundle

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/inter-agent-trust/iatp"
)

// Keys say who is who: the logs and the agents that somebody knows. Their text form
// has one key a line, empty lines and lines that begin with # apart:
//
//	log bank.example/iatp+e2dc3db6+AQ...
//	agent https://bank.example ed25519:...
//
// An agent may have several keys: those it had before sign what is from then.
type Keys struct {
	logs   []string // verifier keys (C2SP signed-note)
	agents []agentKey
}

type agentKey struct {
	uri string
	key iatp.Key
}

// maxKeys bounds a list of keys, in bytes and in lines.
const (
	maxKeysText = 1 << 20
	maxKeys     = 10_000
)

// ParseKeys reads the text form.
func ParseKeys(text []byte) (*Keys, error) {
	if len(text) > maxKeysText {
		return nil, fmt.Errorf("more than %d bytes of keys", maxKeysText)
	}
	k := new(Keys)
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := k.add(strings.Fields(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if len(k.logs)+len(k.agents) > maxKeys {
			return nil, fmt.Errorf("more than %d keys", maxKeys)
		}
	}
	return k, nil
}

func (k *Keys) add(words []string) error {
	switch {
	case len(words) == 2 && words[0] == "log":
		if _, err := note.NewVerifier(words[1]); err != nil {
			return fmt.Errorf("%s is not the key of a log", iatp.Printable(words[1]))
		}
		k.logs = append(k.logs, words[1])
	case len(words) == 3 && words[0] == "agent":
		key, err := iatp.ParseKey(words[2])
		if err != nil {
			return err
		}
		k.addAgent(words[1], key)
	default:
		return errors.New(`want "log VKEY" or "agent URI ed25519:KEY"`)
	}
	return nil
}

func (k *Keys) addAgent(uri string, key iatp.Key) {
	if k.agent(uri, key.Thumbprint()) == (iatp.Key{}) {
		k.agents = append(k.agents, agentKey{uri, key})
	}
}

// text is the one spelling of the keys: sorted, without anything else.
func (k *Keys) text() []byte {
	var lines []string
	for _, log := range k.logs {
		lines = append(lines, "log "+log+"\n")
	}
	for _, a := range k.agents {
		lines = append(lines, "agent "+a.uri+" "+a.key.String()+"\n")
	}
	slices.Sort(lines)
	return []byte(strings.Join(slices.Compact(lines), ""))
}

// agent returns the key of an agent with that thumbprint, zero if there is none.
func (k *Keys) agent(uri, jkt string) iatp.Key {
	for _, a := range k.agents {
		if a.uri == uri && a.key.Thumbprint() == jkt {
			return a.key
		}
	}
	return iatp.Key{}
}

// of returns all keys of an agent.
func (k *Keys) of(uri string) []iatp.Key {
	var keys []iatp.Key
	for _, a := range k.agents {
		if a.uri == uri {
			keys = append(keys, a.key)
		}
	}
	return keys
}

// missing names the first key of k that other does not have, "" if it has them all.
func (k *Keys) missing(other *Keys) string {
	for _, log := range k.logs {
		if !slices.Contains(other.logs, log) {
			return "log " + log
		}
	}
	for _, a := range k.agents {
		if other.agent(a.uri, a.key.Thumbprint()) == (iatp.Key{}) {
			return "agent " + a.uri + " " + a.key.String()
		}
	}
	return ""
}
