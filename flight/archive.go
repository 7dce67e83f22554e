package flight

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"

	iatp "github.com/inter-agent-trust/iatp"
)

// MaxTrace bounds the records that Trace returns: a caller chooses trace ids,
// and may use one for everything.
const MaxTrace = 1000

// ErrMore is returned by Trace, together with the newest MaxTrace records, when
// the trace has older ones.
var ErrMore = errors.New("the trace has older records")

// Trace returns the records of a trace, oldest first, as lines without their
// newline. An unknown id has none, which is no error.
func (l *Log) Trace(id iatp.TraceID) ([][]byte, error) {
	l.mu.Lock()
	open := slices.Clone(l.seg.index)
	first, size := l.seg.first, l.seg.size
	older := slices.Clone(l.segments)
	l.mu.Unlock()

	slices.Sort(open)
	offsets := offsetsOf(open, traceHash([]byte(id)))
	// Entries are made when a line is queued, before it is in the file.
	end, _ := slices.BinarySearch(offsets, size)
	lines, err := traceIn(l.dir, first, offsets[:end], id)
	for i := len(older) - 1; i >= 0 && err == nil && len(lines) <= MaxTrace; i-- {
		var before [][]byte
		before, err = l.traceSealed(older[i].first, id)
		if errors.Is(err, os.ErrNotExist) {
			err = nil // dropped by retention meanwhile
			break
		}
		lines = append(before, lines...)
	}
	if err != nil {
		return nil, fmt.Errorf("read trace: %w", err)
	}
	if len(lines) > MaxTrace {
		return lines[len(lines)-MaxTrace:], ErrMore
	}
	return lines, nil
}

// traceSealed looks a trace up in a sealed segment, and stores its index if it
// had to be made again.
func (l *Log) traceSealed(first int64, id iatp.TraceID) ([][]byte, error) {
	entries, stored, err := loadIndex(l.dir, first)
	if err != nil {
		return nil, err
	}
	if !stored {
		if err := writeIndex(l.dir, first, entries); err != nil {
			l.opt.Logger.Warn("index of a segment not stored", "dir", l.dir, "segment", first, "error", err)
		}
	}
	return traceIn(l.dir, first, offsetsOf(entries, traceHash([]byte(id))), id)
}

// traceIn reads the newest lines of a trace, one more than MaxTrace at most,
// from one segment.
func traceIn(dir string, first int64, offsets []int64, id iatp.TraceID) ([][]byte, error) {
	if len(offsets) == 0 {
		return nil, nil
	}
	f, err := os.Open(segmentPath(dir, first))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readTrace(f, offsets[max(0, len(offsets)-MaxTrace-1):], id)
}

// Archive reads the records of a data directory without its lock: of one that
// was copied, or of one that a log is writing to. It sees the records that were
// whole when it came to them.
type Archive struct {
	dir  string // of the log
	data string // of the keys
}

// OpenArchive opens a data directory, or the log directory inside one, for
// reading.
func OpenArchive(dir string) (*Archive, error) {
	logDir, data, err := findLog(dir)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	return &Archive{dir: logDir, data: data}, nil
}

// findLog returns the log directory and the directory of the keys. dir may be
// either.
func findLog(dir string) (logDir, data string, err error) {
	inner := filepath.Join(dir, "log")
	if info, err := os.Stat(inner); err == nil && info.IsDir() {
		return inner, dir, nil
	}
	firsts, err := listSegments(dir)
	if err != nil {
		return "", "", err
	}
	_, missing := os.Stat(filepath.Join(dir, checkpointFile))
	if missing != nil && len(firsts) == 0 {
		return "", "", fmt.Errorf("%s holds no flight log: %w", dir, fs.ErrNotExist)
	}
	return dir, filepath.Dir(filepath.Clean(dir)), nil
}

// Lines yields the records with seq from and above, in order, up to the first
// bytes of the last segment that are not a whole record; in another segment they
// are an error. A record is valid until the next is asked for. An error ends the
// sequence.
func (a *Archive) Lines(from int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		firsts, err := listSegments(a.dir)
		if err != nil {
			yield(Record{}, fmt.Errorf("read archive: %w", err))
			return
		}
		at, found := slices.BinarySearch(firsts, from)
		if !found {
			at = max(0, at-1)
		}
		for i := at; i < len(firsts); i++ {
			next := int64(-1)
			if i+1 < len(firsts) {
				next = firsts[i+1]
			}
			if more := a.segment(firsts[i], next, from, yield); !more {
				return
			}
		}
	}
}

