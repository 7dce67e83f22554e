package demo

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/inter-agent-trust/iatp"
)

// UndoWindow is how long the bank undoes a transfer, as its manifest promises.
const UndoWindow = time.Hour

// maxTransfers bounds the bank's memory, at some 300 bytes each. When that many
// transfers can still be undone, it takes no more: forgetting one would break a
// promise.
const maxTransfers = 1_000_000

// A Bank is the trusted agent: transfers between accounts, each of which can be
// undone, and none of which is made twice when a request is repeated. It keeps
// the ledger and nothing else of what it is sent.
//
//	{"task":"transfer","data":{"amount":100,"from_account":"123","to_account":"456"}}
//	{"task":"balance","data":{"account":"123"}}
//	POST /compensate/{transaction_id}
type Bank struct {
	*agent
	now func() time.Time

	mu        sync.Mutex
	accounts  map[string]Cents
	transfers map[string]*transfer // by transaction id
	made      map[digest]*transfer
	oldest    []*transfer // in the order in which they were made
}

// A transfer is one entry of the ledger.
type transfer struct {
	id       string
	from, to string
	amount   Cents
	at       time.Time
	undone   bool
	request  digest // what it was made for: a key of Bank.made, or zero
	content  digest // of the request's body
}

// A digest is the first half of a SHA-256.
type digest [16]byte

func digestOf(text []byte) digest {
	sum := sha256.Sum256(text)
	return digest(sum[:16])
}

// NewBank returns a bank with the accounts 123 (a billion dollars, enough for
// any load test), 456 (500) and 789 (nothing).
func NewBank() *Bank {
	b := &Bank{
		now:       time.Now,
		accounts:  map[string]Cents{"123": 1_000_000_000_00, "456": 500_00, "789": 0},
		transfers: map[string]*transfer{},
		made:      map[digest]*transfer{},
	}
	b.agent = newAgent("secure-bank-agent", map[string]task{"transfer": b.transfer, "balance": b.balance})
	b.mux.HandleFunc("POST /compensate/{id}", b.compensate)
	return b
}

// Balances returns a copy of all balances.
func (b *Bank) Balances() map[string]Cents {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.accounts)
}

func (b *Bank) balance(j *job) (any, error) {
	var q struct {
		Account string `json:"account"`
	}
	if err := j.into(&q); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	have, ok := b.accounts[q.Account]
	if !ok {
		return nil, refuse(http.StatusBadRequest, "no account %.40q", q.Account)
	}
	return map[string]string{"status": "success", "account": q.Account, "balance": have.String(), "currency": "USD"}, nil
}

func (b *Bank) transfer(j *job) (any, error) {
	var order struct {
		Amount json.Number `json:"amount"`
		From   string      `json:"from_account"`
		To     string      `json:"to_account"`
	}
	if err := j.into(&order); err != nil {
		return nil, err
	}
	amount, err := parseCents(order.Amount)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	want := &transfer{id: transactionOf(j), from: order.From, to: order.To, amount: amount, content: digestOf(j.body), request: requestOf(j)}
	t, err := b.enter(want)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"status":         "success",
		"transaction_id": t.id,
		"amount":         t.amount.String(),
		"currency":       "USD",
		"from_account":   t.from,
		"to_account":     t.to,
		"undo_until":     t.at.Add(UndoWindow).UTC().Format(time.RFC3339),
	}, nil
}

// transactionOf is what the sidecar calls the transaction of a job, under which it
// will ask for the undo; a name of the agent's own if there is no sidecar.
func transactionOf(j *job) string {
	if tx := j.header.Get(iatp.HeaderTransaction); tx != "" && len(tx) <= 100 {
		return tx
	}
	return "tx_" + rand.Text()
}

// requestOf names the request that a job is, so that the same request sent
// again is known: its idempotency key, else the span that the sidecar minted
// for the exchange together with the body. Zero means that nothing names it.
func requestOf(j *job) digest {
	if key := j.header.Get("Idempotency-Key"); key != "" {
		return digestOf([]byte("key\x00" + key))
	}
	if span := j.header.Get("Traceparent"); span != "" {
		return digestOf([]byte("span\x00" + span + "\x00" + string(j.body)))
	}
	return digest{}
}

// enter makes a transfer, or returns the one that the same request made before.
func (b *Bank) enter(t *transfer) (*transfer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if done, ok := b.made[t.request]; ok && t.request != (digest{}) {
		if done.content != t.content {
			return nil, refuse(http.StatusUnprocessableEntity, "this idempotency key was used for another transfer")
		}
		return done, nil
	}
	t.at = b.now()
	b.forget(t.at)
	if _, ok := b.transfers[t.id]; ok {
		return nil, refuse(http.StatusConflict, "transaction %s is that of another transfer", t.id)
	}
	from, ok := b.accounts[t.from]
	if !ok {
		return nil, refuse(http.StatusBadRequest, "no account %.40q", t.from)
	}
	if _, ok := b.accounts[t.to]; !ok {
		return nil, refuse(http.StatusBadRequest, "no account %.40q", t.to)
	}
	switch {
	case t.from == t.to:
		return nil, refuse(http.StatusBadRequest, "from_account and to_account are the same")
	case from < t.amount:
		return nil, refuse(http.StatusConflict, "account %s holds %s, less than %s", t.from, from, t.amount)
	case len(b.oldest) >= maxTransfers:
		return nil, refuse(http.StatusServiceUnavailable, "the ledger is full")
	}
	b.accounts[t.from] -= t.amount
	b.accounts[t.to] += t.amount
	b.transfers[t.id] = t
	b.oldest = append(b.oldest, t)
	if t.request != (digest{}) {
		b.made[t.request] = t
	}
	return t, nil
}

// forget drops the transfers whose undo window is over. The lock is held.
func (b *Bank) forget(now time.Time) {
	for len(b.oldest) > 0 && now.Sub(b.oldest[0].at) > UndoWindow {
		delete(b.transfers, b.oldest[0].id)
		delete(b.made, b.oldest[0].request)
		b.oldest = b.oldest[1:]
	}
}

// compensate undoes a transfer. Asking twice is harmless.
func (b *Bank) compensate(w http.ResponseWriter, r *http.Request) {
	start := b.now()
	io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody)) // a reason may be given; it changes nothing
	t, err := b.undo(r.PathValue("id"))
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"success":              true,
		"transaction_id":       t.id,
		"state":                "compensated",
		"compensation_applied": "full_refund",
		"amount_returned":      t.amount.String(),
		"fee_charged":          "0.00",
		"currency":             "USD",
		"completion_time_ms":   b.now().Sub(start).Milliseconds(),
	})
}

func (b *Bank) undo(id string) (*transfer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.transfers[id]
	switch {
	case !ok:
		return nil, refuse(http.StatusNotFound, "no transaction %.40q", id)
	case t.undone:
		return t, nil
	case b.now().Sub(t.at) > UndoWindow:
		return nil, refuse(http.StatusConflict, "the undo window of transaction %s is over", id)
	case b.accounts[t.to] < t.amount:
		return nil, refuse(http.StatusConflict, "account %s no longer holds %s; nothing was undone", t.to, t.amount)
	}
	b.accounts[t.to] -= t.amount
	b.accounts[t.from] += t.amount
	t.undone = true
	return t, nil
}
