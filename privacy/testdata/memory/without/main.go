// Command without holds what a Go program with an HTTP client holds at its
// start, to be compared with the one beside it.
package main

import (
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
)

func main() {
	if len(os.Args) > 1 {
		_, _ = http.Get(os.Args[1])
	}
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	fmt.Print(string(status))
}
