package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// What the agents' databases say of a trip. The checker asks nobody: it reads the
// files.
type found struct {
	left   map[string]bool // by role: an effect is in force
	double []string        // what happened more often than it was ordered, or undone more often than it happened
	fee    int64           // kept by the desk, in cents
}

// inspect reads the databases.
func (w *world) inspect(id string) (*found, error) {
	f := &found{left: map[string]bool{}}
	for _, look := range []struct {
		role string
		at   func(*found, query, string) error
	}{{"ledger", (*found).ledger}, {"desk", (*found).desk}, {"mail", (*found).mail}, {"stock", (*found).stock}} {
		if err := w.reading(look.role, func(q query) error { return look.at(f, q, id) }); err != nil {
			return nil, fmt.Errorf("check %s: %w", look.role, err)
		}
	}
	return f, nil
}

// A query reads one row of numbers.
type query func(text string, args []any, into ...any) error

// reading opens a database that an agent may be writing to.
func (w *world) reading(role string, look func(query) error) error {
	u := url.URL{Scheme: "file", Opaque: url.PathEscape(w.database(role)), RawQuery: "_pragma=query_only(1)&_pragma=busy_timeout(5000)"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return err
	}
	err = look(func(text string, args []any, into ...any) error { return db.QueryRow(text, args...).Scan(into...) })
	return errors.Join(err, db.Close())
}

func (f *found) ledger(q query, id string) error {
	var all, below, moved, back, balance int64
	err := errors.Join(
		q("SELECT coalesce(sum(cents), 0) FROM entries", nil, &all),
		q("SELECT count(*) FROM (SELECT account FROM entries WHERE account != 'bank' GROUP BY account HAVING sum(cents) < 0)", nil, &below),
		q("SELECT count(*) FROM entries WHERE account = ? AND cents < 0 AND undo = 0", []any{"traveler " + id}, &moved),
		q("SELECT count(*) FROM entries WHERE account = ? AND cents > 0 AND undo = 1", []any{"traveler " + id}, &back),
		q("SELECT coalesce(sum(cents), 0) FROM entries WHERE account = ?", []any{"traveler " + id}, &balance),
	)
	f.left["ledger"] = balance != 100_00
	f.twice("transfer", moved, back)
	if all != 0 || below != 0 {
		f.double = append(f.double, "money was made or lost")
	}
	return err
}

func (f *found) desk(q query, id string) error {
	var booked, canceled int64
	err := q("SELECT count(*), coalesce(sum(canceled), 0), coalesce(sum(fee), 0) FROM bookings WHERE resource = ?", []any{"seat " + id}, &booked, &canceled, &f.fee)
	f.left["desk"] = booked > canceled
	f.twice("booking", booked, canceled)
	return err
}

func (f *found) mail(q query, id string) error {
	var sent int64
	err := q("SELECT count(*) FROM outbox WHERE recipient = ?", []any{"traveler " + id}, &sent)
	f.left["mail"] = sent > 0
	f.twice("mail", sent, 0)
	return err
}

func (f *found) stock(q query, id string) error {
	var orders, there, most int64
	err := errors.Join(
		q("SELECT count(DISTINCT operation) FROM taken WHERE shelf = ?", []any{"shelf " + id}, &orders),
		q("SELECT count(*) FROM items WHERE shelf = ? AND (item, quantity) IN (VALUES ('lamp', 3), ('cup', 5), ('rug', 2))", []any{"shelf " + id}, &there),
		q("SELECT count(*) FROM items WHERE shelf = ? AND (item, quantity) NOT IN (VALUES ('lamp', 3), ('cup', 5), ('rug', 2))", []any{"shelf " + id}, &most),
	)
	f.left["stock"] = there != 3
	f.twice("clearing", orders, 0)
	if most > 0 {
		f.double = append(f.double, "a shelf holds what it never held")
	}
	return err
}

func (f *found) twice(what string, done, undone int64) {
	if done > 1 || undone > done {
		f.double = append(f.double, fmt.Sprintf("%s: done %d times, undone %d times", what, done, undone))
	}
}

// An outcome is what a run came to: one of restored, escalated and silent.
type outcome struct {
	restored, escalated bool
	double              bool
	alarm               bool   // a person is asked about what is in order
	note                string // why, if it is not plainly restored
}

// undone are the states in which a call claims that nothing of it is in force.
var undone = []string{"compensated", "partially_compensated", "failed", "none"}

// judge holds what the system says against what is there. A run is restored if
// nothing is in force, and what it cost is told. Else it is escalated if the saga
// is over, does not claim to be undone, and for each effect in force has a call
// that does not claim to be undone. Everything else is silent.
func (t *trip) judge(f *found, s *saga) outcome {
	o := outcome{double: len(f.double) > 0}
	if o.double {
		o.note = fmt.Sprint(f.double)
	}
	var left []string
	for _, role := range roles {
		if f.left[role] {
			left = append(left, role)
		}
	}
	says := t.states(s)
	switch {
	case s != nil && !s.over():
		o.note += fmt.Sprintf(" in force: %v; the saga is still %s: %v", left, s.State, says)
	case s != nil && !t.feeTold(f, s):
		o.note += fmt.Sprintf(" the desk kept %d cents, of which the saga says nothing: %v", f.fee, says)
	case len(left) == 0:
		o.restored = true
		o.alarm = s != nil && s.State == "compensation_failed"
	case s == nil:
		o.note += fmt.Sprintf(" in force: %v", left)
	case s.State == "compensated" || s.State == "closed":
		o.note += fmt.Sprintf(" in force: %v; the saga is %s", left, s.State)
	default:
		o.escalated = !slices.ContainsFunc(left, func(role string) bool { return says[role] == "" || slices.Contains(undone, says[role]) })
		o.note += fmt.Sprintf(" in force: %v; the saga is %s: %v", left, s.State, says)
	}
	return o
}

// states are what the saga says of its calls, by role.
func (t *trip) states(s *saga) map[string]string {
	says := map[string]string{}
	if s != nil {
		for _, c := range s.Calls {
			for _, role := range roles {
				if c.Peer == t.uris[role] {
					says[role] = c.State
				}
			}
		}
	}
	return says
}

// feeTold says whether the saga accounts for what the desk kept.
func (t *trip) feeTold(f *found, s *saga) bool {
	if f.fee == 0 {
		return true
	}
	for _, c := range s.Calls {
		if c.Peer == t.uris["desk"] && (c.Fee == fmt.Sprintf("%d.%02d", f.fee/100, f.fee%100) || c.State == "compensation_failed") {
			return true
		}
	}
	return false
}
