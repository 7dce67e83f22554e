package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// build compiles the two programs of the experiment into dir.
func build(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	const module = "github.com/inter-agent-trust/iatp"
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", dir+string(filepath.Separator), module+"/cmd/iatp", module+"/examples/office")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// A process is a program that is killed and started again, always at the same
// address.
type process struct {
	name string
	args []string // of the command line, the program first
	addr string   // host:port, answers GET /health

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // of cmd
	said  tail
	kills atomic.Int64
}

// start runs the program and waits until it answers.
func (p *process) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.startLocked(ctx)
}

func (p *process) startLocked(ctx context.Context) error {
	if p.running() {
		return nil
	}
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "IATP_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.ended = ended
	go func(cmd *exec.Cmd) { _ = cmd.Wait(); close(ended) }(p.cmd) // killed is how it ends
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		resp, err := http.Get("http://" + p.addr + "/health")
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return nil
		}
		switch {
		case !p.running():
			return fmt.Errorf("%s ended when it was started:\n%s", p.name, p.said.String())
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(end):
			return fmt.Errorf("%s does not answer:\n%s", p.name, p.said.String())
		}
	}
}

func (p *process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill is SIGKILL, and waits until the process is gone.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		_ = p.cmd.Process.Kill() // an error means that it has ended
		<-p.ended
		p.kills.Add(1)
	}
}

// stop lets the process end by itself, for ten seconds.
func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return nil
	}
	err := p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.ended:
		return nil
	case <-time.After(10 * time.Second):
		return errors.Join(err, p.cmd.Process.Kill(), fmt.Errorf("%s did not end:\n%s", p.name, p.said.String()))
	}
}

// tail keeps the last that a process wrote.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	const most = 64 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buf.Len()+len(b) > most {
		t.buf.Next(t.buf.Len() / 2)
	}
	return t.buf.Write(b)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// ports hands out addresses in turn, below the range from which the kernel takes the
// ports of outgoing connections and above those that tests take, so that nobody takes
// one while its owner is dead.
var ports = struct {
	mu   sync.Mutex
	next int
}{next: rand.IntN(portCount)}

const (
	firstPort = 30000
	portCount = 32768 - firstPort
)

// steadyAddress returns an address that nobody has.
func steadyAddress() (string, error) {
	ln, err := steadyListener()
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

func steadyListener() (net.Listener, error) {
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for range portCount {
		ports.next = (ports.next + 1) % portCount
		if ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", firstPort+ports.next)); err == nil {
			return ln, nil
		}
	}
	return nil, errors.New("no free port")
}
