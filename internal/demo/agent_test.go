package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// call sends a request to an agent and returns the status and the decoded body.
func call(h http.Handler, method, path, body string, header ...string) (int, map[string]any) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		answer = map[string]any{"not json": w.Body.String()}
	}
	return w.Code, answer
}

func do(h http.Handler, body string, header ...string) (int, map[string]any) {
	return call(h, "POST", "/", body, header...)
}

// agents are all of them, with one task that each must do.
func agents() map[string]struct {
	agent http.Handler
	task  string
} {
	return map[string]struct {
		agent http.Handler
		task  string
	}{
		"secure-bank-agent": {NewBank(), `{"task":"transfer","data":{"amount":100,"from_account":"123","to_account":"456"}}`},
		"untrusted-agent":   {NewHoneypot(), `{"task":"book","data":{"destination":"NYC"}}`},
		"backend-agent":     {NewBackend(), `{"task":"book","data":{"destination":"NYC"}}`},
		"coder-agent":       {NewCoder(), `{"task":"write","data":{"path":"a.go","content":"package a\n"}}`},
		"reviewer-agent":    {NewReviewer(), `{"task":"review","data":{"path":"a.go","content":"package a\n"}}`},
	}
}

func TestEveryAgent(t *testing.T) {
	for id, a := range agents() {
		t.Run(id, func(t *testing.T) {
			if status, body := call(a.agent, "GET", "/health", ""); status != 200 || body["status"] != "healthy" || body["agent_id"] != id {
				t.Errorf("health: %d %v", status, body)
			}
			if status, body := do(a.agent, a.task); status != 200 || body["status"] != "success" {
				t.Errorf("%s: %d %v", a.task, status, body)
			}
			for body, want := range map[string]int{
				``:                                 400,
				`hello`:                            400,
				`[]`:                               400,
				`{"task":"launch","data":{}}`:      400,
				`{"data":{}}`:                      400,
				`{"task":5}`:                       400,
				a.task + a.task:                    400,
				strings.Repeat(" ", maxBody) + `{`: 413,
			} {
				status, answer := do(a.agent, body)
				if status != want || answer["status"] != "error" || answer["error"] == "" {
					t.Errorf("%.40q: %d %v, want %d with an error", body, status, answer, want)
				}
			}
			if status, _ := call(a.agent, "GET", "/", ""); status != http.StatusMethodNotAllowed {
				t.Errorf("GET /: %d", status)
			}
			if status, _ := call(a.agent, "POST", "/other", a.task); status != http.StatusNotFound {
				t.Errorf("POST /other: %d", status)
			}
		})
	}
}

