package flight

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// A Label names what can be undone: 64 random bits that stand on each of its
// lines, by which [Log.Labelled] finds them.
type Label [8]byte

// String returns the label as lines hold it: 11 characters of base64url.
func (l Label) String() string { return base64.RawURLEncoding.EncodeToString(l[:]) }

// UnmarshalText reads what String writes, and nothing else.
func (l *Label) UnmarshalText(text []byte) error {
	var got Label
	// The decoder passes over line ends, for which there is no room in eleven characters.
	if len(text) == base64.RawURLEncoding.EncodedLen(len(got)) {
		if n, err := base64.RawURLEncoding.Strict().Decode(got[:], text); err == nil && n == len(got) {
			*l = got
			return nil
		}
	}
	return errors.New("flight: not a label")
}

// TxKind is what a [Tx] is a step of.
type TxKind string

const (
	TxTask TxKind = "task" // executed here for another sidecar
	TxCall TxKind = "call" // executed at another sidecar for our agent
	TxSaga TxKind = "saga" // calls that are kept or undone together
)

// TxBegins is the At of a first line, whose position is known when it is written.
const TxBegins = -1

// Tx is a step in the life of what can be undone: package undo writes it on a
// line and learns it from there. Zero members are absent from the line.
type Tx struct {
	Kind TxKind
	At   int64 // position of its first line; TxBegins on that one

	Label Label // task, saga: its own
	By    Label // task, first line: of the caller and its idempotency key
	In    Label // call: the task that it is a part of
	Saga  Label // call: the saga that it is a part of
	Pool  Label // task, first line: whose share it counts against; no line is found by it

	State string
	Who   string // who asked for this step

	ID      string // call: the transaction at the peer
	Key     string // call, first line: the idempotency key, from [Log.Seal]
	Receipt string // id of a receipt

	Level, Method           string
	Window                  *int64 // seconds; 0 is without limit; nil is not promised
	Until                   time.Time
	MaxFee, Fee, Returned   string // decimals in Currency
	Currency                string
	Breach, Manual, Promise bool   // above MaxFee; a person is asked; saga: a failed call cancels it
	Cost                    string // task: what its caller was charged, as in "12.00 USD"
	Held                    bool   // task: an undo was asked for in time, and could not be taken then

	Sealed Place   // what is kept for the undo
	Needs  []int64 // task: the files of all that is kept for it, on a line from which on they are needed for longer
}

// labels are those by which the line is found.
func (s *Tx) labels(dst []Label) []Label {
	for _, l := range []Label{s.Label, s.By, s.In, s.Saga} {
		if l != (Label{}) {
			dst = append(dst, l)
		}
	}
	return dst
}

func (c *encoder) tx(s *Tx) {
	c.labels = c.labels[:0]
	if s == nil {
		return
	}
	c.labels = s.labels(c.labels)
	c.name("tx")
	c.begin()
	if s.At != TxBegins {
		c.count("at", s.At)
	}
	c.truth("breach", s.Breach)
	c.label("by", s.By)
	c.bounded("cost", s.Cost, maxItem)
	c.bounded("cur", s.Currency, maxItem)
	c.bounded("fee", s.Fee, maxItem)
	if s.Sealed != (Place{}) {
		c.count("file", s.Sealed.File)
	}
	c.truth("held", s.Held)
	c.bounded("id", s.ID, maxItem)
	c.label("in", s.In)
	c.bounded("key", s.Key, maxText)
	c.bounded("kind", string(s.Kind), maxItem)
	c.label("label", s.Label)
	c.bounded("level", s.Level, maxItem)
	c.truth("manual", s.Manual)
	c.bounded("max_fee", s.MaxFee, maxItem)
	c.bounded("method", s.Method, maxItem)
	c.counts("needs", s.Needs)
	if s.Sealed != (Place{}) {
		c.count("off", s.Sealed.At)
	}
	c.label("pool", s.Pool)
	c.truth("promise", s.Promise)
	c.bounded("receipt", s.Receipt, maxItem)
	c.bounded("returned", s.Returned, maxItem)
	c.label("saga", s.Saga)
	if s.Sealed != (Place{}) {
		c.count("size", s.Sealed.Size)
	}
	c.bounded("state", s.State, maxItem)
	c.second("until", s.Until)
	c.bounded("who", s.Who, maxItem)
	if s.Window != nil {
		c.count("window", *s.Window)
	}
	c.end()
}

func (c *encoder) label(name string, l Label) {
	if l != (Label{}) {
		c.base64(name, l[:])
	}
}

