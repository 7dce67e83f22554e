package iatp

import (
	"slices"
)

// ParseOperatorManifest reads the operator's own manifest file. The rules are those
// of ParseManifest, and on top of them it
//
//   - reads the flat form and the aliases of older versions ("retention",
//     "human_review", "undo_window": "24h", "sla_latency": "2000ms",
//     "privacy_contract") and brings them into the published form;
//   - reads compensation_endpoint and check_endpoint, which are the operator's
//     configuration and are left out of Bytes (the latter also in undo_conditions).
//
// A member and its alias that say different things are an error. So is a signed
// document that would have to be changed in one of these ways, because its
// signature would no longer fit.
func ParseOperatorManifest(data []byte) (*Manifest, error) {
	root, err := parseTree(data)
	if err != nil {
		return nil, err
	}
	c := converter{data: data, signed: root.get("signatures") != nil}
	c.convert(root)
	if c.err != nil {
		return nil, c.err
	}
	m, err := bind(root, data)
	if err != nil {
		return nil, err
	}
	m.Reversibility.CompensationEndpoint = c.compensate
	m.Reversibility.CheckEndpoint = c.check
	m.raw = slices.Clone(data)
	if c.changed {
		m.raw = root.appendTo(nil)
	}
	return m, nil
}
