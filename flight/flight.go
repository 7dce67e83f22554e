// Package flight is the flight recorder: an append-only log of everything the
// sidecar decided and did. Anyone holding a checkpoint can prove that a line is
// in the log, and that nothing before it has changed.
//
// A record is one line of canonical JSON (RFC 8785). Its hash is a leaf of a
// Merkle tree (RFC 6962) that is kept as tiles (C2SP tlog-tiles); the log signs
// the root of that tree as a checkpoint (C2SP tlog-checkpoint). Lines hold
// classes, keyed commitments and redacted text, never a body and never a plain
// digest of one: see doc/decisions/0003-flight-recorder.md.
//
// [Log.Append] promises what its [Ack] says: after Written the line survives
// the death of the process, after Durable the loss of power. An error of the
// disk is final: the log says so in [Log.Err], refuses every later Append and
// is opened again by a restart.
//
// A data directory looks like this:
//
//	lock, log.key, log.vkey, store.key
//	log/checkpoint                    the signed size and root
//	log/00000000000000000000.jsonl    lines, named by the first seq
//	log/00000000000000000000.index    trace ids of a sealed segment (derived)
//	log/tile/0/000 ...                hashes (derived while the lines exist)
//	views/NAME                        snapshots of views (derived)
//
// [OpenArchive], [Verify], [Fsck] and [Export] work on such a directory, or on
// a copy of it, without a running log.
package flight

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// SyncInterval bounds how long a written record stays unsynced while the log
// runs and the disk keeps up.
const SyncInterval = 50 * time.Millisecond

// checkpointInterval is the shortest time between two signed checkpoints.
const checkpointInterval = time.Second

// maxPending bounds the bytes that wait to be written; a producer that finds
// more waits.
const maxPending = 4 << 20

// maxUnsynced bounds the bytes that are written and not synced, where the disk takes
// writes into memory and does not get them out; a producer that finds more waits. It
// also bounds the hashes in memory, and how far a segment can outgrow the 32-bit
// offsets of its index.
const maxUnsynced = 256 << 20

// ErrClosed is returned by a log after Close.
var ErrClosed = errors.New("flight log is closed")

// Ack says how safe a record has to be before Append returns.
type Ack uint8

const (
	// Written: the kernel has the line; it survives SIGKILL. It survives power
	// loss only after the next background sync, at most [SyncInterval] later.
	Written Ack = iota
	// Durable: the line is on the disk (fdatasync, shared by all that wait).
	Durable
)

