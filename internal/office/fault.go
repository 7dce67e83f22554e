package office

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"syscall"
)

// A Fault makes an agent fail on request: POST /faults with one as JSON. Faults
// are kept in the database, so that a crash does not end them. DELETE /faults
// takes all away.
type Fault struct {
	Place string `json:"place"` // "do" or "undo"
	At    string `json:"at"`    // "before" or "after" it took effect; "half": in the middle of clearing a shelf
	How   string `json:"how"`   // see below
	Times int    `json:"times"` // how often; -1 for ever
}

// The ways to fail.
const (
	FaultFail  = "fail"  // answer 503
	FaultHang  = "hang"  // answer nothing until the caller hangs up
	FaultCut   = "cut"   // close the connection
	FaultCrash = "crash" // SIGKILL to the own process
)

type faults struct{ db *sql.DB }

func (f *faults) set(w http.ResponseWriter, r *http.Request) {
	var in Fault
	body, err := readBody(w, r)
	if err == nil && (json.Unmarshal(body, &in) != nil || !in.valid()) {
		err = refuse(http.StatusBadRequest, "want place (do, undo), at (before, half, after), how (fail, hang, cut, crash), times")
	}
	if err == nil {
		_, err = f.db.ExecContext(r.Context(), "INSERT OR REPLACE INTO faults VALUES (?, ?, ?, ?)", in.Place, in.At, in.How, in.Times)
	}
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, in)
}

// clear takes all faults away.
func (f *faults) clear(w http.ResponseWriter, r *http.Request) {
	if _, err := f.db.ExecContext(r.Context(), "DELETE FROM faults"); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (f *Fault) valid() bool {
	at := f.At == "before" || f.At == "after" || f.At == "half" && f.Place == "do"
	switch f.How {
	case FaultFail, FaultHang, FaultCut, FaultCrash:
		return at && (f.Place == "do" || f.Place == "undo") && (f.Times == -1 || f.Times > 0)
	}
	return false
}

// strike fails if there is a fault for this place. The fault is used up before
// it strikes: after a crash the next attempt finds one less.
func (f *faults) strike(ctx context.Context, place, at string) error {
	if f == nil {
		return nil
	}
	var how string
	err := f.db.QueryRowContext(context.WithoutCancel(ctx),
		"UPDATE faults SET times = CASE times WHEN -1 THEN -1 ELSE times - 1 END WHERE place = ? AND at = ? AND times != 0 RETURNING how", place, at).Scan(&how)
	if err == sql.ErrNoRows {
		return nil
	}
	if err != nil {
		return err
	}
	switch how {
	case FaultHang:
		<-ctx.Done()
		panic(http.ErrAbortHandler)
	case FaultCut:
		panic(http.ErrAbortHandler) // net/http closes the connection
	case FaultCrash:
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {} // for the moment that is left
	}
	return refuse(http.StatusServiceUnavailable, "a fault was asked for")
}