// ReadTx returns the step on the line with that seq, and whether there is one.
func ReadTx(seq int64, line []byte) (Tx, bool, error) {
	o, ok := late(line, txMember)
	if !ok {
		return Tx{}, false, nil
	}
	s := Tx{At: seq}
	var at place
	for o.next() {
		if !s.readName(&o) && !s.readTerm(&o, &at) {
			o.unknown()
		}
	}
	if o.err != nil {
		return Tx{}, false, o.err
	}
	s.Sealed = at.whole()
	return s, true, nil
}

// readName reads a member that says what the step is of, and reports whether it is one.
func (s *Tx) readName(o *object) bool {
	switch string(o.name) {
	case "at":
		s.At = o.number()
	case "by":
		o.label(&s.By)
	case "id":
		s.ID = o.text()
	case "in":
		o.label(&s.In)
	case "key":
		s.Key = o.text()
	case "kind":
		s.Kind = TxKind(o.text())
	case "label":
		o.label(&s.Label)
	case "pool":
		o.label(&s.Pool)
	case "receipt":
		s.Receipt = o.text()
	case "saga":
		o.label(&s.Saga)
	case "state":
		s.State = o.text()
	case "who":
		s.Who = o.text()
	default:
		return false
	}
	return true
}

// readTerm reads any other member, and reports whether it is one.
func (s *Tx) readTerm(o *object, at *place) bool {
	switch string(o.name) {
	case "breach":
		s.Breach = o.truth()
	case "cost":
		s.Cost = o.text()
	case "cur":
		s.Currency = o.text()
	case "fee":
		s.Fee = o.text()
	case "file":
		at.file(o)
	case "held":
		s.Held = o.truth()
	case "level":
		s.Level = o.text()
	case "manual":
		s.Manual = o.truth()
	case "max_fee":
		s.MaxFee = o.text()
	case "method":
		s.Method = o.text()
	case "off":
		at.at(o)
	case "needs":
		s.Needs = o.numbers()
	case "promise":
		s.Promise = o.truth()
	case "returned":
		s.Returned = o.text()
	case "size":
		at.size(o)
	case "until":
		s.Until = o.second()
	case "window":
		n := o.number()
		s.Window = &n
	default:
		return false
	}
	return true
}

const txMember = `"tx":{`

// labelsOf finds the labels of a line that this package wrote, without decoding
// it. It is for the index, which is a hint.
func labelsOf(line []byte, dst []Label) []Label {
	rest := after(line, txMember)
	end := bytes.IndexByte(rest, '}')
	if end < 0 {
		return dst
	}
	for _, name := range []string{`"label":"`, `"by":"`, `"in":"`, `"saga":"`} {
		_, value, ok := bytes.Cut(rest[:end], []byte(name))
		var l Label
		if ok && l.UnmarshalText(text(value)) == nil {
			dst = append(dst, l)
		}
	}
	return dst
}

// hash is that of an index entry: labels share no hash with trace ids on purpose.
func (l Label) hash() uint32 { return traceHash(append([]byte("tx\n"), l.String()...)) }

// A Line is a record as it stands in the log.
type Line struct {
	Seq  int64
	Text []byte // without its newline
}

// Labelled returns the lines from seq from on that have the label, oldest first.
// There are none of an unknown one.
func (l *Log) Labelled(label Label, from int64) ([]Line, error) {
	l.mu.Lock()
	for l.writing && l.err == nil { // a view has seen its lines already: whoever heard of one from there finds it
		l.progress.Wait()
	}
	first, size := l.seg.first, l.seg.size
	open := scanFor(l.seg.index, label.hash(), size)
	older := slices.Clone(l.segments)
	l.mu.Unlock()
	var lines []Line
	for _, s := range older {
		if s.next <= from {
			continue
		}
		offsets, err := l.findSealed(s.first, label.hash())
		if err == nil {
			lines, err = readLabelled(l.dir, s.first, offsets, label, lines)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) { // dropped by retention meanwhile
			return nil, fmt.Errorf("read records of %s: %w", label, err)
		}
	}
	lines, err := readLabelled(l.dir, first, open, label, lines)
	if err != nil {
		return nil, fmt.Errorf("read records of %s: %w", label, err)
	}
	return slices.DeleteFunc(lines, func(one Line) bool { return one.Seq < from }), nil
}

// scanFor returns the offsets below size of the entries with a hash. The index of
// the open segment is not sorted.
func scanFor(entries []indexEntry, hash uint32, size int64) []int64 {
	var offsets []int64
	for _, e := range entries {
		if e.hash() == hash && e.offset() < size { // entries are made when a line is queued
			offsets = append(offsets, e.offset())
		}
	}
	slices.Sort(offsets)
	return offsets
}

