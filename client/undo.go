package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
)

// Transactions returns what can be undone: what is in motion or waits for a person,
// then the newest, n in all, from 1 to 1000. It needs the token.
func (c *Client) Transactions(ctx context.Context, n int) (*api.Transactions, error) {
	var t api.Transactions
	return &t, c.getJSON(ctx, "/transactions?limit="+strconv.Itoa(n), &t)
}

// Calls returns the calls to peers in a trace, in the order in which they would be
// undone. It needs the token.
func (c *Client) Calls(ctx context.Context, id iatp.TraceID) ([]api.Call, error) {
	if _, err := iatp.ParseTraceID(string(id)); err != nil {
		return nil, err
	}
	var t api.Transactions
	err := c.getJSON(ctx, "/transactions?trace="+url.QueryEscape(string(id)), &t)
	return t.Calls, err
}

// Transaction returns a task that the wrapped agent executed. It needs the token.
func (c *Client) Transaction(ctx context.Context, id string) (*api.Transaction, error) {
	path, err := undoPath("/transactions/", id, "")
	if err != nil {
		return nil, err
	}
	var t api.Transaction
	return &t, c.getJSON(ctx, path, &t)
}

// Undo has a transaction undone, and returns how it stands: a State of "compensating"
// says that it goes on. A call of ours is named by its own id, or by that at the peer and ask.TraceID. It needs
// the token.
func (c *Client) Undo(ctx context.Context, id string, ask api.UndoRequest) (*api.Compensation, error) {
	path, err := undoPath("/transactions/", id, "/undo")
	if err != nil {
		return nil, err
	}
	var r api.Compensation
	return &r, c.post(ctx, path, ask, &r)
}

// Resolve records a person's word on a transaction that waits for one. It needs the
// token.
func (c *Client) Resolve(ctx context.Context, id string, word api.Resolution) (*api.Transaction, error) {
	path, err := undoPath("/transactions/", id, "/resolve")
	if err != nil {
		return nil, err
	}
	var t api.Transaction
	return &t, c.post(ctx, path, word, &t)
}

// ResolveCall is Resolve for a call to a peer, by its own id (call_…).
func (c *Client) ResolveCall(ctx context.Context, id string, word api.Resolution) (*api.Call, error) {
	path, err := undoPath("/transactions/", id, "/resolve")
	if err != nil {
		return nil, err
	}
	var r api.Call
	return &r, c.post(ctx, path, word, &r)
}

// ResolveSaga is Resolve for a saga that could not be undone. What became of its calls is
// said of each.
func (c *Client) ResolveSaga(ctx context.Context, id string, word api.Resolution) (*api.Saga, error) {
	path, err := undoPath("/transactions/", id, "/resolve")
	if err != nil {
		return nil, err
	}
	var s api.Saga
	return &s, c.post(ctx, path, word, &s)
}

// OpenSaga begins a saga: calls that name its id in IATP-Saga are kept or undone
// together.
func (c *Client) OpenSaga(ctx context.Context, n api.NewSaga) (*api.Saga, error) {
	var s api.Saga
	return &s, c.post(ctx, "/sagas", n, &s)
}

// Saga returns a saga.
func (c *Client) Saga(ctx context.Context, id string) (*api.Saga, error) {
	path, err := undoPath("/sagas/", id, "")
	if err != nil {
		return nil, err
	}
	var s api.Saga
	return &s, c.getJSON(ctx, path, &s)
}

// CloseSaga keeps what a saga did.
func (c *Client) CloseSaga(ctx context.Context, id string) (*api.Saga, error) {
	return c.endSaga(ctx, id, "/close", struct{}{})
}

// CancelSaga undoes what a saga did, and returns how it stands: a State of
// "compensating" says that it goes on.
func (c *Client) CancelSaga(ctx context.Context, id string, ask api.UndoRequest) (*api.Saga, error) {
	return c.endSaga(ctx, id, "/cancel", ask)
}

func (c *Client) endSaga(ctx context.Context, id, verb string, body any) (*api.Saga, error) {
	path, err := undoPath("/sagas/", id, verb)
	if err != nil {
		return nil, err
	}
	var s api.Saga
	return &s, c.post(ctx, path, body, &s)
}

var undoID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// undoPath is the path of a transaction or saga: an id that is none could name
// another path.
func undoPath(prefix, id, verb string) (string, error) {
	if !undoID.MatchString(id) {
		return "", fmt.Errorf("%q is not the id of a transaction or a saga", iatp.Printable(id))
	}
	return prefix + id + verb, nil
}

// post sends a JSON body and decodes the answer.
func (c *Client) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return c.decode(resp, out, http.StatusCreated, http.StatusAccepted)
}
