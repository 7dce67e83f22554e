// Command reviewer runs the example agent that reviews a text.
//
//	go run ./examples/reviewer [--listen 127.0.0.1:8000]
package main

import (
	"os"

	"github.com/inter-agent-trust/iatp/internal/demo"
)

func main() { os.Exit(demo.Main("reviewer", demo.NewReviewer())) }
