package office

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A counter is an agent that a test talks to.
type counter struct {
	t    *testing.T
	name string
	file string
	http *httptest.Server
	a    *Agent
}

func open(t *testing.T, name string) *counter {
	t.Helper()
	c := &counter{t: t, name: name, file: filepath.Join(t.TempDir(), "an odd?name%.db")}
	c.start()
	t.Cleanup(c.stop)
	return c
}

func (c *counter) start() {
	c.t.Helper()
	a, err := Open(c.name, c.file, Options{Faults: true})
	if err != nil {
		c.t.Fatal(err)
	}
	c.a, c.http = a, httptest.NewServer(a)
}

func (c *counter) stop() {
	c.http.Close()
	if err := c.a.Close(); err != nil {
		c.t.Error(err)
	}
}

// reply is an answer; status 0 is a connection that was closed instead.
type reply struct {
	status int
	undo   string
	body   string
}

func (c *counter) send(method, path, body string, header ...string) reply {
	c.t.Helper()
	req, err := http.NewRequest(method, c.http.URL+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	// A kept connection would be tried again behind our back.
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return reply{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}
	}
	return reply{resp.StatusCode, resp.Header.Get(headerUndoData), string(text)}
}

// order sends a task and wants a status.
func (c *counter) order(status int, body string, header ...string) reply {
	c.t.Helper()
	r := c.send("POST", "/", body, header...)
	if r.status != status {
		c.t.Fatalf("%s: status %d, want %d: %s", body, r.status, status, r.body)
	}
	return r
}

// undo asks for compensation and returns what was given back, and the fee.
func (c *counter) undo(status int, tx, undoData string) (returned, fee string) {
	c.t.Helper()
	body, err := json.Marshal(map[string]any{"transaction_id": tx, "reason": "test", "original": nil, "undo_data": undoData})
	if err != nil {
		c.t.Fatal(err)
	}
	r := c.send("POST", "/compensate/"+tx, string(body), headerKey+": \"undo:"+tx+"\"")
	if r.status != status {
		c.t.Fatalf("compensate %s: status %d, want %d: %s", tx, r.status, status, r.body)
	}
	var said struct {
		Returned string `json:"amount_returned"`
		Fee      string `json:"fee_charged"`
	}
	if err := json.Unmarshal([]byte(r.body), &said); err != nil {
		c.t.Fatal(err)
	}
	return said.Returned, said.Fee
}

func (c *counter) fault(f Fault) {
	c.t.Helper()
	body, err := json.Marshal(f)
	if err != nil {
		c.t.Fatal(err)
	}
	if r := c.send("POST", "/faults", string(body)); r.status != 200 {
		c.t.Fatalf("%+v: %d %s", f, r.status, r.body)
	}
}

// rows counts the rows of a table under a condition.
func (c *counter) rows(from string) (n int) {
	c.t.Helper()
	if err := c.a.store.db.QueryRow("SELECT count(*) FROM " + from).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *counter) balance(account string) string {
	c.t.Helper()
	r := c.order(200, `{"task":"balance","data":{"account":"`+account+`"}}`)
	var said struct{ Balance string }
	if err := json.Unmarshal([]byte(r.body), &said); err != nil {
		c.t.Fatal(err)
	}
	return said.Balance
}

const transfer = `{"task":"transfer","data":{"amount":"40.50","from_account":"alice","to_account":"shop"}}`

func openLedger(t *testing.T) *counter {
	c := open(t, "ledger")
	c.order(200, `{"task":"open","data":{"account":"alice","deposit":100}}`)
	c.order(200, `{"task":"open","data":{"account":"shop"}}`)
	return c
}

// TestLedger moves money, repeats, undoes and repeats that, with a restart before
// each repetition.
func TestLedger(t *testing.T) {
	c := openLedger(t)
	again := func() { c.stop(); c.start() }
	first := c.order(200, transfer, headerKey+": \"k1\"", headerTransaction+": tx_1")
	again()
	if diff := cmp.Diff(first, c.order(200, transfer, headerKey+": k1", headerTransaction+": tx_1"), cmp.AllowUnexported(reply{})); diff != "" {
		t.Errorf("the repetition is answered differently:\n%s", diff)
	}
	if got := c.balance("shop"); got != "40.50" {
		t.Errorf("the shop has %s, want 40.50", got)
	}
	c.order(422, strings.Replace(transfer, "40.50", "41", 1), headerKey+": k1")
	for range 2 {
		if got, fee := c.undo(200, "tx_1", first.undo); got != "40.50" || fee != "0.00" {
			t.Errorf("undo gave back %s for %s, want 40.50 for 0.00", got, fee)
		}
		again()
		if got := c.balance("alice"); got != "100.00" {
			t.Errorf("alice has %s after the undo, want 100.00", got)
		}
	}
	c.order(409, transfer, headerKey+": k1", headerTransaction+": tx_1")
}

