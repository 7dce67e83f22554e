package flight

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

	iatp "github.com/inter-agent-trust/iatp"
)

// The index of a segment finds the lines of a trace, and those of a label. It is
// a hint: an entry is a 32-bit hash of the trace id or the label and the offset
// of a line, and whoever follows it reads the line. It can be made again from the segment at any time.
//
// On disk: the header, a CRC-32C of what follows, the number of entries, then
// the entries sorted; integers big-endian.
const (
	indexMagic      = "iatp-index v1\n"
	indexHeaderSize = len(indexMagic) + 4 + 4
	indexEntrySize  = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// indexEntry is hash<<32 | offset: sorting the numbers sorts by both.
type indexEntry uint64

// traceHash needs no resistance against collisions: who chooses two ids with
// one hash costs a reader the same as who uses one id twice.
func traceHash(id []byte) uint32 { return crc32.Checksum(id, castagnoli) }

func newIndexEntry(hash uint32, offset int64) indexEntry {
	return indexEntry(uint64(hash)<<32 | uint64(offset))
}

func readEntry(b []byte) indexEntry { return indexEntry(binary.BigEndian.Uint64(b)) }

func (e indexEntry) hash() uint32  { return uint32(e >> 32) }
func (e indexEntry) offset() int64 { return int64(uint32(e)) }

// encodeIndex returns the file of an index. It sorts entries.
func encodeIndex(entries []indexEntry) []byte {
	slices.Sort(entries)
	b := make([]byte, indexHeaderSize, indexHeaderSize+len(entries)*indexEntrySize)
	copy(b, indexMagic)
	for _, e := range entries {
		b = binary.BigEndian.AppendUint64(b, uint64(e))
	}
	binary.BigEndian.PutUint32(b[len(indexMagic)+4:], uint32(len(entries)))
	binary.BigEndian.PutUint32(b[len(indexMagic):], crc32.Checksum(b[len(indexMagic)+4:], castagnoli))
	return b
}

// decodeIndex reads a whole index file.
func decodeIndex(b []byte) ([]indexEntry, error) {
	if len(b) < indexHeaderSize || string(b[:len(indexMagic)]) != indexMagic {
		return nil, errors.New("not an index of version 1")
	}
	b = b[len(indexMagic):]
	if binary.BigEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli) {
		return nil, errors.New("index: checksum")
	}
	n := binary.BigEndian.Uint32(b[4:])
	if b = b[8:]; int64(len(b)) != int64(n)*indexEntrySize {
		return nil, errors.New("index: length")
	}
	entries := make([]indexEntry, n)
	for i := range entries {
		entries[i] = readEntry(b[i*indexEntrySize:])
	}
	return entries, nil
}

// scanIndex makes the index of a segment from its lines, up to the first that
// is not whole.
func scanIndex(r io.Reader) ([]indexEntry, error) {
	var entries []indexEntry
	for lines := newLineReader(r); ; {
		line, err := lines.next()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		entries = indexLine(entries, line, lines.offset)
	}
}

// indexLine appends the entries of a line at an offset.
func indexLine(entries []indexEntry, line []byte, offset int64) []indexEntry {
	if id := traceOf(line); id != nil {
		entries = append(entries, newIndexEntry(traceHash(id), offset))
	}
	for _, label := range labelsOf(line, nil) {
		entries = append(entries, newIndexEntry(label.hash(), offset))
	}
	return entries
}

// loadIndex reads the index of a sealed segment, or makes it again; stored says
// which. The entries are sorted.
func loadIndex(dir string, first int64) (entries []indexEntry, stored bool, err error) {
	if b, err := os.ReadFile(indexPath(dir, first)); err == nil {
		if entries, err := decodeIndex(b); err == nil {
			return entries, true, nil
		}
	}
	f, err := os.Open(segmentPath(dir, first))
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	entries, err = scanIndex(f)
	slices.Sort(entries)
	return entries, false, err
}

// writeIndex stores the index of a sealed segment. It is derived, so not worth
// a sync; the rename keeps a killed process from leaving a part of it. The
// keeper and a reader may do this at once.
func writeIndex(dir string, first int64, entries []indexEntry) error {
	tmp, err := os.CreateTemp(dir, "index-*"+tempSuffix)
	if err != nil {
		return err
	}
	_, err = tmp.Write(encodeIndex(entries))
	if err = errors.Join(err, tmp.Close()); err != nil {
		os.Remove(tmp.Name())
		return err
	}
	return os.Rename(tmp.Name(), indexPath(dir, first))
}

// offsetsOf returns the offsets of the lines that may belong to what has that
// hash, ascending.
func offsetsOf(entries []indexEntry, hash uint32) []int64 {
	var offsets []int64
	from, _ := slices.BinarySearch(entries, newIndexEntry(hash, 0))
	for _, e := range entries[from:] {
		if e.hash() != hash {
			break
		}
		offsets = append(offsets, e.offset())
	}
	return offsets
}

// readTrace reads the lines of id at the given offsets.
func readTrace(f io.ReaderAt, offsets []int64, id iatp.TraceID) ([][]byte, error) {
	if len(offsets) == 0 {
		return nil, nil
	}
	var lines [][]byte
	var p lineParser
	buf := make([]byte, MaxLine+1)
	for _, off := range offsets {
		n, err := f.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read record at %d: %w", off, err)
		}
		line, _, whole := bytes.Cut(buf[:n], []byte{'\n'})
		rec, err := p.members(line)
		if err != nil || !whole {
			return nil, fmt.Errorf("read record at %d: %w", off, errors.Join(err, errTorn))
		}
		if rec.TraceID == id {
			lines = append(lines, bytes.Clone(line))
		}
	}
	return lines, nil
}
