package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/internal/demo"
	"github.com/inter-agent-trust/iatp/internal/office"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"iatp":     main,
		"bank":     func() { os.Exit(demo.Main("bank", demo.NewBank())) },
		"honeypot": func() { os.Exit(demo.Main("honeypot", demo.NewHoneypot())) },
		"office":   func() { os.Exit(runOffice()) },
		"mute":     func() { os.Exit(demo.Main("mute", http.HandlerFunc(keepSilent))) },
		"babble":   func() { os.Exit(babble()) },
		"send":     func() { os.Exit(send(os.Args[1], os.Args[2])) },
	})
}

// runOffice is the example agent of examples/office.
func runOffice() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return office.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// TestScripts plays the transcripts in testdata with the real program. Beside
// testscript's own commands they have:
//
//	exits CODE PROGRAM ARG…   runs a program that must exit with CODE
//	begin NAME PROGRAM ARG…   starts a program; NAME.out and NAME.err are what
//	                          it writes
//	start NAME PROGRAM ARG…   the same, and waits for its line
//	                          "listening on ADDRESS"; $NAME is the address
//	hangup NAME, halt NAME    send SIGHUP; send SIGTERM, after which it must
//	                          exit with 0 in five seconds
//	interrupt NAME            send SIGTERM and go on
//	killed NAME               waits until SIGTERM has killed it
//	await FILE TEXT           waits until a file has a text
//	post URL FILE [HEADER…]   sends a file as JSON; stdout is the status, the
//	                          header and the body of the answer; the body
//	                          alone is in the file answer
//	replace FILE OLD NEW      changes the first OLD in a file
//	address NAME              sets $NAME to an address of this machine at which
//	                          nobody listens
//	header NAME FILE          writes the value of a header of the last answer
//	                          into a file
//	text NAME FILE            sets $NAME to what is in a file
//	blocks DOC HEADING FILE   writes the shell commands below a heading of a
//	                          document into a file
//	expand FILE               puts values in place of the $NAMEs in a file
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "begin": begin, "start": start, "hangup": hangup, "halt": halt, "interrupt": interrupt, "killed": killed, "await": await, "post": post, "replace": replace,
			"address": address, "header": header, "text": text, "expand": expand, "blocks": blocks,
		},
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			root, err := filepath.Abs("../..")
			e.Setenv("ROOT", root)
			e.Setenv("GORACE", "atexit_sleep_ms=20") // each program would wait a second for late races
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
	begin(ts, neg, args)
	name := args[0]
	p, _ := ts.Value(running{}).(*sync.Map).Load(name)
	done := p.(*process).done
	for deadline := time.After(20 * time.Second); ; {
		for line := range strings.Lines(ts.ReadFile(name + ".out")) {
			if _, address, ok := strings.Cut(line, "listening on "); ok && strings.HasSuffix(line, "\n") {
				ts.Setenv(name, strings.TrimSpace(address))
				return
			}
		}
		select {
		case <-done:
			ts.Fatalf("%s ended before it listened: %v\n%s", name, p.(*process).err, ts.ReadFile(name+".err"))
		case <-deadline:
			ts.Fatalf("%s does not listen", name)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func begin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: begin NAME PROGRAM ARG…")
	}
	name := args[0]
	cmd := exec.Command(lookup(ts, args[1]), args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"), "HOME="+cmd.Dir, "TMPDIR="+cmd.Dir)
	stdout, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	stderr, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	ts.Check(errors.Join(cmd.Start(), stdout.Close(), stderr.Close()))
	p := &process{cmd: cmd, done: make(chan struct{})}
	ts.Value(running{}).(*sync.Map).Store(name, p)
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	ts.Defer(func() { cmd.Process.Kill(); <-p.done })
}

// process is a started program. err is set when done is closed.
type process struct {
	cmd  *exec.Cmd
	err  error
	done chan struct{}
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

func halt(ts *testscript.TestScript, _ bool, args []string) {
	p := signalled(ts, args, syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			ts.Fatalf("%s: %v\n%s", args[0], p.err, ts.ReadFile(args[0]+".err"))
		}
	case <-time.After(30 * time.Second):
		ts.Fatalf("%s does not stop", args[0])
	}
}

func interrupt(ts *testscript.TestScript, _ bool, args []string) {
	signalled(ts, args, syscall.SIGTERM)
}

func killed(ts *testscript.TestScript, _ bool, args []string) {
	p := signalled(ts, args, syscall.Signal(0))
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		ts.Fatalf("%s lives on", args[0])
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 128+int(syscall.SIGTERM) {
		ts.Fatalf("%s: %v, want an end by SIGTERM", args[0], p.err)
	}
}

// keepSilent is an agent that takes a call and never answers.
func keepSilent(_ http.ResponseWriter, r *http.Request) {
	fmt.Println("called")
	io.Copy(io.Discard, r.Body) // the end of the body lets the server notice that the caller is gone
	<-r.Context().Done()
}

// babble is an agent that says something more after each answer, which nobody
// asked for.
func babble() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("listening on http://%s\n", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return 1
		}
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			c.Close() // a look whether somebody is there
			continue
		}
		io.Copy(io.Discard, req.Body)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
		time.Sleep(100 * time.Millisecond) // until the connection waits for the next request
		io.WriteString(c, "4532-0151-1283-0366")
		fmt.Println("babbled")
	}
}

// send posts a file and waits for the answer.
func send(url, file string) int {
	f, err := os.Open(file)
	if err == nil {
		defer f.Close()
		_, err = http.Post(url, "application/json", f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
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
	text, err := io.ReadAll(resp.Body)
	ts.Check(err)
	out.Write(text)
	ts.Check(os.WriteFile(ts.MkAbs("answer"), text, 0o600))
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

func address(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: address NAME")
	}
	at, release, err := iatptest.Reserve()
	ts.Check(err)
	ts.Defer(release)
	ts.Setenv(args[0], at)
}

func header(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: header NAME FILE")
	}
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if value, ok := strings.CutPrefix(line, args[0]+": "); ok {
			ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.TrimSpace(value)), 0o600))
			return
		}
	}
	ts.Fatalf("the last answer has no %s", args[0])
}

func text(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: text NAME FILE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expand FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

func blocks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: blocks DOC HEADING FILE")
	}
	_, section, ok := strings.Cut(ts.ReadFile(args[0]), "\n"+args[1]+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var commands strings.Builder
	for ok {
		var block string
		if _, section, ok = strings.Cut(section, "```sh\n"); ok {
			block, section, ok = strings.Cut(section, "```")
			commands.WriteString(block)
		}
	}
	if commands.Len() == 0 {
		ts.Fatalf("%s has no commands below %s", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(commands.String()), 0o600))
}
