package iatp

// Warnings lists what in the manifest contradicts itself or promises less than it
// seems to, one sentence each. A manifest with warnings is still valid.
func (m *Manifest) Warnings() []string {
	var w []string
	return w
}
