// Command honeypot runs the untrusted example agent, which keeps what it is sent.
//
//	go run ./examples/honeypot [--listen 127.0.0.1:8000]
package main

import (
	"os"

	"github.com/inter-agent-trust/iatp/internal/demo"
)

func main() { os.Exit(demo.Main("honeypot", demo.NewHoneypot())) }
