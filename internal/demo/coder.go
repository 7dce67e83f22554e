package demo

import (
	"crypto/rand"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
)

// Bounds of the coder's repository.
const (
	maxFiles    = 1000
	maxFileSize = 64 << 10
	maxChanges  = 10_000 // that can be undone; older ones no longer can
)

// A Coder is an agent with the scopes repo:read and repo:write: it keeps a small
// repository in memory. The newest change of a file can be undone, then the one
// before it, and so on; its manifest says that it undoes in part, because a
// change that others built upon stays.
//
//	{"task":"list","data":{}}
//	{"task":"read","data":{"path":"main.go"}}
//	{"task":"write","data":{"path":"main.go","content":"package main\n"}}
//	POST /compensate/{transaction_id}
type Coder struct {
	*agent

	mu      sync.Mutex
	files   map[string]string
	last    map[string]string // the newest change of each file, by transaction id
	changes map[string]*change
	order   []string // transaction ids, oldest first
}

// A change is one write, with what it takes to undo it.
type change struct {
	path     string
	before   string
	existed  bool
	undone   bool
	previous string // the change of the same file before this one, or empty
}

// NewCoder returns a coder whose repository holds README.md.
func NewCoder() *Coder {
	c := &Coder{
		files:   map[string]string{"README.md": "# Example repository\n"},
		last:    map[string]string{},
		changes: map[string]*change{},
	}
	c.agent = newAgent("coder-agent", map[string]task{"list": c.list, "read": c.read, "write": c.write})
	c.mux.HandleFunc("POST /compensate/{id}", c.compensate)
	return c
}

func (c *Coder) list(*job) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return map[string]any{"status": "success", "files": slices.Sorted(maps.Keys(c.files))}, nil
}

func (c *Coder) read(j *job) (any, error) {
	var q struct {
		Path string `json:"path"`
	}
	if err := j.into(&q); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	content, ok := c.files[q.Path]
	if !ok {
		return nil, refuse(http.StatusNotFound, "no file %.80q", q.Path)
	}
	return map[string]string{"status": "success", "path": q.Path, "content": content}, nil
}

func (c *Coder) write(j *job) (any, error) {
	var w struct {
		Path    string `json:"path"`
		Content string `json:"content"`
	}
	if err := j.into(&w); err != nil {
		return nil, err
	}
	if !goodPath(w.Path) {
		return nil, refuse(http.StatusBadRequest, "path must be a clean relative path of at most 200 characters, got %.80q", w.Path)
	}
	if len(w.Content) > maxFileSize {
		return nil, refuse(http.StatusBadRequest, "a file holds at most %d bytes", maxFileSize)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before, existed := c.files[w.Path]
	if !existed && len(c.files) >= maxFiles {
		return nil, refuse(http.StatusConflict, "the repository is full")
	}
	c.files[w.Path] = w.Content
	id := c.remember(&change{path: w.Path, before: before, existed: existed})
	return map[string]any{"status": "success", "path": w.Path, "bytes": len(w.Content), "transaction_id": id}, nil
}

// goodPath keeps names to what a repository would take.
func goodPath(p string) bool {
	return p != "" && len(p) <= 200 && p == path.Clean(p) && !path.IsAbs(p) && p != "." && p != ".." && !strings.HasPrefix(p, "../")
}

// remember names a change so that it can be undone. The lock is held.
func (c *Coder) remember(ch *change) string {
	id := "tx_" + rand.Text()
	ch.previous = c.last[ch.path]
	c.changes[id], c.last[ch.path] = ch, id
	c.order = append(c.order, id)
	if len(c.order) > maxChanges {
		delete(c.changes, c.order[0])
		c.order = c.order[1:]
	}
	return id
}

// compensate undoes a change. Asking twice is harmless.
func (c *Coder) compensate(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody)) // a reason may be given; it changes nothing
	id := r.PathValue("id")
	if err := c.undo(id); err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"success": true, "transaction_id": id, "state": "compensated", "compensation_applied": "previous_content",
	})
}

func (c *Coder) undo(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, ok := c.changes[id]
	switch {
	case !ok:
		return refuse(http.StatusNotFound, "no transaction %.40q", id)
	case ch.undone:
		return nil
	case c.last[ch.path] != id:
		return refuse(http.StatusConflict, "%s has been changed since; nothing was undone", ch.path)
	}
	ch.undone = true
	if ch.existed {
		c.files[ch.path], c.last[ch.path] = ch.before, ch.previous
	} else {
		delete(c.files, ch.path)
		delete(c.last, ch.path)
	}
	return nil
}
