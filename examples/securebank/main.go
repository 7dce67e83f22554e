// Command securebank runs the trusted example agent: transfers that can be undone.
//
//	go run ./examples/securebank [--listen 127.0.0.1:8000]
package main

import (
	"os"

	"github.com/inter-agent-trust/iatp/internal/demo"
)

func main() { os.Exit(demo.Main("securebank", demo.NewBank())) }
