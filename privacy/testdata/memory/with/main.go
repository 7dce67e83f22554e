// Command with is the program beside it with a Scanner that has scanned
// something.
package main

import (
	"fmt"
	"net/http"
	"os"
	"runtime/debug"

	"github.com/inter-agent-trust/iatp/privacy"
)

func main() {
	if len(os.Args) > 1 {
		_, _ = http.Get(os.Args[1])
		_, _ = privacy.Decode(nil, os.Args[1], 1)
	}
	if len(privacy.New().ScanBody([]byte(`{"card":4532015112830366}`), "application/json", privacy.Limits{}).Findings) != 1 {
		panic("the card is not found")
	}
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	fmt.Print(string(status))
}
