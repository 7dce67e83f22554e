package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// full is a directory with very little room, and how a sidecar is started so
// that it feels it: on a file system of its own where this test may mount one,
// else with a limit on the size of files.
func full(t *testing.T) (dir string, prefix []string) {
	t.Helper()
	dir = t.TempDir()
	if runtime.GOOS == "linux" && os.Getuid() == 0 && exec.Command("mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "iatp-e2e", dir).Run() == nil {
		t.Cleanup(func() {
			if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
				t.Errorf("umount %s: %v\n%s", dir, err, out)
			}
		})
		return dir, nil
	}
	return dir, limited
}

// limited runs a command that can write 256 KiB, in blocks of 512 bytes, into a file.
var limited = []string{"sh", "-c", `ulimit -f 512 && exec "$0" "$@"`}

// TestDiskFull: when the recorder cannot write, the call is refused and the
// agent sees nothing; what was recorded before is sound.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for name, room := range map[string]func(*testing.T) (string, []string){
		"file system": full,
		"file size":   func(t *testing.T) (string, []string) { return t.TempDir(), limited },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, prefix := room(t)
			a := startAgent(t, nil)
			at := setup{agent: a.url, data: filepath.Join(dir, "data")}
			program, args := at.command(t)
			argv := append(append(prefix, program), args...)
			s := &sidecar{process: spawn(t, nil, argv[0], argv[1:]...), data: at.data}
			s.addr = s.address(t)
			s.untilRefused(t, a)
			if code := s.exitAfterFailure(t); code != 1 {
				t.Errorf("exit %d after the recorder failed, want 1: %s", code, s.stderr.String())
			}
			checkLog(t, s.data)
		})
	}
}

// untilRefused makes calls until the recorder is full, and then some.
func (s *sidecar) untilRefused(t *testing.T, a *agent) {
	t.Helper()
	big := `{"text":"` + strings.Repeat("lorem ipsum ", 1000) + `"}`
	passed, n := 0, 0
	var r *reply
	for ; n < 500; n++ {
		if r = s.post(t, big); r.status != 200 {
			break
		}
		passed++
	}
	if r.status != 503 || r.member("type") != "https://inter-agent-trust.org/problems/log-unavailable" || r.header.Get("Retry-After") == "" {
		t.Fatalf("with a full disk, after %d calls: %d %s", n, r.status, r.text)
	}
	if t.Logf("%d calls passed before there was no room", passed); passed == 0 {
		t.Error("none passed: there was no room from the start")
	}
	// At most the one answer whose end could not be recorded was withheld.
	if seen := len(a.calls()); seen > passed+1 || seen > passed && r.member("outcome") != "executed" || seen == passed && r.member("outcome") != "none" {
		t.Errorf("%d calls passed, the agent saw %d, and the refusal says outcome %v", passed, seen, r.member("outcome"))
	}
	seen := len(a.calls())
	for range 20 {
		if r := s.post(t, trip); r.status != 503 || r.member("outcome") != "none" {
			t.Errorf("the next call: %d %s", r.status, r.text)
		}
	}
	if got := len(a.calls()); got != seen {
		t.Errorf("the agent saw %d calls that are in no record", got-seen)
	}
	if r := s.get(t, "/health"); r.status != 503 || !strings.Contains(r.text, "flight recorder") {
		t.Errorf("/health: %d %s", r.status, r.text)
	}
	if !strings.Contains(s.stderr.String(), "flight recorder") {
		t.Errorf("the program's own log says nothing of it:\n%s", s.stderr.String())
	}
}

// exitAfterFailure ends a sidecar whose recorder has failed.
func (s *sidecar) exitAfterFailure(t *testing.T) int {
	t.Helper()
	s.signal(t, os.Interrupt)
	return s.exit(t, 15*time.Second)
}

