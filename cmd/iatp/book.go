package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/client"
	"github.com/inter-agent-trust/iatp/flight"
)

// book is where records are read: a running sidecar or a directory.
type book interface {
	// trace returns the records of a trace, oldest first, and the receipts that they
	// hold, as far as they can be opened here. No records are no error.
	trace(ctx context.Context, id iatp.TraceID) ([]json.RawMessage, []api.Receipt, error)
	// latest returns the newest n records, oldest first, and where to go on.
	latest(ctx context.Context, n int) (lines []json.RawMessage, next int64, err error)
	// after returns records from seq on, and where to go on.
	after(ctx context.Context, seq int64) (lines []json.RawMessage, next int64, err error)
}

// open returns the sidecar, or the directory if only that was named.
func (r *reach) open(sidecarNamed bool) (book, error) {
	if r.data != "" && !sidecarNamed {
		a, err := flight.OpenArchive(r.data)
		if err != nil {
			return nil, fmt.Errorf("%w; --data wants the data directory of a sidecar", err)
		}
		return archive{a}, nil
	}
	c, err := r.client()
	if err != nil {
		return nil, err
	}
	return online{c, r}, nil
}

// online is the book of a running sidecar.
type online struct {
	c *client.Client
	r *reach
}

func (b online) trace(ctx context.Context, id iatp.TraceID) ([]json.RawMessage, []api.Receipt, error) {
	t, err := b.c.Trace(ctx, id)
	if e, ok := errors.AsType[*client.Error](err); ok && e.Status == 404 {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, b.r.advise(err)
	}
	return t.Logs, t.Receipts, nil
}

func (b online) latest(ctx context.Context, n int) ([]json.RawMessage, int64, error) {
	r, err := b.c.Latest(ctx, n)
	if err != nil {
		return nil, 0, b.r.advise(err)
	}
	return r.Logs, r.Next, nil
}

func (b online) after(ctx context.Context, seq int64) ([]json.RawMessage, int64, error) {
	r, err := b.c.After(ctx, seq)
	if err != nil {
		return nil, seq, b.r.advise(err)
	}
	return r.Logs, r.Next, nil
}

// archive is the book in a directory.
type archive struct{ a *flight.Archive }

func (b archive) trace(_ context.Context, id iatp.TraceID) ([]json.RawMessage, []api.Receipt, error) {
	records, err := b.a.Trace(id)
	lines, _ := linesOf(records)
	var receipts []api.Receipt
	for _, rec := range records {
		e, err := parseEntry(rec.Line)
		if err != nil || e.Receipt == "" {
			continue
		}
		// A copy without store.key, or another's directory, shows the records alone.
		if text, err := b.a.Unseal(rec.Line); err == nil {
			if r, ok := api.NewReceipt(rec.Seq, string(text)); ok {
				receipts = append(receipts, r)
			}
		}
	}
	return lines, receipts, err
}

func (b archive) latest(_ context.Context, n int) ([]json.RawMessage, int64, error) {
	records, err := b.a.Latest(n)
	lines, next := linesOf(records)
	return lines, next, err
}

// maxBatch is the most that after returns at once.
const maxBatch = 1000

func (b archive) after(_ context.Context, seq int64) ([]json.RawMessage, int64, error) {
	var lines []json.RawMessage
	for rec, err := range b.a.Lines(seq) {
		if err != nil {
			return nil, seq, err
		}
		lines, seq = append(lines, append(json.RawMessage(nil), rec.Line...)), rec.Seq+1
		if len(lines) == maxBatch {
			break
		}
	}
	return lines, seq, nil
}

func linesOf(records []flight.Record) (lines []json.RawMessage, next int64) {
	for _, r := range records {
		lines, next = append(lines, r.Line), r.Seq+1
	}
	return lines, next
}
