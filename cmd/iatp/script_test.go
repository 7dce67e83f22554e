package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/inter-agent-trust/iatp/internal/demo"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"iatp":     main,
		"bank":     func() { os.Exit(demo.Main("bank", demo.NewBank())) },
		"honeypot": func() { os.Exit(demo.Main("honeypot", demo.NewHoneypot())) },
	})
}

// TestScripts plays the transcripts in testdata with the real program. Beside
// testscript's own commands they have:
//
//	exits CODE PROGRAM ARG…   runs a program that must exit with CODE
//	start NAME PROGRAM ARG…   starts a program and waits for its line
//	                          "listening on ADDRESS"; $NAME is the address, and
//	                          NAME.out and NAME.err are what it writes
//	hangup NAME, stop NAME    send SIGHUP; send SIGTERM, after which it must
//	                          exit with 0 in five seconds
//	await FILE TEXT           waits until a file has a text
//	post URL FILE [HEADER…]   sends a file as JSON; stdout is the status, the
//	                          header and the body of the answer
//	replace FILE OLD NEW      changes the first OLD in a file
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "start": start, "hangup": hangup, "stop": stop, "await": await, "post": post, "replace": replace,
		},
		Setup: func(e *testscript.Env) error {
			root, err := filepath.Abs("../..")
			e.Setenv("ROOT", root)
			e.Values[running{}] = &sync.Map{}
			return err
		},
	})
}

// running keys the started programs of a script, a *sync.Map by name.
type running struct{}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM ARG…")
	}
	name := args[0]
	cmd := exec.Command(lookup(ts, args[1]), args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"), "HOME="+ts.MkAbs("."), "TMPDIR="+ts.MkAbs("."))
	errFile, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	outFile, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	cmd.Stderr = errFile
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	p := &process{cmd: cmd, done: make(chan error, 1)}
	ts.Value(running{}).(*sync.Map).Store(name, p)
	ts.Defer(func() { cmd.Process.Kill(); <-p.done })

	address := make(chan string, 1)
	go func() {
		defer close(address)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			outFile.WriteString(lines.Text() + "\n")
			if _, a, ok := strings.Cut(lines.Text(), "listening on "); ok {
				address <- a
			}
		}
		p.err = cmd.Wait()
		outFile.Close()
		errFile.Close()
		close(p.done)
	}()
	select {
	case a, ok := <-address:
		if !ok {
			<-p.done
			ts.Fatalf("%s ended before it listened: %v\n%s", name, p.err, ts.ReadFile(name+".err"))
		}
		ts.Setenv(name, a)
	case <-time.After(20 * time.Second):
		ts.Fatalf("%s does not listen", name)
	}
}

// process is a started program. err is set when done is closed.
type process struct {
	cmd  *exec.Cmd
	err  error
	done chan error
}

func lookup(ts *testscript.TestScript, name string) string {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(filepath.ListSeparator)) {
		if path := filepath.Join(dir, name); isFile(path) {
			return path
		}
	}
	ts.Fatalf("no program %s", name)
	return ""
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func signalled(ts *testscript.TestScript, args []string, sig os.Signal) *process {
	if len(args) != 1 {
		ts.Fatalf("name one program")
	}
	p, ok := ts.Value(running{}).(*sync.Map).Load(args[0])
	if !ok {
		ts.Fatalf("%s was not started", args[0])
	}
	ts.Check(p.(*process).cmd.Process.Signal(sig))
	return p.(*process)
}

func hangup(ts *testscript.TestScript, _ bool, args []string) { signalled(ts, args, syscall.SIGHUP) }

func stop(ts *testscript.TestScript, _ bool, args []string) {
	p := signalled(ts, args, syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			ts.Fatalf("%s: %v\n%s", args[0], p.err, ts.ReadFile(args[0]+".err"))
		}
	case <-time.After(5 * time.Second):
		ts.Fatalf("%s does not stop", args[0])
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE TEXT")
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && bytes.Contains(data, []byte(args[1])) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not say %q; it says:\n%s", args[0], args[1], data)
		}
	}
}

func post(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: post URL FILE [HEADER…]")
	}
	req, err := http.NewRequest(http.MethodPost, args[0], strings.NewReader(ts.ReadFile(args[1])))
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	for _, h := range args[2:] {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	out := ts.Stdout()
	io.WriteString(out, resp.Status+"\n")
	ts.Check(resp.Header.Write(out))
	_, err = io.Copy(out, resp.Body)
	ts.Check(err)
}

func replace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not contain %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o600))
}
