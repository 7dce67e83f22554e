package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/inter-agent-trust/iatp/flight"
)

// expiring is how many trips wait until their undo window is over.
const expiring = 10

// windows orders trips whose undo window is a second, and cancels them when it is
// over, with the half minute that clocks may differ by.
func windows(ctx context.Context, bin, dir string, all *results, progress *progressLine) (err error) {
	w, err := newWorld(ctx, full, bin, dir, short)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	var trips []*trip
	for i := range expiring {
		t := &trip{world: w, id: fmt.Sprintf("w%d", i), job: job{fault: windowElapsed, detail: fmt.Sprint(i), stops: []string{"ledger", "desk"}, keep: true}}
		if err := t.setUp(ctx); err != nil {
			return err
		}
		if err := t.open(ctx); err != nil {
			return err
		}
		t.order(ctx)
		trips = append(trips, t)
	}
	select {
	case <-time.After((short + 31) * time.Second):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, t := range trips {
		if err := t.cancel(ctx); err != nil {
			return err
		}
		s, err := t.await(ctx)
		if err != nil {
			return err
		}
		f, err := w.inspect(t.id)
		if err != nil {
			return err
		}
		o := t.judge(f, s)
		all.add(full, t.job, o)
		progress.step(o)
	}
	return nil
}

// tornLogs takes the flight recorder of a traveler's sidecar as a kill in the
// middle of a write would leave it: the last record cut short at every byte. Each
// must open with exactly the records before it, or refuse to open.
func tornLogs(world string, all *results, quick bool) error {
	torn, err := newTornLog(filepath.Join(world, "torn"))
	if err != nil {
		return fmt.Errorf("torn log: %w", err)
	}
	step := 1
	if quick {
		step = 16
	}
	for cut := 0; cut < len(torn.last); cut += step {
		o, err := torn.at(cut)
		if err != nil {
			return fmt.Errorf("torn log at byte %d: %w", cut, err)
		}
		all.torn(o)
	}
	return nil
}

// A tornLog is a data directory whose last record nobody has signed for.
type tornLog struct {
	dir   string
	image string // the directory as it was before the log was closed
	name  string // of the segment
	text  []byte // of the segment, before the last record
	last  []byte // the last record, with its end of line
	size  int64  // records, the last included
}

// newTornLog writes a log and copies its directory while it is open, so that
// nothing is in it that only an orderly end would write.
func newTornLog(dir string) (*tornLog, error) {
	t := &tornLog{dir: dir, image: filepath.Join(dir, "image")}
	data := filepath.Join(dir, "data")
	l, err := flight.Open(data, flight.Options{})
	if err != nil {
		return nil, err
	}
	for i := range 20 {
		e := flight.Entry{Type: flight.Request, TraceID: "torn", Time: time.Now(), Minted: true, Method: "POST", Path: "/task", Body: make([]byte, 32), Payload: []byte(fmt.Sprintf(`{"step":%d}`, i))}
		if _, err := l.Append(&e, flight.Durable); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	t.size = l.Size()
	err = copyPrivate(t.image, data)
	if err := errors.Join(err, l.Close()); err != nil {
		return nil, err
	}
	names, err := filepath.Glob(filepath.Join(t.image, "log", "*.jsonl"))
	if err != nil || len(names) != 1 {
		return nil, fmt.Errorf("%d segments, want 1 (%v)", len(names), err)
	}
	t.name = filepath.Base(names[0])
	text, err := os.ReadFile(names[0])
	if err != nil {
		return nil, err
	}
	text = bytes.TrimRight(text, "\x00")
	at := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
	t.text, t.last = text[:at], text[at:]
	return t, nil
}

// copyPrivate copies a directory so that nobody else can read the copy: keys are in
// it.
func copyPrivate(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o600)
	})
}

// at cuts the last record short and opens the log.
func (t *tornLog) at(cut int) (outcome, error) {
	dir := filepath.Join(t.dir, fmt.Sprint(cut))
	if err := copyPrivate(dir, t.image); err != nil {
		return outcome{}, err
	}
	whole := append(bytes.Clone(t.text), t.last[:cut]...)
	if err := os.WriteFile(filepath.Join(dir, "log", t.name), whole, 0o600); err != nil {
		return outcome{}, err
	}
	l, err := flight.Open(dir, flight.Options{})
	if err != nil { // a refusal is loud
		return outcome{escalated: true, note: err.Error()}, os.RemoveAll(dir)
	}
	if err := l.Close(); err != nil {
		return outcome{}, err
	}
	r, err := flight.Verify(dir, "")
	if err != nil {
		return outcome{}, err
	}
	after, err := os.ReadFile(filepath.Join(dir, "log", t.name))
	if err != nil {
		return outcome{}, err
	}
	// The log says that it recovered in one more record, if there was a rest.
	want := t.size - 1
	if cut > 0 {
		want++
	}
	o := outcome{restored: r.OK() && bytes.HasPrefix(after, t.text) && r.Records == want}
	if !o.restored {
		o.note = fmt.Sprintf("cut at %d: %d records, want %d; %v", cut, r.Records, want, r.Problems)
	}
	return o, os.RemoveAll(dir)
}
