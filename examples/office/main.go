// Command office runs an example agent that keeps its state in SQLite: a bank's
// ledger, a booking desk, a stock room or a mail room.
//
//	go run ./examples/office ledger --db ledger.db [--listen 127.0.0.1:8000] [--faults]
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/inter-agent-trust/iatp/internal/office"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(office.Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
