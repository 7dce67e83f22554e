package sidecar

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/inter-agent-trust/iatp"
)

// ApplyEnvironment lays the seed's sidecar variables over c: IATP_AGENT_URL,
// IATP_LISTEN or IATP_PORT (on loopback), IATP_DATA. An unusable value is an
// error. The variables that describe the agent are read by New when no manifest
// file is given.
func ApplyEnvironment(getenv func(string) string, c *Config) error {
	if v := getenv("IATP_AGENT_URL"); v != "" {
		c.Agent = v
	}
	if v := getenv("IATP_DATA"); v != "" {
		c.Data = v
	}
	listen, port := getenv("IATP_LISTEN"), getenv("IATP_PORT")
	if listen != "" && port != "" {
		return fmt.Errorf("IATP_LISTEN and IATP_PORT are both set: unset one")
	}
	if listen != "" {
		c.Listen = listen
	}
	if port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("IATP_PORT=%s is not a port number", strconv.Quote(iatp.Printable(port)))
		}
		c.Listen = "127.0.0.1:" + port
	}
	return nil
}

// defaultManifest is the manifest of an agent whose operator wrote no file.
// Whatever the environment leaves open takes the safe value: standard level,
// no undo, temporary retention. That scores 5, so every call asks.
func defaultManifest(getenv func(string) string) (*iatp.Manifest, error) {
	or := func(key, value string) string {
		if v := getenv(key); v != "" {
			return v
		}
		return value
	}
	human, err := envBool(getenv, "IATP_HUMAN_IN_LOOP")
	if err != nil {
		return nil, err
	}
	training, err := envBool(getenv, "IATP_TRAINING_CONSENT")
	if err != nil {
		return nil, err
	}
	doc, err := json.Marshal(map[string]any{
		"$schema":          "http://inter-agent-trust.org/v1/schema",
		"identity":         map[string]any{"agent_id": or("IATP_AGENT_ID", "unnamed-agent")},
		"trust_level":      or("IATP_TRUST_LEVEL", iatp.Standard.String()),
		"reversibility":    map[string]any{"level": or("IATP_REVERSIBILITY", string(iatp.ReversibilityNone))},
		"privacy":          map[string]any{"retention_policy": or("IATP_RETENTION", string(iatp.RetentionTemporary)), "human_in_loop": human, "training_consent": training},
		"protocol_version": "1.0",
	})
	if err != nil {
		return nil, err
	}
	m, err := iatp.ParseOperatorManifest(doc)
	if err != nil {
		return nil, fmt.Errorf("manifest from the environment (IATP_AGENT_ID, IATP_TRUST_LEVEL, IATP_REVERSIBILITY, IATP_RETENTION): %w", err)
	}
	return m, nil
}

func envBool(getenv func(string) string, key string) (bool, error) {
	switch v := getenv(key); v {
	case "", "false", "0", "no":
		return false, nil
	case "true", "1", "yes":
		return true, nil
	default:
		return false, fmt.Errorf("%s=%s is not true or false", key, strconv.Quote(iatp.Printable(v)))
	}
}