// segment yields the records of one segment. next is the first record of the one
// that follows, -1 if none does: only the last may end early.
func (a *Archive) segment(first, next, from int64, yield func(Record, error) bool) bool {
	f, err := os.Open(segmentPath(a.dir, first))
	if err != nil {
		return yield(Record{}, fmt.Errorf("read archive: %w", err)) && false
	}
	defer f.Close()
	var p lineParser
	lines := newLineReader(f)
	for seq := first; ; seq++ {
		line, err := lines.next()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			if next >= 0 && seq != next {
				return yield(Record{}, fmt.Errorf("records %d to %d are missing or damaged in %s; iatp log verify says more", seq, next-1, filepath.Base(f.Name()))) && false
			}
			return true
		}
		if err != nil {
			return yield(Record{}, fmt.Errorf("read archive: %w", err)) && false
		}
		if seq < from {
			continue
		}
		rec, err := p.members(line)
		if err == nil && rec.Seq != seq {
			err = fmt.Errorf("seq is %d", rec.Seq)
		}
		if err != nil {
			return yield(rec, fmt.Errorf("record %d in %s: %w", seq, filepath.Base(f.Name()), err)) && false
		}
		if !yield(rec, nil) {
			return false
		}
	}
}

// Trace returns the records of a trace, oldest first.
func (a *Archive) Trace(id iatp.TraceID) ([]Record, error) {
	firsts, err := listSegments(a.dir)
	if err != nil {
		return nil, fmt.Errorf("read trace: %w", err)
	}
	var records []Record
	for i, first := range firsts {
		lines, err := a.traceIn(first, i == len(firsts)-1, id)
		if err != nil {
			return nil, fmt.Errorf("read trace: %w", err)
		}
		for _, line := range lines {
			rec, err := ParseRecord(line)
			if err != nil {
				return nil, fmt.Errorf("read trace: %w", err)
			}
			records = append(records, rec)
		}
	}
	return records, nil
}

func (a *Archive) traceIn(first int64, last bool, id iatp.TraceID) ([][]byte, error) {
	f, err := os.Open(segmentPath(a.dir, first))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var entries []indexEntry
	if last { // it has no index yet
		entries, err = scanIndex(f)
		slices.Sort(entries)
	} else {
		entries, _, err = loadIndex(a.dir, first)
	}
	if err != nil {
		return nil, err
	}
	return readTrace(f, offsetsOf(entries, traceHash([]byte(id))), id)
}

// Latest returns the newest n records, oldest first.
func (a *Archive) Latest(n int) ([]Record, error) {
	firsts, err := listSegments(a.dir)
	if err != nil || len(firsts) == 0 || n <= 0 {
		return nil, err
	}
	// Begin in the last segment; go back while that gives too few.
	for at := len(firsts) - 1; ; at-- {
		ring := make([]Record, 0, n)
		next := 0
		for rec, err := range a.Lines(firsts[at]) {
			if err != nil {
				return nil, err
			}
			rec.Line = bytes.Clone(rec.Line)
			if len(ring) < n {
				ring = append(ring, rec)
			} else {
				ring[next], next = rec, (next+1)%n
			}
		}
		if len(ring) == n || at == 0 {
			return append(ring[next:len(ring):len(ring)], ring[:next]...), nil
		}
	}
}

// Export writes records as JSONL, one line each as it stands in the log: all,
// or those of one trace.
func Export(dir string, w io.Writer, id iatp.TraceID) error {
	a, err := OpenArchive(dir)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	if id != "" {
		records, err := a.Trace(id)
		if err != nil {
			return err
		}
		for _, rec := range records {
			writeRecord(out, rec)
		}
		return out.Flush()
	}
	for rec, err := range a.Lines(0) {
		if err != nil {
			return errors.Join(out.Flush(), err)
		}
		writeRecord(out, rec)
	}
	return out.Flush()
}

// writeRecord leaves the error to Flush, which repeats it.
func writeRecord(out *bufio.Writer, rec Record) {
	out.Write(rec.Line)
	out.WriteByte('\n')
}
