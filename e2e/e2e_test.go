// Package e2e_test judges the product from outside: the built iatp binary and
// the example agents run as processes on free ports, and the tests speak to
// them as anybody could, with curl, raw sockets, signals and a look at the
// files they leave. What a test needs to know, it reads off the wire or the disk.
package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binaries is the directory of the built programs: iatp, iatp-checked (with the
// race detector if this test has it), securebank and honeypot.
var binaries string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "iatp-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	// A test runs the product as another user, who must be able to read it.
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	binaries = dir
	checked := []string{"-o", filepath.Join(dir, "iatp-checked")}
	if raceEnabled() {
		checked = append(checked, "-race")
	}
	for _, args := range [][]string{
		{"-o", filepath.Join(dir, "iatp"), "../cmd/iatp"},
		append(checked, "../cmd/iatp"),
		{"-o", dir + string(filepath.Separator), "../examples/securebank", "../examples/honeypot"},
	} {
		cmd := exec.Command("go", append([]string{"build", "-buildvcs=false"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("%s: %w\n%s", cmd, err, out)
		}
	}
	return m.Run(), nil
}

// raceEnabled reports whether this test was built with the race detector.
func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// output is what a process has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// process is a program of ours that runs, or has ended.
type process struct {
	cmd    *exec.Cmd
	stdout output
	stderr output
	ended  chan struct{} // closed when err is set
	err    error         // what Wait returned
}

// spawn starts a program with only env of the IATP_ variables. When the test
// ends it is killed, if it still runs, and must not have reported a data race
// or a bug of its own.
func spawn(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), ended: make(chan struct{})}
	return p.start(t, env)
}

// as runs the process as another user.
func as(t *testing.T, uid uint32, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), ended: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return p.start(t, nil)
}

func (p *process) start(t *testing.T, env []string) *process {
	t.Helper()
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "IATP_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		// Whole phrases: a dump of the stacks that a test asked for names functions.
		for _, bad := range []string{"DATA RACE", "panic:", "panic serving", "fatal error:", "bug:"} {
			if strings.Contains(p.stderr.String(), bad) {
				t.Errorf("%s says %q:\n%s", filepath.Base(p.cmd.Path), bad, p.stderr.String())
			}
		}
	})
	return p
}

// kill is SIGKILL, and waits.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error means that it has ended
	<-p.ended
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// exit waits for the end of the process and returns its exit code, -1 after a
// signal.
func (p *process) exit(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("%s still runs after %s\n%s%s", filepath.Base(p.cmd.Path), within, p.stdout.String(), p.stderr.String())
		return 0
	}
}

var listening = regexp.MustCompile(`(?m)listening on http://(\S+)$`)

// address waits until the process says where it listens.
func (p *process) address(t *testing.T) string {
	t.Helper()
	var addr string
	eventually(t, 10*time.Second, func() error {
		select {
		case <-p.ended:
			t.Fatalf("%s ended: %v\n%s%s", filepath.Base(p.cmd.Path), p.err, p.stdout.String(), p.stderr.String())
		default:
		}
		if m := listening.FindStringSubmatch(p.stdout.String()); m != nil {
			addr = m[1]
			return nil
		}
		return fmt.Errorf("%s does not say where it listens:\n%s%s", filepath.Base(p.cmd.Path), p.stdout.String(), p.stderr.String())
	})
	return addr
}

// rss is the resident memory of the process in bytes.
func (p *process) rss() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var kib int64
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	if _, err := fmt.Sscanf(after, "%d kB", &kib); err != nil {
		return 0, fmt.Errorf("VmRSS of process %d: %w", p.cmd.Process.Pid, err)
	}
	return kib << 10, nil
}

// eventually tries until check is content.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s: %v", within, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// tool runs a command of the product to its end, for at most half a minute.
func tool(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binaries, "iatp"), args...)
	cmd.Dir = t.TempDir()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}
