// Command iatp is the whole of IATP in one program: the sidecar, and the tools
// to look at manifests, rules and the flight recorder.
//
//	iatp demo                                   the story, in ten seconds
//	iatp run --agent http://localhost:8000      the sidecar in front of an agent
//	iatp trace                                  what it saw
//
// It exits with 0 when it did what was asked, with 1 when something was refused
// or a check failed, and with 2 when it was called the wrong way, or cannot say
// whether the check fails.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
