//go:build ignore

// Report runs `go test -json` with the arguments it is given and prints what a
// person needs: a line for each package, the whole output of what failed, every
// test that was skipped, with its reason, and at the end what failed once more,
// in short. With CI=true a skipped test is a failure, but for want of a network.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// event is one line of `go test -json` (go doc cmd/test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // instead of Package, for output of the build
	Test       string
	Elapsed    float64
	Output     string
}

type test struct{ pkg, name string }

type report struct {
	out     io.Writer
	text    map[test]string // output so far of what has not ended
	build   map[string]string
	skipped []string
	broken  []string // a line for each failed test and for each of its complaints
	failed  bool
}

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "go test:", err)
		return 1
	}
	r := &report{out: os.Stdout, text: map[test]string{}, build: map[string]string{}}
	r.read(stdout)
	if err := cmd.Wait(); err != nil {
		r.failed = true
	}
	return r.verdict(os.Getenv("CI") == "true")
}

func (r *report) read(in io.Reader) {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil {
			r.take(e)
		} else {
			r.out.Write(line) // not JSON: the go command itself is speaking
		}
		if err != nil {
			return
		}
	}
}

func (r *report) take(e event) {
	switch e.Action {
	case "build-output":
		r.build[e.ImportPath] += e.Output
	case "output":
		r.text[test{e.Package, e.Test}] += e.Output
	case "build-fail":
		fmt.Fprintf(r.out, "FAIL  %s: does not build\n%s", e.ImportPath, r.build[e.ImportPath])
		r.failed = true
	case "pass", "skip", "fail":
		r.end(e)
	}
}

// end is called for each test, and with an empty test for each package.
func (r *report) end(e event) {
	key := test{e.Package, e.Test}
	text := r.text[key]
	delete(r.text, key)
	switch {
	case e.Action == "fail":
		r.failed = true
		fmt.Fprintf(r.out, "FAIL  %s %s (%.1fs)\n%s", e.Package, e.Test, e.Elapsed, text)
		if e.Test != "" {
			r.broken = append(r.broken, e.Package+" "+e.Test)
			r.broken = append(r.broken, complaints(text)...)
		}
	case e.Action == "skip" && e.Test != "":
		r.skipped = append(r.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(text)))
	case e.Action == "pass" && e.Test == "":
		fmt.Fprintf(r.out, "ok    %s (%.1fs)\n", e.Package, e.Elapsed)
	}
}

// A line that testing writes for t.Error and the like.
var complaint = regexp.MustCompile(`^ +[a-z0-9_]+_test\.go:[0-9]+: `)

// complaints are the lines of a failed test that say what is wrong, the last
// ten of them: what else it printed may be thousands of lines of a process.
func complaints(text string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if complaint.MatchString(line) {
			line = strings.TrimRight(line, "\n")
			found = append(found, line[:min(len(line), 300)])
		}
	}
	return found[max(0, len(found)-10):]
}

// reason is what the test said when it skipped.
func reason(text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return line
		}
	}
	return "no reason given"
}

// excused is in the reason of a skip that no machine of ours can do anything
// about: a registry of packages is somebody else's.
const excused = ": no network: "

func (r *report) verdict(ci bool) int {
	if len(r.skipped) > 0 {
		fmt.Fprintf(r.out, "\n%d skipped on this machine:\n", len(r.skipped))
		for _, s := range r.skipped {
			fmt.Fprintln(r.out, " ", s)
		}
		if ci && slices.ContainsFunc(r.skipped, func(s string) bool { return !strings.Contains(s, excused) }) {
			fmt.Fprintln(r.out, "CI=true: a skipped test is a failure, unless it is for want of a network")
			return 1
		}
	}
	if r.failed {
		fmt.Fprintln(r.out, "\nFAIL")
		for _, line := range r.broken { // last, where a cut log still shows it
			fmt.Fprintln(r.out, " ", line)
		}
		return 1
	}
	return 0
}