func TestServe(t *testing.T) {
	s, err := Start("127.0.0.1:0", NewBackend())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(s.URL+"/", "application/json", strings.NewReader(`{"task":"echo","data":{"n":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != `{"data":{"n":1},"status":"success"}`+"\n" {
		t.Errorf("answer %q, %v", body, err)
	}
	if _, err := Start(strings.TrimPrefix(s.URL, "http://"), NewBackend()); err == nil {
		t.Error("a second agent on the same port starts")
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := http.Get(s.URL + "/health"); err == nil {
		t.Error("the agent answers after Close")
	}
}

func TestRun(t *testing.T) {
	var out, errs strings.Builder
	if code := Run(t.Context(), "x", NewBackend(), []string{"--no-such-flag"}, &out, &errs); code != 2 {
		t.Errorf("an unknown flag: exit %d", code)
	}
	if code := Run(t.Context(), "x", NewBackend(), []string{"extra"}, &out, &errs); code != 2 {
		t.Errorf("an argument: exit %d", code)
	}
	if code := Run(t.Context(), "x", NewBackend(), []string{"--listen", "256.0.0.1:1"}, &out, &errs); code != 1 {
		t.Errorf("a bad address: exit %d", code)
	}
}

// TestRunUntilStopped starts an agent as its program does, asks it and stops it.
func TestRunUntilStopped(t *testing.T) {
	r, w := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan int)
	go func() { done <- Run(ctx, "x", NewBackend(), []string{"--listen", "127.0.0.1:0"}, w, w) }()
	var url string
	if _, err := fmt.Fscanf(r, "x: listening on %s\n", &url); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(url + "/health")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	stop()
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}
}

const seedTransfer = `{"task":"transfer","data":{"amount":100,"from_account":"123","to_account":"456"}}`

func TestBankTransfersAndUndoes(t *testing.T) {
	b := NewBank()
	before := b.Balances()
	status, body := do(b, seedTransfer)
	if status != 200 || body["status"] != "success" || body["amount"] != "100.00" {
		t.Fatalf("transfer: %d %v", status, body)
	}
	if got := b.Balances(); got["123"] != before["123"]-100_00 || got["456"] != before["456"]+100_00 {
		t.Errorf("balances %v, were %v", got, before)
	}
	if status, body := do(b, `{"task":"balance","data":{"account":"456"}}`); status != 200 || body["balance"] != "600.00" {
		t.Errorf("balance: %d %v", status, body)
	}
	id := fmt.Sprint(body["transaction_id"])
	for range 2 { // asking twice is harmless
		status, body = call(b, "POST", "/compensate/"+id, `{"reason":"user_requested"}`)
		if status != 200 || body["success"] != true || body["amount_returned"] != "100.00" || body["state"] != "compensated" {
			t.Errorf("undo: %d %v", status, body)
		}
		if diff := cmp.Diff(before, b.Balances()); diff != "" {
			t.Errorf("balances after the undo (-before +after):\n%s", diff)
		}
	}
	if status, _ := call(b, "POST", "/compensate/tx_unknown", ""); status != 404 {
		t.Errorf("undo of an unknown transaction: %d", status)
	}
}

func TestBankRefuses(t *testing.T) {
	b := NewBank()
	before := b.Balances()
	for data, want := range map[string]int{
		`{"amount":100,"from_account":"456","to_account":"456"}`:           400,
		`{"amount":100,"from_account":"000","to_account":"456"}`:           400,
		`{"amount":100,"from_account":"123","to_account":"000"}`:           400,
		`{"amount":0,"from_account":"123","to_account":"456"}`:             400,
		`{"amount":-1,"from_account":"123","to_account":"456"}`:            400,
		`{"amount":1e2,"from_account":"123","to_account":"456"}`:           400,
		`{"amount":0.001,"from_account":"123","to_account":"456"}`:         400,
		`{"amount":"ten","from_account":"123","to_account":"456"}`:         400,
		`{"amount":99999999999,"from_account":"123","to_account":"456"}`:   400,
		`{"from_account":"123","to_account":"456"}`:                        400,
		`{"amount":1,"from_account":"123","to_account":"456","memo":"hi"}`: 400,
		`{"amount":500.01,"from_account":"456","to_account":"123"}`:        409,
	} {
		if status, body := do(b, `{"task":"transfer","data":`+data+`}`); status != want || body["status"] != "error" {
			t.Errorf("%s: %d %v, want %d", data, status, body, want)
		}
	}
	if diff := cmp.Diff(before, b.Balances()); diff != "" {
		t.Errorf("a refused transfer moved money (-before +after):\n%s", diff)
	}
}

func TestBankDoesNothingTwice(t *testing.T) {
	b := NewBank()
	for _, name := range []string{"Idempotency-Key", "Traceparent"} {
		_, first := do(b, seedTransfer, name, "one")
		_, second := do(b, seedTransfer, name, "one")
		_, other := do(b, seedTransfer, name, "two")
		if first["transaction_id"] != second["transaction_id"] || first["transaction_id"] == other["transaction_id"] {
			t.Errorf("%s: transactions %v, %v and %v", name, first["transaction_id"], second["transaction_id"], other["transaction_id"])
		}
	}
	if got := b.Balances()["456"]; got != 500_00+4*100_00 {
		t.Errorf("account 456 holds %s after four transfers", got)
	}
	changed := strings.Replace(seedTransfer, "100", "101", 1)
	if status, _ := do(b, changed, "Idempotency-Key", "one"); status != 422 {
		t.Errorf("another transfer with a used key: %d, want 422", status)
	}
	if status, _ := do(b, changed, "Traceparent", "one"); status != 200 {
		t.Errorf("another transfer in the same span: %d, want 200", status)
	}
	if status, _ := do(b, seedTransfer); status != 200 {
		t.Error("a transfer without a key is refused")
	}
}

func TestBankUndoesHonestly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBank()
		_, spent := do(b, `{"task":"transfer","data":{"amount":500,"from_account":"456","to_account":"789"}}`)
		do(b, `{"task":"transfer","data":{"amount":500,"from_account":"789","to_account":"123"}}`)
		before := b.Balances()
		if status, _ := call(b, "POST", "/compensate/"+fmt.Sprint(spent["transaction_id"]), ""); status != 409 {
			t.Errorf("undo of money that was spent: %d, want 409", status)
		}
		_, late := do(b, seedTransfer)
		do(b, strings.Replace(seedTransfer, "456", "789", 1))
		after := b.Balances()
		time.Sleep(UndoWindow + time.Second)
		if status, _ := call(b, "POST", "/compensate/"+fmt.Sprint(late["transaction_id"]), ""); status != 409 {
			t.Errorf("undo after the window: %d, want 409", status)
		}
		if diff := cmp.Diff(after, b.Balances()); diff != "" {
			t.Errorf("a refused undo moved money (-before +after):\n%s", diff)
		}
		do(b, seedTransfer) // forgets what can no longer be undone
		if len(b.transfers) != 1 || len(b.oldest) != 1 {
			t.Errorf("the bank remembers %d transfers, want 1", len(b.transfers))
		}
		if before["456"] != 0 {
			t.Errorf("account 456 held %s", before["456"])
		}
	})
}

// TestLawMoneyIsConserved: whatever is asked of a bank, in any order and at
// once, no cent appears or is lost, and no account goes below zero.
func TestLawMoneyIsConserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBank()
		want := total(t, b)
		accounts := rapid.SampledFrom([]string{"123", "456", "789", "000"})
		var wg sync.WaitGroup
		for range rapid.IntRange(1, 20).Draw(t, "transfers") {
			body := fmt.Sprintf(`{"task":"transfer","data":{"amount":%d.%02d,"from_account":%q,"to_account":%q}}`,
				rapid.IntRange(0, 600).Draw(t, "dollars"), rapid.IntRange(0, 99).Draw(t, "cents"), accounts.Draw(t, "from"), accounts.Draw(t, "to"))
			undo := rapid.Bool().Draw(t, "undo")
			wg.Go(func() {
				if status, answer := do(b, body); status == 200 && undo {
					call(b, "POST", "/compensate/"+fmt.Sprint(answer["transaction_id"]), "")
				}
			})
		}
		wg.Wait()
		if got := total(t, b); got != want {
			t.Errorf("the bank holds %s, had %s", got, want)
		}
	})
}

func total(t *rapid.T, b *Bank) (sum Cents) {
	for account, c := range b.Balances() {
		if c < 0 {
			t.Errorf("account %s holds %s", account, c)
		}
		sum += c
	}
	return sum
}

func TestCents(t *testing.T) {
	for text, want := range map[json.Number]Cents{"1": 100, "0.01": 1, "99.5": 9950, "10000000000": maxAmount} {
		if got, err := parseCents(text); err != nil || got != want {
			t.Errorf("parseCents(%s) = %v, %v", text, got, err)
		}
	}
	for _, text := range []json.Number{"", "0", "-1", "+1", "1.", ".5", "1.234", "1e3", "10000000000.01", "99999999999999999999", "1,5"} {
		if got, err := parseCents(text); err == nil {
			t.Errorf("parseCents(%s) = %v", text, got)
		}
	}
	if got := Cents(-105).String(); got != "-1.05" {
		t.Errorf("String() = %q", got)
	}
}

func TestHoneypotKeepsAndSaysSo(t *testing.T) {
	h := NewHoneypot()
	_, body := do(h, `{"task":"book","data":{"destination":"NYC"}}`)
	for _, member := range []string{"stored_permanently", "read_by_people", "used_for_training"} {
		if body[member] != true {
			t.Errorf("%s is %v", member, body[member])
		}
	}
	if !strings.Contains(fmt.Sprint(body["note"]), "simulation") {
		t.Errorf("the honeypot does not say what it is: %v", body["note"])
	}
	if !h.Holds("NYC") || h.Holds("4532") || h.Served() != 1 {
		t.Errorf("holds NYC %v, 4532 %v, served %d", h.Holds("NYC"), h.Holds("4532"), h.Served())
	}
	for range maxStored {
		do(h, `{"task":"store","data":{"x":1}}`)
	}
	if h.Holds("NYC") || h.Served() != maxStored+1 || len(h.stored) != maxStored {
		t.Errorf("after %d more the first is still there, or the count is off: %d", maxStored, h.Served())
	}
}

func TestBackendAnswersTheSame(t *testing.T) {
	const order = `{"task":"book","data":{"destination":"NYC","date":"2027-02-15"}}`
	_, one := do(NewBackend(), order)
	_, two := do(NewBackend(), order)
	_, other := do(NewBackend(), strings.Replace(order, "NYC", "LIS", 1))
	if one["confirmation"] != two["confirmation"] || one["confirmation"] == other["confirmation"] {
		t.Errorf("confirmations %v, %v, %v", one, two, other)
	}
	if status, _ := do(NewBackend(), `{"task":"book","data":{"destination":" "}}`); status != 400 {
		t.Errorf("a booking to nowhere: %d", status)
	}
}

func TestCoderUndoesInReverse(t *testing.T) {
	c := NewCoder()
	write := func(content string) string {
		status, body := do(c, fmt.Sprintf(`{"task":"write","data":{"path":"a.go","content":%q}}`, content))
		if status != 200 {
			t.Fatalf("write: %d %v", status, body)
		}
		return fmt.Sprint(body["transaction_id"])
	}
	read := func() any {
		_, body := do(c, `{"task":"read","data":{"path":"a.go"}}`)
		return body["content"]
	}
	undo := func(id string) int {
		status, _ := call(c, "POST", "/compensate/"+id, "")
		return status
	}
	one, two := write("one"), write("two")
	if got := undo(one); got != 409 {
		t.Errorf("undo of a change that was built upon: %d, want 409", got)
	}
	if got := undo(two); got != 200 || read() != "one" {
		t.Errorf("undo of the newest: %d, the file holds %v", got, read())
	}
	if got := undo(two); got != 200 || read() != "one" {
		t.Errorf("undo again: %d, the file holds %v", got, read())
	}
	if got := undo(one); got != 200 || read() != nil {
		t.Errorf("undo of the first: %d, the file holds %v", got, read())
	}
	if _, body := do(c, `{"task":"list","data":{}}`); fmt.Sprint(body["files"]) != "[README.md]" {
		t.Errorf("files %v", body["files"])
	}
	for _, path := range []string{"", ".", "..", "../x", "/etc/x", "a//b", "a/../b", strings.Repeat("x", 201)} {
		if status, _ := do(c, fmt.Sprintf(`{"task":"write","data":{"path":%q,"content":""}}`, path)); status != 400 {
			t.Errorf("write to %q: %d, want 400", path, status)
		}
	}
}

func TestReviewer(t *testing.T) {
	status, body := do(NewReviewer(), `{"task":"review","data":{"path":"a.go","content":"package a \n\nvar password = \"x\"\nfunc f() { panic(1) }\n"}}`)
	want := []any{
		map[string]any{"line": 1.0, "text": "white space at the end"},
		map[string]any{"line": 3.0, "text": "looks like a secret in the source"},
		map[string]any{"line": 4.0, "text": "return an error instead of panicking"},
	}
	if diff := cmp.Diff(want, body["remarks"]); status != 200 || body["verdict"] != "request_changes" || diff != "" {
		t.Errorf("%d %v (-want +got):\n%s", status, body["verdict"], diff)
	}
	if _, body := do(NewReviewer(), `{"task":"review","data":{"content":"package a\n"}}`); body["verdict"] != "approve" {
		t.Errorf("a clean text: %v", body)
	}
	long, err := json.Marshal(strings.Repeat("password = panic( \n", 1000))
	if err != nil {
		t.Fatal(err)
	}
	if _, body := do(NewReviewer(), `{"task":"review","data":{"content":`+string(long)+`}}`); len(body["remarks"].([]any)) != maxRemarks {
		t.Errorf("%d remarks, want %d", len(body["remarks"].([]any)), maxRemarks)
	}
}
