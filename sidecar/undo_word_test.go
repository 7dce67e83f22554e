package sidecar_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/iatptest"
)

// TestWordOnACall: what a peer does not undo waits for a person at the caller too, and ends
// with that person's word: on the call, and on the saga when nothing is left to try. Then
// nobody is asked, also after a restart.
func TestWordOnACall(t *testing.T) {
	agent := newBooker()
	agent.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/cancel/") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	var oa iatptest.Options
	a, _ := undoPair(t, agent, refundMinusFee, func(a, _ *iatptest.Options) { a.Data = t.TempDir(); oa = *a })
	say := func(id, body string) *iatptest.Reply {
		return a.Do(t, "POST", "/transactions/"+id+"/resolve", strings.NewReader(body), a.Operator(t))
	}
	waiting := func(want int) {
		t.Helper()
		if !strings.Contains(string(a.Get(t, "/metrics", nil).Body), fmt.Sprintf("iatp_undo_waiting %d\n", want)) {
			t.Errorf("iatp_undo_waiting is not %d", want)
		}
	}
	again := func(saga string) *api.Saga { // as the operator
		r := a.Do(t, "POST", "/sagas/"+saga+"/cancel", strings.NewReader("{}"), a.Operator(t))
		return readInto[api.Saga](t, r)
	}
	failed := func() *api.Saga {
		saga := openSaga(t, a, "")
		joinCall(t, a, "b", saga.ID)
		got := cancel(t, a, saga.ID)
		if got.State != "compensation_failed" || !got.Manual || len(got.Calls) != 1 || !got.Calls[0].Manual {
			t.Fatalf("saga = %+v, and a person must be asked", got)
		}
		return got
	}

	one := failed()
	waiting(2)
	call := one.Calls[0].ID
	for id, want := range map[string]int{call[:len(call)-1] + "_": http.StatusNotFound, "call_x": http.StatusNotFound, strings.Replace(call, "call_", "tx_", 1): http.StatusNotFound} {
		if r := say(id, `{"state":"compensated","by":"alice"}`); r.Status != want {
			t.Errorf("a word on %s = %d %s, want %d", id, r.Status, r.Body, want)
		}
	}
	r := say(call, `{"state":"partially_compensated","by":"alice","note":"called them","fee_charged":"60.00","currency":"USD"}`)
	if got := readInto[api.Call](t, r); r.Status != http.StatusOK || got.ID != call || got.State != "partially_compensated" || got.Manual || got.Code != "fee_breach" || !got.Breach {
		t.Errorf("a word on the call = %d %s", r.Status, r.Body)
	}
	if r := say(call, `{"state":"compensated","by":"bob"}`); r.Status != http.StatusConflict {
		t.Errorf("a second word = %d %s", r.Status, r.Body)
	}
	if got := again(one.ID); got.State != "partially_compensated" || got.Manual {
		t.Errorf("the saga is %+v", got)
	}
	waiting(0)

	// Nothing can be done, and a person says so.
	two := failed()
	if r := say(two.Calls[0].ID, `{"state":"compensation_failed","by":"alice","note":"they refuse"}`); r.Status != http.StatusOK || readInto[api.Call](t, r).Manual {
		t.Errorf("that it stays = %d %s", r.Status, r.Body)
	}
	if got := again(two.ID); got.State != "compensation_failed" || !got.Manual || got.Calls[0].Manual {
		t.Errorf("the saga is %+v", got)
	}
	if r := say(two.ID, `{"state":"compensation_failed","by":"alice"}`); r.Status != http.StatusOK || readInto[api.Saga](t, r).Manual {
		t.Errorf("a word on the saga = %d %s", r.Status, r.Body)
	}
	if r := say(two.ID, `{"state":"compensated","by":"bob"}`); r.Status != http.StatusConflict {
		t.Errorf("a second word on the saga = %d %s", r.Status, r.Body)
	}
	waiting(0)
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	a = iatptest.Start(t, oa)
	waiting(0)
	if got := readInto[api.Saga](t, a.Get(t, "/sagas/"+two.ID, nil)); got.State != "compensation_failed" || got.Manual {
		t.Errorf("after a restart the saga is %+v", got)
	}
}
