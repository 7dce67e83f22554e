package sidecar_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/api"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// TestLateReceiptIsHeldToTheTerms has a peer break off, and give its receipt only when it
// is asked what became of the call. What it promises about an undo is held to the manifest
// that was assessed before: worse terms are a breach, the call is undone all the same, and
// its fee is measured by the better ones.
func TestLateReceiptIsHeldToTheTerms(t *testing.T) {
	money := func(amount string) iatp.Money {
		m, err := iatp.ParseMoney(amount, "USD")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for _, c := range []struct {
		name    string
		undo    *iatp.Undo // in the late receipt
		fee     string     // of the undo
		broken  bool       // the receipt
		breach  bool       // in the end
		maxFee  string
		restart bool
	}{
		{"as promised", &iatp.Undo{Level: "partial", Until: in(time.Hour), MaxFee: money("50.00")}, "50.00", false, false, "50.00", false},
		{"better", &iatp.Undo{Level: "full", Until: in(2 * time.Hour), MaxFee: money("10.00")}, "10.00", false, false, "10.00", false},
		{"better, and then dearer", &iatp.Undo{Level: "full", Until: in(2 * time.Hour), MaxFee: money("10.00")}, "50.00", false, true, "10.00", false},
		{"no fee is named", &iatp.Undo{Level: "partial", Until: in(time.Hour)}, "60.00", false, true, "50.00", false},
		{"a higher fee", &iatp.Undo{Level: "partial", Until: in(time.Hour), MaxFee: money("500.00")}, "40.00", true, true, "50.00", false},
		{"a shorter window", &iatp.Undo{Level: "partial", Until: in(time.Minute), MaxFee: money("50.00")}, "0.00", true, true, "50.00", false},
		{"nothing", nil, "60.00", true, true, "50.00", false},
		{"a higher fee, after a restart", &iatp.Undo{Level: "partial", Until: in(time.Hour), MaxFee: money("500.00")}, "60.00", true, true, "50.00", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cfg sidecar.Config
			a, l := startLiar(t, func(o *sidecar.Config) { cfg = *o })
			const tx = "tx_AAAAAAAAACkvQ2xhYmVsMA"
			var mu sync.Mutex
			var first *iatp.Receipt
			l.set(func() {
				l.manifest = l.serve(l.document(t, map[string]any{"reversibility": map[string]any{
					"level": "partial", "undo_window_seconds": 3600, "compensation_method": "refund_minus_fee", "max_fee": "50.00", "currency": "USD",
				}}, l.Key))
				l.task = func(_ http.ResponseWriter, c *told) {
					mu.Lock()
					defer mu.Unlock()
					first = &c.receipt
					panic(http.ErrAbortHandler)
				}
				l.other = func(w http.ResponseWriter, r *told) {
					mu.Lock()
					defer mu.Unlock()
					body := []byte("{}")
					receipt := r.receipt
					switch {
					case r.URL.Path == "/transactions/close":
						receipt = *first
						receipt.Tx, receipt.Undo = tx, c.undo
					case r.URL.Path == "/compensate/"+tx:
						body, _ = json.Marshal(api.Compensation{Success: true, TransactionID: tx, State: "partially_compensated", FeeCharged: c.fee, Currency: "USD"})
						receipt.Tx, receipt.Outcome, receipt.Cost, receipt.Res.Digest = tx, iatp.OutcomePartiallyCompensated, money(c.fee), iatp.DigestOf(body)
					default:
						http.NotFound(w, r.Request)
						return
					}
					jws, err := receipt.Sign(l.Key)
					if err != nil {
						t.Error(err)
					}
					w.Header().Set("Iatp-Receipt", jws)
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write(body)
				}
			})
			saga := openSaga(t, a, "")
			r := a.Do(t, "POST", "/proxy/b", strings.NewReader(bookNYC), map[string]string{"Iatp-Saga": saga.ID})
			if got := r.Problem(t)["outcome"]; r.Status != http.StatusBadGateway || (got == "executed") == c.broken {
				t.Errorf("the call = %d %s, receipt broken: %t", r.Status, r.Body, c.broken)
			}
			if c.restart {
				if err := a.Stop(); err != nil {
					t.Fatal(err)
				}
				a = iatptest.Start(t, iatptest.Options{Manifest: iatptest.Friend, Data: cfg.Data, AgentURL: cfg.Agent, Config: func(o *sidecar.Config) { *o = cfg }})
			}
			got := cancel(t, a, saga.ID)
			if len(got.Calls) != 1 || got.State != "partially_compensated" {
				t.Fatalf("saga = %+v", got)
			}
			if call := got.Calls[0]; call.State != "partially_compensated" || call.Breach != c.breach || call.MaxFee != c.maxFee || call.TransactionID != tx {
				t.Errorf("call = %+v, want max_fee %s, breach %t", call, c.maxFee, c.breach)
			}
		})
	}
}
