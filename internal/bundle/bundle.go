// Package bundle takes one trace out of a flight recorder so that a stranger can
// verify it offline: the records with their proofs, the receipts, the agreements
// and manifests that they name, and the state that the log has signed for.
//
//	data, err := bundle.Build(dir, id, bundle.Options{}) // from a data directory
//	b, err := bundle.Parse(data)
//	report := b.Verify(trusted)                          // nil: nobody is trusted
//
// A bundle is a zip archive of one spelling: names in ascending order, files
// stored as they are, no times, no comments. The same trace under the same
// checkpoint has the same bytes, and Parse accepts no others, so nothing can hide
// between the files, and nothing is unpacked that is larger than it looks. Every file
// is there for a reason that Verify checks; a file that nothing refers to makes the
// bundle invalid, and so does a receipt of another call.
//
// Keys inside a bundle are for information. What it proves, it proves under keys
// from elsewhere.
package bundle

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// Bounds of a bundle.
const (
	MaxSize  = 64 << 20  // bytes of the archive
	maxFiles = 8192      // in it
	maxFile  = 128 << 10 // bytes of one of them
)

// Where things are in a bundle.
const (
	readmeName     = "README.txt"
	checkpointName = "checkpoint"
	keysName       = "keys.txt"

	agreementDir = "agreements/" // by id
	manifestDir  = "manifests/"  // by digest
	proofDir     = "proofs/"     // by index
	receiptDir   = "receipts/"   // by SHA-256
	recordDir    = "records/"    // by index
	requestDir   = "requests/"   // by SHA-256 of the signature base
)

// readme is for the stranger. It is the same in every bundle of version 1, so that
// nobody can write something else into its place.
//
//go:embed readme.txt
var readme string

// names are the files that may be in a bundle. Digests are base64url, indexes have
// 20 digits.
var names = regexp.MustCompile(`^(README\.txt|checkpoint|keys\.txt|` +
	`(agreements|manifests)/[A-Za-z0-9_-]{43}\.json|receipts/[A-Za-z0-9_-]{43}\.jwt|requests/[A-Za-z0-9_-]{43}\.txt|` +
	`records/[0-9]{20}\.json|proofs/[0-9]{20}\.tlog-proof)$`)

// A Bundle is one that was parsed. Nothing in it is verified yet.
type Bundle struct {
	files map[string][]byte
}

// Parse reads a bundle. It accepts exactly what Build writes.
func Parse(data []byte) (*Bundle, error) {
	files, err := unzip(data)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	for _, name := range []string{readmeName, checkpointName, keysName} {
		if files[name] == nil {
			return nil, fmt.Errorf("bundle: it has no %s", name)
		}
	}
	if string(files[readmeName]) != readme {
		return nil, errors.New("bundle: " + readmeName + " is not that of version 1: this may be a bundle of a later version, or one that was changed")
	}
	return &Bundle{files}, nil
}

// in returns the names of the files in a folder, ascending.
func (b *Bundle) in(folder string) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(b.files)) {
		if len(name) > len(folder) && name[:len(folder)] == folder {
			found = append(found, name)
		}
	}
	return found
}
