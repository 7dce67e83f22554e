// Package demo holds the example agents that the demonstrations, the examples
// and many tests put behind a sidecar. They are small, but what they say is
// true: the bank's ledger balances, its undo brings the money back, and the
// honeypot keeps what it is given for as long as it runs.
//
// Every agent is an [http.Handler] that speaks what the sidecar speaks to a
// wrapped agent:
//
//	POST /        {"task": "transfer", "data": {…}}   ->  200 with the result
//	GET  /health                                      ->  {"status":"healthy","agent_id":…}
//
// A request that an agent does not understand is 400, one larger than 1 MiB is
// 413; the body is then {"status":"error","error":…}. The agents know nothing
// of trust, policy or records: that is the sidecar's business.
package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// maxBody bounds a request to an example agent, in bytes.
const maxBody = 1 << 20

// A job is one request for work.
type job struct {
	Task string          `json:"task"`
	Data json.RawMessage `json:"data"`

	body   []byte      // the whole request, as received
	header http.Header // of the request
}

// into decodes the data of a job, refusing members that the task does not know.
func (j *job) into(v any) error {
	if len(j.Data) == 0 {
		return refuse(http.StatusBadRequest, "task %q needs data", j.Task)
	}
	d := json.NewDecoder(bytes.NewReader(j.Data))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return refuse(http.StatusBadRequest, "data of task %q: %v", j.Task, err)
	}
	return nil
}

// A refusal is an error that the caller is told, with a status.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// A task does one kind of work and returns what to answer, as JSON.
type task func(*job) (any, error)

// An agent is the part that all example agents share.
type agent struct {
	id    string
	tasks map[string]task
	mux   *http.ServeMux
}

func newAgent(id string, tasks map[string]task) *agent {
	a := &agent{id: id, tasks: tasks, mux: http.NewServeMux()}
	a.mux.HandleFunc("POST /{$}", a.work)
	a.mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "healthy", "agent_id": a.id})
	})
	return a
}

// ServeHTTP answers a request.
func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

func (a *agent) work(w http.ResponseWriter, r *http.Request) {
	j, err := read(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	do, ok := a.tasks[j.Task]
	if !ok {
		names := strings.Join(slices.Sorted(maps.Keys(a.tasks)), ", ")
		fail(w, refuse(http.StatusBadRequest, "unknown task %.60q; the tasks are: %s", j.Task, names))
		return
	}
	result, err := do(j)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, result)
}

func read(w http.ResponseWriter, r *http.Request) (*job, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, refuse(http.StatusRequestEntityTooLarge, "the request is larger than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the request broke off")
	}
	j := &job{body: body, header: r.Header}
	if err := json.Unmarshal(body, j); err != nil {
		return nil, refuse(http.StatusBadRequest, "want a JSON object with task and data: %v", err)
	}
	return j, nil
}

// answer writes v as the JSON body of an answer.
func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // only values of this package come here
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // an error means that the caller is gone
}

func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if r, ok := errors.AsType[*refusal](err); ok {
		status = r.status
	}
	answer(w, status, map[string]string{"status": "error", "error": err.Error()})
}
