// Command backend runs the plain example agent: it echoes, and makes up bookings.
//
//	go run ./examples/backend [--listen 127.0.0.1:8000]
package main

import (
	"os"

	"github.com/inter-agent-trust/iatp/internal/demo"
)

func main() { os.Exit(demo.Main("backend", demo.NewBackend())) }
