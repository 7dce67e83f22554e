package sidecar

// DurableRecords is how many records are on the disk for certain.
func (s *Sidecar) DurableRecords() int64 { return s.book.Stats().Durable }

// BreakLog has every record after it fail.
func (s *Sidecar) BreakLog() { s.book.Close() }
