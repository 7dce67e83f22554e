package demo

import (
	"testing"
)

func TestDesk(t *testing.T) {
	purse := NewPurse(500_00)
	d := NewDesk("hotel-agent", 1, 300_00, 30_00, purse)
	const book = `{"task":"book","data":{"from":"2027-02-15","nights":3}}`
	step := func(what string, status, want int, balance Cents) {
		t.Helper()
		if status != want || purse.Balance() != balance {
			t.Errorf("%s: status %d with %s left, want %d with %s", what, status, purse.Balance(), want, balance)
		}
	}
	order := func(body, tx string) int {
		status, _ := do(d, body, "IATP-Transaction", tx)
		return status
	}
	cancel := func(tx string) int {
		status, said := call(d, "POST", "/compensate/"+tx, `{}`)
		if status == 200 && (said["fee_charged"] != "30.00" || said["amount_returned"] != "270.00" || said["state"] != "partially_compensated") {
			t.Errorf("cancel %s: %v", tx, said)
		}
		return status
	}
	step("cancel nothing", cancel("tx_1"), 404, 500_00)
	step("book", order(book, "tx_1"), 200, 200_00)
	step("book again", order(book, "tx_1"), 200, 200_00)
	step("book another", order(`{"task":"book","data":{"nights":1}}`, "tx_1"), 409, 200_00)
	step("sold out", order(book, "tx_2"), 409, 200_00)
	step("cancel", cancel("tx_1"), 200, 470_00)
	step("cancel again", cancel("tx_1"), 200, 470_00)
	step("book what is canceled", order(book, "tx_1"), 409, 470_00)
	step("book the free place", order(book, "tx_2"), 200, 170_00)
	step("no money", func() int { d.places = 1; return order(book, "tx_3") }(), 409, 170_00)
}
