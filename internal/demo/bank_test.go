package demo

import "testing"

// TestBankKnowsTransactions has the bank undo under the name that its sidecar gave.
func TestBankKnowsTransactions(t *testing.T) {
	b := NewBank()
	const transfer = `{"task":"transfer","data":{"amount":100,"from_account":"456","to_account":"789"}}`
	if status, said := do(b, transfer, "IATP-Transaction", "tx_A", "Idempotency-Key", "k"); status != 200 || said["transaction_id"] != "tx_A" {
		t.Fatalf("transfer: %d %v", status, said)
	}
	if status, _ := do(b, transfer, "IATP-Transaction", "tx_A", "Idempotency-Key", "k2"); status != 409 {
		t.Errorf("another transfer of the same transaction: %d, want 409", status)
	}
	if status, said := call(b, "POST", "/compensate/tx_A", `{}`); status != 200 || b.Balances()["456"] != 500_00 {
		t.Errorf("compensate: %d %v, balance %s", status, said, b.Balances()["456"])
	}
}
