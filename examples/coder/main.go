// Command coder runs the example agent with a small repository that it reads and writes.
//
//	go run ./examples/coder [--listen 127.0.0.1:8000]
package main

import (
	"os"

	"github.com/inter-agent-trust/iatp/internal/demo"
)

func main() { os.Exit(demo.Main("coder", demo.NewCoder())) }
