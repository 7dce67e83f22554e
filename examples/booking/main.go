// Command booking runs the example agent that books flights and can take none
// back.
//
//	go run ./examples/booking [--listen 127.0.0.1:8000]
package main

import (
	"os"

	"github.com/inter-agent-trust/iatp/internal/demo"
)

func main() { os.Exit(demo.Main("booking", demo.NewBooking())) }