// verified are the sealed segments whose index file was read whole and found good
// by this process: from then on it is searched in place.
type verified struct {
	mu    sync.Mutex
	first map[int64]bool
}

func (v *verified) has(first int64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.first[first]
}

func (v *verified) add(first int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.first == nil {
		v.first = make(map[int64]bool)
	}
	v.first[first] = true
}

func (v *verified) drop(first int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.first, first)
}

// findSealed looks a hash up in the index of a sealed segment.
func (l *Log) findSealed(first int64, hash uint32) ([]int64, error) {
	if l.good.has(first) {
		if offsets, err := searchIndex(indexPath(l.dir, first), hash); err == nil {
			return offsets, nil
		}
		l.good.drop(first)
	}
	entries, stored, err := loadIndex(l.dir, first)
	if err != nil {
		return nil, err
	}
	if stored {
		l.good.add(first)
	}
	return offsetsOf(entries, hash), nil
}

// searchIndex finds a hash in an index file that is known to be good.
func searchIndex(path string, hash uint32) ([]int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	n := (info.Size() - int64(indexHeaderSize)) / indexEntrySize
	var failed error
	at := func(i int64) indexEntry {
		var b [indexEntrySize]byte
		if _, err := f.ReadAt(b[:], int64(indexHeaderSize)+i*indexEntrySize); err != nil {
			failed = err
		}
		return readEntry(b[:])
	}
	lo, hi := int64(0), n
	for lo < hi && failed == nil {
		if mid := (lo + hi) / 2; at(mid) < newIndexEntry(hash, 0) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	var offsets []int64
	for ; lo < n && failed == nil; lo++ {
		e := at(lo)
		if e.hash() != hash {
			break
		}
		offsets = append(offsets, e.offset())
	}
	return offsets, failed
}

// readLabelled reads the lines at the offsets that do have the label.
func readLabelled(dir string, first int64, offsets []int64, label Label, lines []Line) ([]Line, error) {
	if len(offsets) == 0 {
		return lines, nil
	}
	f, err := os.Open(segmentPath(dir, first))
	if err != nil {
		return lines, err
	}
	defer f.Close()
	buf := make([]byte, 4<<10)
	for _, off := range slices.Compact(offsets) { // one line may have the label twice
		var line []byte
		if line, buf, err = readLineAt(f, off, buf); err != nil {
			return lines, fmt.Errorf("record at %d: %w", off, err)
		}
		if seq, ok := seqOf(line); ok && slices.Contains(labelsOf(line, nil), label) {
			lines = append(lines, Line{seq, bytes.Clone(line)})
		}
	}
	return lines, nil
}

// readLineAt reads the line that begins at an offset, into a buffer that grows to
// the longest line there is.
func readLineAt(f *os.File, off int64, buf []byte) (line, grown []byte, err error) {
	for {
		n, err := f.ReadAt(buf, off)
		line, _, whole := bytes.Cut(buf[:n], []byte{'\n'})
		switch {
		case whole:
			return line, buf, nil
		case n < len(buf) || len(buf) > MaxLine:
			return nil, buf, errors.Join(err, errTorn)
		}
		buf = make([]byte, min(4*len(buf), MaxLine+1))
	}
}

const sealLabel = "iatp seal v1"

// Seal makes of a short text what may stand on a line: nobody without the store
// key can read it, or find it out by trying. It is readable as long as the line is.
func (l *Log) Seal(purpose, plain string) string {
	return base64.RawURLEncoding.EncodeToString(l.sealer().Seal(nil, nil, []byte(plain), []byte(purpose)))
}

// Unseal reads what Seal made for the same purpose.
func (l *Log) Unseal(purpose, sealed string) (string, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return "", errors.New("flight: not sealed text")
	}
	plain, err := l.sealer().Open(nil, nil, b, []byte(purpose))
	if err != nil {
		return "", errors.New("flight: text was sealed by another log, or for something else")
	}
	return string(plain), nil
}

func (l *Log) sealer() cipher.AEAD {
	l.sealing.once.Do(func() { l.sealing.gcm = newSealer(&l.keys.store) })
	return l.sealing.gcm
}

// sealing is the cipher of Seal and Unseal, from the first of them on.
type sealing struct {
	once sync.Once
	gcm  cipher.AEAD
}

func newSealer(store *storeKey) cipher.AEAD {
	var m mac
	m.start(store[:])
	m.inner.Write([]byte(sealLabel))
	key := m.finish()
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the block size that it wants
	}
	return gcm
}

// ReadSeq returns the seq of a line of the log.
func ReadSeq(line []byte) (int64, error) {
	if seq, ok := seqOf(line); ok {
		return seq, nil
	}
	return 0, errors.New("flight: a line without a seq")
}
