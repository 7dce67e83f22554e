//go:build !linux

package flight

import "os"

// datasync makes f durable. On darwin File.Sync asks for F_FULLFSYNC: a plain
// fsync there leaves the data in the cache of the drive.
func datasync(f *os.File) error { return f.Sync() }

// preallocate says no: only Linux was seen to gain by room ahead of the lines.
func preallocate(*os.File, int64, int64) bool { return false }
