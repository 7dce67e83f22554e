package flight

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	segmentSuffix = ".jsonl"
	indexSuffix   = ".index"

	// minAhead and maxAhead bound how much of a segment is zeroed ahead of its
	// lines: twice as much each time, so that a short log stays short.
	minAhead = 256 << 10
	maxAhead = 8 << 20
)

// segment is the segment that is being written. Its fields are guarded by the
// lock of the log, except that the holder of the writing flag may use file.
type segment struct {
	first  int64
	file   *os.File
	size   int64 // bytes written
	queued int64 // bytes written or in flight
	safe   int64 // bytes synced
	ready  int64 // bytes below which the file was written to before: see ahead.go
	index  []indexEntry
	born   time.Time
	local  bool // below ready, a write is a copy into memory
	slow   int  // how many brief writes took long
	wary   int  // how many writes from now on are ordinary ones
}

// sealed is a segment that is complete.
type sealed struct {
	first, next int64 // it holds the records [first, next)
	bytes       int64
	newest      time.Time // of its last record
}

func segmentPath(dir string, first int64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, segmentSuffix))
}

func indexPath(dir string, first int64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, indexSuffix))
}

// createSegment makes the file of the segment that begins at first and makes
// its name durable.
func createSegment(dir string, first int64) (*os.File, error) {
	f, err := os.OpenFile(segmentPath(dir, first), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	return f, syncDir(dir)
}

// write puts lines behind what the segment holds. After an error the segment
// is as long as before, as far as the disk lets us: a part of a batch is none.
// With calm, lines come one by one, and nothing that we know of keeps the disk busy.
func (s *segment) write(lines []byte, calm bool) error {
	n := 0
	if calm && s.local && s.wary == 0 && len(lines) <= mostBrief && s.size+int64(len(lines)) <= s.ready {
		n = s.writeBriefly(lines)
	}
	s.wary = max(s.wary-1, 0)
	if n == len(lines) {
		return nil
	}
	if _, err := s.file.WriteAt(lines[n:], s.size+int64(n)); err != nil {
		_ = s.file.Truncate(s.size)
		return err
	}
	return nil
}

const (
	// mostBrief is how much the kernel copies in some microseconds.
	mostBrief = 16 << 10
	// longForBrief is what no write takes that only copies. After one that took so long
	// waryFor writes are ordinary ones, after the next one in the same segment twice as many,
	// up to mostWary.
	longForBrief = 2 * time.Millisecond
	waryFor      = 256
	mostWary     = waryFor << 8
)

// writeBriefly writes lines without telling the scheduler, and returns how many bytes it
// wrote: what is left meets the same error in an ordinary write. Lines that go over zeros
// that are there only have to be copied (decision 0049).
func (s *segment) writeBriefly(lines []byte) int {
	start := time.Now()
	n := briefWrite(s.file, lines, s.size)
	if time.Since(start) >= longForBrief {
		s.beWary()
	}
	return n
}

// beWary keeps the next writes ordinary.
func (s *segment) beWary() {
	s.wary = min(waryFor<<min(s.slow, 16), mostWary)
	s.slow++
}

// listSegments returns the first records of the segments in dir, ascending.
func listSegments(dir string) ([]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var firsts []int64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if !ok {
			continue
		}
		first, err := strconv.ParseInt(name, 10, 64)
		if err != nil || len(name) != 20 || first < 0 {
			return nil, fmt.Errorf("flight: %s is not the name of a segment; move it away", filepath.Join(dir, e.Name()))
		}
		firsts = append(firsts, first)
	}
	slices.Sort(firsts)
	return firsts, nil
}

// errTorn is returned for bytes that are not a whole line.
var errTorn = errors.New("not a whole line")

// lineReader reads the lines of a segment.
type lineReader struct {
	r *bufio.Reader
	// offset is where the line that next returned began, end where it ended,
	// its newline included.
	offset, end int64
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, MaxLine+1)}
}

// next returns the next line without its newline, valid until the following
// call. At the end it returns io.EOF. Bytes that do not end in a newline, or
// are too many, come with errTorn.
func (l *lineReader) next() ([]byte, error) {
	l.offset = l.end
	line, err := l.r.ReadSlice('\n')
	switch {
	case err == nil:
		l.end += int64(len(line))
		return line[:len(line)-1], nil
	case errors.Is(err, bufio.ErrBufferFull):
		return line, errTorn
	case !errors.Is(err, io.EOF):
		return nil, err
	case len(line) == 0:
		return nil, io.EOF
	}
	return line, errTorn
}

// lastLine reads the last line of a sealed segment of the given length.
func lastLine(f io.ReaderAt, size int64) ([]byte, error) {
	from := max(0, size-MaxLine-2)
	tail := make([]byte, size-from)
	if _, err := f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	body, ok := strings.CutSuffix(string(tail), "\n")
	if !ok {
		return nil, errTorn
	}
	return []byte(body[strings.LastIndexByte(body, '\n')+1:]), nil
}

// eachLine calls fn for the records [from, end) in the segments that begin at
// firsts, ascending. It trusts the lines to be numbered by their place. A line
// is valid during the call only.
func eachLine(dir string, firsts []int64, from, end int64, fn func(seq int64, line []byte) error) error {
	at, found := slices.BinarySearch(firsts, from)
	if !found {
		at--
	}
	if at < 0 {
		return fmt.Errorf("record %d is not kept any more", from)
	}
	for ; at < len(firsts) && firsts[at] < end; at++ {
		stop := end
		if at+1 < len(firsts) {
			stop = min(end, firsts[at+1])
		}
		if err := eachLineOf(dir, firsts[at], from, stop, fn); err != nil {
			return err
		}
	}
	return nil
}

// eachLineOf does the work of eachLine in one segment.
func eachLineOf(dir string, first, from, end int64, fn func(seq int64, line []byte) error) error {
	f, err := os.Open(segmentPath(dir, first))
	if err != nil {
		return err
	}
	defer f.Close()
	lines := newLineReader(f)
	for seq := first; seq < end; seq++ {
		line, err := lines.next()
		if err != nil {
			return fmt.Errorf("record %d in %s: %w", seq, filepath.Base(f.Name()), noEOF(err))
		}
		if seq < from {
			continue
		}
		if err := fn(seq, line); err != nil {
			return err
		}
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