// Options are the settings of a log. The zero value works.
type Options struct {
	// Origin names the log in its checkpoints, for instance
	// "expedia.example/iatp". It is used when the log key is made; afterwards
	// the name in the key counts. Default "localhost/iatp".
	Origin string
	// SegmentBytes is the size at which a segment is sealed. Default 64 MiB.
	SegmentBytes int64
	// RetainBytes and RetainAge bound what is kept: whole sealed segments are
	// dropped, their leaf hashes stay. Zero keeps everything.
	RetainBytes int64
	RetainAge   time.Duration
	// LowDisk is the free space in bytes below which the log warns.
	// Default 256 MiB.
	LowDisk int64
	// SnapshotEvery is the number of lines between two snapshots of the
	// views. Default 100,000.
	SnapshotEvery int64
	// Logger gets what an operator should know. Default: discarded.
	Logger *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Origin == "" {
		o.Origin = "localhost/iatp"
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 64 << 20
	}
	// An index holds 32-bit offsets.
	o.SegmentBytes = min(o.SegmentBytes, 1<<30)
	if o.LowDisk <= 0 {
		o.LowDisk = 256 << 20
	}
	if o.SnapshotEvery <= 0 {
		o.SnapshotEvery = 100_000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Log is an open flight recorder. Its methods are safe for concurrent use.
//
// Producers build their lines apart, then queue them under mu, where seq is
// given. The first to queue leads: it steps aside once, then writes everything
// that is queued by then, and the others wait for that. Without contention an
// Append is one write(2), with Durable one fdatasync(2) more, and no goroutine changes hands.
// The flusher (one goroutine) syncs for those that meet a sync, and rotates; the keeper (another) folds leaf hashes into the tree, signs
// checkpoints and looks after sealed segments.
type Log struct {
	dir  string // DATA/log
	data string // DATA
	opt  Options
	keys *keys
	lock *os.File

	encoders sync.Pool

	mu       sync.Mutex
	progress sync.Cond // written, writing or err changed
	work     sync.Cond // the flusher has something to do

	// Guarded by mu.
	err        error       // final
	next       int64       // seq of the next record
	written    int64       // records that the kernel has
	synced     int64       // records that the disk has
	pending    []byte      // lines with seq in [written, next), or behind the batch in flight
	spare      []byte      // the other buffer
	leaves     []tlog.Hash // leaf hashes that are not in the tree yet
	hasher     hash.Hash   // of leaves
	sum        tlog.Hash   // hasher writes here
	seg        segment     // open segment
	segments   []sealed    // ascending
	unindexed  []unindexed // sealed segments whose index is not on disk
	writing    bool        // somebody uses seg.file or the views
	rotating   bool        // producers wait for the next segment
	needSync   bool        // the next sync is the flusher's
	syncing    bool        // somebody syncs or rotates
	inSync     bool        // and is in the system call
	round      *round      // those that wait for the next sync, nil if there are none
	joined     int         // how many they are
	lastJoined int         // how many waited for the last one
	batch      *round      // those that wait for pending to be written, nil if there are none
	led        bool        // somebody will write pending
	crowd      int         // how many writes to come step aside first
	seal       bool        // the open segment is to be sealed
	zeroing    bool        // zeros are being written ahead of the lines
	cramped    bool        // there is no room for that in this segment
	ahead      int64       // how many bytes of them
	keeperDue  bool        // the keeper comes soon without being woken
	closing    bool
	timer      *time.Timer // background sync
	timed      bool        // timer runs
	lastSync   time.Duration
	syncs      int64

	// views is used by whoever holds the writing flag.
	views []*attached

	// treeMu guards the tree and the checkpoint; it is taken before mu.
	treeMu sync.Mutex
	tree   *tree
	signed *Checkpoint
	// signedAt is when the last checkpoint was signed, by the monotonic clock.
	signedAt time.Time
	folded   []tlog.Hash // the keeper's buffer

	wake     chan struct{} // to the keeper
	flushed  chan struct{} // closed when the flusher has ended
	running  sync.WaitGroup
	good     verified
	sealing  sealing
	lowDisk  atomic.Bool
	freeDisk atomic.Int64
}

// Open opens the recorder in a data directory, which it makes if it is absent,
// and takes its lock. A tail that a crash tore is cut back to the last whole
// record; a recovery record then says so. Anything missing or changed below
// the last signed checkpoint is an error: the log does not start on it.
func Open(dir string, o Options) (*Log, error) {
	l, err := open(dir, o.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("open flight log %s: %w", dir, err)
	}
	return l, nil
}

func open(data string, o Options) (_ *Log, err error) {
	l := &Log{
		data: data, dir: filepath.Join(data, "log"), opt: o,
		hasher: sha256.New(), wake: make(chan struct{}, 1), flushed: make(chan struct{}),
	}
	l.progress.L, l.work.L = &l.mu, &l.mu
	l.encoders.New = func() any { return new(encoder) }
	if err := makeDir(l.dir); err != nil {
		return nil, err
	}
	if l.lock, err = lockDir(data); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	if err := l.recover(); err != nil {
		return nil, err
	}
	l.lookAtDisk()
	l.start()
	return l, nil
}

// start runs the two goroutines of the log; Close waits for them.
func (l *Log) start() {
	l.timer = time.AfterFunc(time.Hour, l.backgroundSync)
	l.timer.Stop()
	l.running.Go(l.flush)
	l.running.Go(l.keep)
}

// release gives the files back.
func (l *Log) release() {
	if l.seg.file != nil {
		l.seg.file.Close()
	}
	l.lock.Close()
}

// Err returns nil while the log accepts records, and else why it does not. It
// never becomes nil again.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Size returns the number of records that are written.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}

// Stats are figures for dashboards.
type Stats struct {
	Size     int64         // records written
	Durable  int64         // records synced
	Signed   int64         // records under the last checkpoint
	First    int64         // the oldest record whose line is kept
	Segments int           // files of lines
	Bytes    int64         // in them
	Queued   int           // bytes that wait to be written
	LastSync time.Duration // how long the last fdatasync took
	Syncs    int64         // how many there were
	FreeDisk int64         // bytes, as last looked at
	LowDisk  bool          // FreeDisk is below Options.LowDisk
}

// Stats returns the current figures.
func (l *Log) Stats() Stats {
	l.treeMu.Lock()
	signed := l.signed.Size
	l.treeMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		Size: l.written, Durable: l.synced, Signed: signed, First: l.seg.first,
		Segments: len(l.segments) + 1, Bytes: l.seg.size, Queued: len(l.pending),
		LastSync: l.lastSync, Syncs: l.syncs, FreeDisk: l.freeDisk.Load(), LowDisk: l.lowDisk.Load(),
	}
	if len(l.segments) > 0 {
		s.First = l.segments[0].first
	}
	for _, old := range l.segments {
		s.Bytes += old.bytes
	}
	return s
}

// Close syncs, signs a last checkpoint, stores snapshots of the views and gives
// the directory back. It returns the error that the log failed with, if it did.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closing = true
	l.timer.Stop()
	l.work.Signal()
	l.mu.Unlock()
	l.running.Wait()
	defer l.release()
	if err := l.Err(); err != nil {
		return err
	}
	// The preallocated room goes; what is left is lines alone.
	if err := l.seg.file.Truncate(l.seg.size); err != nil {
		return fmt.Errorf("close flight log: %w", err)
	}
	return nil
}