// TestLedgerRefuses has orders that move nothing, and an undo that finds the money
// gone.
func TestLedgerRefuses(t *testing.T) {
	c := openLedger(t)
	for body, status := range map[string]int{
		strings.Replace(transfer, "40.50", "100.01", 1):          409,
		strings.Replace(transfer, "40.50", "0", 1):               400,
		strings.Replace(transfer, "40.50", "1e1", 1):             400,
		strings.Replace(transfer, "shop", "nobody", 1):           400,
		strings.Replace(transfer, "alice", "shop", 1):            400,
		strings.Replace(transfer, "alice", "bank", 1):            400,
		strings.Replace(transfer, "amount", "sum", 1):            400,
		`{"task":"open","data":{"account":"alice","deposit":1}}`: 409,
		`{"task":"steal"}`: 400,
		`[]`:               400,
		`{"task":"open","data":{"account":"` + strings.Repeat("x", 101) + `"}}`: 400,
		strings.Repeat(" ", maxBody+1):                                          413,
	} {
		if r := c.send("POST", "/", body); r.status != status {
			t.Errorf("%.80s: status %d, want %d: %s", body, r.status, status, r.body)
		}
	}
	if n := c.rows("entries"); n != 2 {
		t.Errorf("%d entries, want the 2 of the opening", n)
	}
	if n := c.rows("operations"); n != 2 {
		t.Errorf("%d operations, want the 2 of the opening", n)
	}
	spent := c.order(200, transfer, headerTransaction+": tx_1")
	c.order(200, `{"task":"transfer","data":{"amount":"40.50","from_account":"shop","to_account":"alice"}}`)
	c.undo(409, "tx_1", spent.undo)
	if got := c.balance("alice"); got != "100.00" {
		t.Errorf("alice has %s after an undo that failed, want 100.00", got)
	}
}

// TestTombstone undoes what never came; then it comes.
func TestTombstone(t *testing.T) {
	c := openLedger(t)
	c.undo(404, "tx_9", "")
	c.undo(404, "tx_9", "")
	c.order(409, transfer, headerKey+": k9", headerTransaction+": tx_9")
	c.undo(404, "tx_8", "op_unknown") // and this leaves no mark: it was not an order that never came
	c.order(200, transfer, headerKey+": k8", headerTransaction+": tx_8")
	for tx, want := range map[string]string{"tx_9": `{"executed":false,"state":"void"}`, "tx_8": `{"executed":true,"state":"done"}`} {
		if r := c.send("GET", "/check/"+tx, ""); strings.TrimSpace(r.body) != want {
			t.Errorf("check of %s: %s, want %s", tx, r.body, want)
		}
	}
	if r := c.send("GET", "/check/tx_7", ""); r.status != 404 {
		t.Errorf("check of an unknown transaction: %d, want 404", r.status)
	}
}

// TestDesk books once, cancels against the fee, and books again.
func TestDesk(t *testing.T) {
	c := open(t, "desk")
	const book = `{"task":"book","data":{"resource":"seat 4A","holder":"alice","price":"200"}}`
	first := c.order(200, book, headerTransaction+": tx_1")
	c.order(409, book, headerTransaction+": tx_2")
	for range 2 {
		if got, fee := c.undo(200, "tx_1", first.undo); got != "195.00" || fee != "5.00" {
			t.Errorf("undo gave back %s for %s, want 195.00 for 5.00", got, fee)
		}
	}
	c.order(200, book, headerTransaction+": tx_2")
	cheap := c.order(200, `{"task":"book","data":{"resource":"seat 4B","holder":"alice","price":"0.30"}}`, headerTransaction+": tx_3")
	if got, fee := c.undo(200, "tx_3", cheap.undo); got != "0.00" || fee != "0.30" {
		t.Errorf("undo of the cheap seat gave back %s for %s, want 0.00 for 0.30", got, fee)
	}
}

// TestOneSeat has many ask for one seat at once.
func TestOneSeat(t *testing.T) {
	c := open(t, "desk")
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			r := c.send("POST", "/", fmt.Sprintf(`{"task":"book","data":{"resource":"seat","holder":"h%d","price":"1"}}`, i))
			mu.Lock()
			defer mu.Unlock()
			statuses[r.status]++
		})
	}
	all.Wait()
	if diff := cmp.Diff(map[int]int{200: 1, 409: 15}, statuses); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

