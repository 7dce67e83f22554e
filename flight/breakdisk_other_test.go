//go:build !linux

package flight

import "testing"

// breakDisk takes the file of the open segment away.
func (l *Log) breakDisk(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.seg.file.Close(); err != nil {
		t.Fatal(err)
	}
}