// TestDataDirectoryUnusable: a sidecar that cannot record does not start, and
// says what is wrong and where.
func TestDataDirectoryUnusable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	start := func(data string) (int, string) {
		at := setup{agent: "http://127.0.0.1:1", data: data}
		program, args := at.command(t)
		var p *process
		if os.Getuid() == 0 { // who may write everywhere
			share(t, filepath.Dir(args[2]))
			p = as(t, 65534, program, args...)
		} else {
			p = spawn(t, nil, program, args...)
		}
		code := p.exit(t, 10*time.Second)
		return code, p.stderr.String()
	}
	if code, text := start(filepath.Join(dir, "data")); code != 1 || !strings.Contains(text, dir) || !strings.Contains(text, "permission denied") {
		t.Errorf("a directory that cannot be made: exit %d: %s", code, text)
	}
	if code, text := start(dir); code != 1 || !strings.Contains(text, dir) || !strings.Contains(text, "permission denied") {
		t.Errorf("a read-only directory: exit %d: %s", code, text)
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	if code, text := start(file); code != 1 || !strings.Contains(text, file) {
		t.Errorf("a file: exit %d: %s", code, text)
	}
}

// share lets every user read a directory of this test, and what leads to it.
func share(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSecondProcess: one data directory belongs to one sidecar.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	a := startAgent(t, nil)
	at := setup{agent: a.url}
	s := at.start(t)
	at.data = s.data
	second := at.launch(t)
	if code, text := second.exit(t, 10*time.Second), second.stderr.String(); code != 1 || !strings.Contains(text, s.data) || !strings.Contains(text, fmt.Sprint(s.cmd.Process.Pid)) {
		t.Errorf("a second sidecar: exit %d: %s", code, text)
	}
	if code, _, text := tool(t, "log", "fsck", "--repair", "--data", s.data); code != 1 || !strings.Contains(text, "in use") {
		t.Errorf("repair beside a sidecar: exit %d: %s", code, text)
	}
	if r := s.post(t, trip); r.status != 200 {
		t.Errorf("the first one afterwards: %d %s", r.status, r.text)
	}
	taken := setup{agent: a.url, args: []string{"--listen", s.addr}}.launch(t)
	if code, text := taken.exit(t, 10*time.Second), taken.stderr.String(); code != 1 || !strings.Contains(text, "--listen") {
		t.Errorf("a port that is taken: exit %d: %s", code, text)
	}
	s.kill()
	s = at.start(t) // the lock fell with its holder
	s.stop(t)
	checkLog(t, s.data)
}

// TestSecretsInFiles: what the data directory holds is its owner's alone, and a
// key that others can read is refused.
func TestSecretsInFiles(t *testing.T) {
	t.Parallel()
	at := setup{agent: startAgent(t, nil).url}
	s := at.start(t)
	at.data = s.data
	token := strings.TrimPrefix(s.operator(t), "Authorization: Bearer ")
	s.post(t, trip)
	s.get(t, "/trace?limit=5", s.operator(t))
	s.stop(t)
	for _, name := range []string{"log.key", "store.key", "operator.token"} {
		info, err := os.Stat(filepath.Join(s.data, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
			continue
		}
		if err := os.Chmod(filepath.Join(s.data, name), 0o644); err != nil {
			t.Fatal(err)
		}
		p := at.launch(t)
		if code, text := p.exit(t, 10*time.Second), p.stderr.String(); code != 1 || !strings.Contains(text, name) || !strings.Contains(text, "600") {
			t.Errorf("%s that others can read: exit %d: %s", name, code, text)
		}
		if err := os.Chmod(filepath.Join(s.data, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(s.stdout.String()+s.stderr.String(), token) {
		t.Error("the operator's token is in the program's own log")
	}
	if found := inFiles(t, filepath.Join(s.data, "log"), token); found != "" {
		t.Errorf("the operator's token is in %s", found)
	}
}

// TestUnixSocket: the local listener can be a socket that only its owner opens.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "iatp") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	at := setup{agent: startAgent(t, nil).url, args: []string{"--listen", "unix:" + path}}
	for range 2 { // the second finds the socket of the first, which was killed
		s := at.launch(t)
		at.data = s.data
		eventually(t, 30*time.Second, func() error {
			c, err := net.Dial("unix", path)
			if err == nil {
				c.Close()
			}
			return err
		})
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%v %v", info, err)
		}
		if code, out, errs := tool(t, "trace", "--sidecar", "unix:"+path); code != 0 {
			t.Errorf("iatp trace over the socket: exit %d %s%s", code, out, errs)
		}
		s.kill()
	}
}