// TestStock reserves and clears a shelf, and puts all of it back.
func TestStock(t *testing.T) {
	c := open(t, "stock")
	c.order(200, `{"task":"fill","data":{"shelf":"a","items":{"lamp":3,"cup":5}}}`)
	held := c.order(200, `{"task":"reserve","data":{"shelf":"a","item":"lamp","quantity":2}}`, headerTransaction+": tx_1")
	c.order(409, `{"task":"reserve","data":{"shelf":"a","item":"lamp","quantity":2}}`)
	cleared := c.order(200, `{"task":"clear","data":{"shelf":"a"}}`, headerTransaction+": tx_2")
	if n := c.rows("items"); n != 0 {
		t.Errorf("%d items are left on the cleared shelf", n)
	}
	c.undo(200, "tx_1", held.undo)
	c.undo(200, "tx_2", cleared.undo)
	if n := c.rows("items WHERE item = 'lamp' AND quantity = 3 OR item = 'cup' AND quantity = 5"); n != 2 {
		t.Error("the shelf is not as it was")
	}
}

// TestHalfDone cuts the clearing of a shelf short in the middle. A repetition goes
// on; an undo puts back what is gone, and then nothing goes on.
func TestHalfDone(t *testing.T) {
	for _, end := range []string{"go on", "undo"} {
		c := open(t, "stock")
		c.order(200, `{"task":"fill","data":{"shelf":"a","items":{"lamp":3,"cup":5,"rug":1}}}`)
		c.fault(Fault{"do", "half", FaultFail, 1})
		const clear = `{"task":"clear","data":{"shelf":"a"}}`
		c.order(503, clear, headerKey+": k", headerTransaction+": tx_1")
		if n := c.rows("items"); n != 2 {
			t.Fatalf("%d items are left, want 2 of 3", n)
		}
		c.stop()
		c.start()
		if end == "go on" {
			c.order(200, clear, headerKey+": k", headerTransaction+": tx_1")
			if n := c.rows("items"); n != 0 {
				t.Errorf("%d items are left after going on", n)
			}
			continue
		}
		c.undo(200, "tx_1", "")
		c.order(409, clear, headerKey+": k", headerTransaction+": tx_1")
		if n := c.rows("items"); n != 3 {
			t.Errorf("%d items after the undo, want 3", n)
		}
	}
}

// TestMail cannot take a mail back, and sends none twice.
// An order that comes again while the first is at work, as after a broken connection, is
// answered as that one is.
func TestRepeatedWhileAtWork(t *testing.T) {
	c := open(t, "stock")
	items := make(map[string]int)
	for i := range 200 {
		items[fmt.Sprint("item", i)] = 1
	}
	fill, err := json.Marshal(map[string]any{"task": "fill", "data": map[string]any{"shelf": "a", "items": items}})
	if err != nil {
		t.Fatal(err)
	}
	c.order(200, string(fill))
	var all sync.WaitGroup
	replies := make([]reply, 4)
	for i := range replies {
		all.Go(func() {
			replies[i] = c.send("POST", "/", `{"task":"clear","data":{"shelf":"a"}}`, headerKey+": \"one\"")
		})
	}
	all.Wait()
	for _, r := range replies {
		if r != replies[0] || r.status != 200 || !strings.Contains(r.body, `"cleared":200`) {
			t.Errorf("%+v, and the first got %+v", r, replies[0])
		}
	}
}

func TestMail(t *testing.T) {
	c := open(t, "mail")
	const send = `{"task":"send","data":{"to":"alice","text":"booked"}}`
	sent := c.order(200, send, headerKey+": k", headerTransaction+": tx_1")
	c.order(200, send, headerKey+": k", headerTransaction+": tx_1")
	c.undo(409, "tx_1", sent.undo)
	if n := c.rows("outbox"); n != 1 {
		t.Errorf("%d mails, want 1", n)
	}
}

// TestFaults goes through the ways to fail that leave the process alive, and looks
// at what took effect.
func TestFaults(t *testing.T) {
	for _, f := range []struct {
		fault  Fault
		status int
		took   bool
	}{
		{Fault{"do", "before", FaultFail, 1}, 503, false},
		{Fault{"do", "after", FaultFail, 1}, 503, true},
		{Fault{"do", "before", FaultCut, 1}, 0, false},
		{Fault{"do", "after", FaultCut, 1}, 0, true},
	} {
		c := open(t, "mail")
		c.fault(f.fault)
		const send = `{"task":"send","data":{"to":"alice","text":"booked"}}`
		if r := c.send("POST", "/", send, headerKey+": k"); r.status != f.status {
			t.Errorf("%+v: status %d, want %d", f.fault, r.status, f.status)
		}
		if took := c.rows("outbox") == 1; took != f.took {
			t.Errorf("%+v: took effect: %t, want %t", f.fault, took, f.took)
		}
		c.order(200, send, headerKey+": k") // the fault is used up
		if n := c.rows("outbox"); n != 1 {
			t.Errorf("%+v: %d mails after the repetition, want 1", f.fault, n)
		}
	}
	c := open(t, "mail")
	for _, bad := range []string{`{}`, `{"place":"do","at":"half","how":"sing","times":1}`, `{"place":"undo","at":"half","how":"cut","times":1}`, `{"place":"do","at":"after","how":"cut","times":-2}`} {
		if r := c.send("POST", "/faults", bad); r.status != 400 {
			t.Errorf("%s: status %d, want 400", bad, r.status)
		}
	}
	c.fault(Fault{"do", "before", FaultFail, -1})
	for range 3 {
		c.order(503, `{"task":"send","data":{"to":"alice","text":"booked"}}`)
	}
	if r := c.send("DELETE", "/faults", ""); r.status != 204 {
		t.Errorf("DELETE /faults = %d", r.status)
	}
	c.order(200, `{"task":"send","data":{"to":"alice","text":"booked"}}`)
}

// TestNoFaultsUnasked wants the switch closed unless the operator opened it.
func TestNoFaultsUnasked(t *testing.T) {
	a, err := Open("mail", filepath.Join(t.TempDir(), "mail.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("POST", "/faults", strings.NewReader(`{"place":"do","at":"after","how":"cut","times":1}`)))
	if w.Code < 400 {
		t.Errorf("POST /faults = %d without --faults", w.Code)
	}
}

// TestState shows what there is.
func TestState(t *testing.T) {
	c := openLedger(t)
	var state struct {
		Agent      string
		Operations []struct{ Task, State string }
		Accounts   []struct{ Name string }
		Entries    []struct{ Cents int }
	}
	if err := json.Unmarshal([]byte(c.send("GET", "/state", "").body), &state); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, e := range state.Entries {
		sum += e.Cents
	}
	if state.Agent != "ledger" || len(state.Operations) != 2 || len(state.Accounts) != 3 || len(state.Entries) != 2 || sum != 0 {
		t.Errorf("state is %+v", state)
	}
}

// TestRunUsage has the command line refuse what it does not know.
func TestRunUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"zoo"}, {"mail", "x"}, {"mail", "--x"}} {
		if code := Run(t.Context(), args, io.Discard, io.Discard); code != 2 {
			t.Errorf("office %q = %d, want 2", args, code)
		}
	}
	var stderr bytes.Buffer
	if code := Run(t.Context(), []string{"mail", "--db", t.TempDir()}, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "database of mail") {
		t.Errorf("office with a directory as its database = %d: %s", code, &stderr)
	}
}

func TestDollars(t *testing.T) {
	for n, want := range map[int64]string{0: "0.00", 7: "0.07", 99: "0.99", 100: "1.00", 12345: "123.45"} {
		if got := dollars(n); got != want {
			t.Errorf("dollars(%d) = %s, want %s", n, got, want)
		}
	}
}

// FuzzOrder: whatever a caller orders, the answer is JSON, says 200 or that the caller is
// at fault, and comes twice for the same key.
func FuzzOrder(f *testing.F) {
	for _, body := range []string{
		`{"task":"open","data":{"account":"a","deposit":1}}`, `{"task":"transfer","data":{"from":"a","to":"b","amount":"1.50"}}`,
		`{"task":"balance","data":{"account":"a"}}`, `{"task":"book","data":{"resource":"seat","holder":"a","price":"1e9"}}`, `{"task":"send"}`, `[]`,
	} {
		f.Add(body)
	}
	var agents []*Agent
	for name := range trades {
		a, err := Open(name, filepath.Join(f.TempDir(), name+".db"), Options{})
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { a.Close() })
		agents = append(agents, a)
	}
	n := 0
	f.Fuzz(func(t *testing.T, body string) {
		n++
		for _, a := range agents {
			ask := func() *httptest.ResponseRecorder {
				r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
				r.Header.Set(headerKey, strconv.Itoa(n))
				w := httptest.NewRecorder()
				a.ServeHTTP(w, r)
				return w
			}
			first, again := ask(), ask()
			if first.Code != http.StatusOK && (first.Code < 400 || first.Code >= 500) || !json.Valid(first.Body.Bytes()) {
				t.Errorf("%s: %d %s", a.name, first.Code, first.Body)
			}
			if first.Code == http.StatusOK && (again.Code != http.StatusOK || again.Body.String() != first.Body.String()) {
				t.Errorf("%s: %s, and again %d %s", a.name, first.Body, again.Code, again.Body)
			}
		}
	})
}
