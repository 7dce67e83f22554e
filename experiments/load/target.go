package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A target is something that a request can pass on its way to the agent.
type target struct {
	name  string
	does  string // what it checks and records, for the tables
	start func(y *yard, dir string) (*running, error)
}

// running is a target that was started.
type running struct {
	target *target
	addr   string
	path   string
	cmds   []*child
	pids   []int
	ctx    context.Context // done when the run is interrupted
}

// child is a process that was started.
type child struct {
	*exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// ended says how a target's process has ended; nil while all of them run.
func (r *running) ended() error {
	for _, c := range r.cmds {
		select {
		case <-c.done:
			return fmt.Errorf("%s: it has ended: %v%s", c.Path, c.ProcessState, tail(c.log))
		default:
		}
	}
	return nil
}

// stop ends a process and waits for it.
func (c *child) stop() {
	_ = c.Process.Signal(syscall.SIGTERM) // it may have ended already
	<-c.done
}

// role tells a copy of this program what to be; see main.
const role = "IATP_LOAD_ROLE"

// yard is where targets are started, and how to end them.
type yard struct {
	ctx   context.Context
	dir   string // for their files
	iatp  string // the binary
	agent string // address of the agent
	large int    // records of a large log
	log   io.Writer
	made  int
	all   []*child
}

// start starts a target in a directory of its own and waits until it answers.
func (y *yard) start(t *target) (*running, error) {
	y.made++
	dir := filepath.Join(y.dir, fmt.Sprintf("%02d-%s", y.made, t.name))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r, err := t.start(y, dir)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", t.name, err)
	}
	r.target, r.ctx = t, y.ctx
	if r.path == "" {
		r.path = "/proxy"
	}
	if err := r.answers(); err != nil {
		return nil, fmt.Errorf("start %s: %w", t.name, err)
	}
	return r, nil
}

// run starts a program whose output goes to dir/log.
func (y *yard) run(r *running, dir, program string, env []string, args ...string) error {
	out, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.CommandContext(y.ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	c := &child{cmd, out.Name(), make(chan struct{})}
	go func() {
		_ = cmd.Wait() // it ends by a signal, or ended says how
		close(c.done)
	}()
	r.ctx, r.cmds, r.pids = y.ctx, append(r.cmds, c), append(r.pids, cmd.Process.Pid)
	y.all = append(y.all, c)
	return nil
}

// stop ends a target and waits for it.
func (r *running) stop() {
	for _, c := range r.cmds {
		c.stop()
	}
	r.cmds = nil
}

// stopAll ends whatever still runs.
func (y *yard) stopAll() {
	for _, c := range y.all {
		c.stop()
	}
}

// answers waits until a target answers HTTP.
func (r *running) answers() error {
	var last error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if err := r.ended(); err != nil {
			return err
		}
		w, err := dial(r.addr)
		if err != nil {
			last = err
			continue
		}
		_, err = w.do(get(r.addr, "/health"))
		w.conn.Close()
		if err == nil {
			// Whoever else listens there may have answered.
			return r.ended()
		}
		last = err
	}
	err := fmt.Errorf("nothing answers at %s: %w", r.addr, last)
	for _, c := range r.cmds {
		err = fmt.Errorf("%w%s", err, tail(c.log))
	}
	return err
}

func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil || len(text) == 0 {
		return ""
	}
	return "\n" + string(text[max(0, len(text)-2000):])
}

// freeAddr is an address that nobody listens on at the moment.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// targets are all that can be measured, in the order of the tables.
func targets() []*target {
	return []*target{
		{"direct", "nothing: the generator calls the agent", startDirect},
		{"rp", "nothing: httputil.ReverseProxy with Rewrite, BufferPool and a tuned Transport", startRP},
		{"nginx", "nothing; one JSON line of access log for each request", startNginx},
		{"haproxy", "nothing; one JSON line of log for each request", startHAProxy},
		{"iatp", "everything: strict JSON, both bodies scanned, judged, two records in the kernel before the call and its answer pass", sidecarTarget("")},
		{"strict", "the same with the record of the request on the disk first (durability: strict)", sidecarTarget("durability: strict\n")},
		{"pair", "two sidecars: judgement of the peer, signature, receipt, every record on the disk first", startPair},
		{"large", "as iatp, with a long log (--requests records, at most 200,000) and 200 rules of the operator", startLarge},
	}
}

// selfAs starts a copy of this program in another role.
func (y *yard) selfAs(dir, as, addr string) (*running, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &running{addr: addr}
	return r, y.run(r, dir, self, []string{role + "=" + as + " " + addr + " " + y.agent})
}

func startDirect(y *yard, _ string) (*running, error) {
	return &running{addr: y.agent}, nil
}

func startRP(y *yard, dir string) (*running, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return y.selfAs(dir, "proxy", addr)
}

// errMissing says that a program is not installed.
type errMissing struct{ program, pkg string }

func (e errMissing) Error() string {
	return fmt.Sprintf("%s is not installed (Debian package %s): left out", e.program, e.pkg)
}

// program finds a program, also where only root has it in the path.
func program(name, pkg string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	if p, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		return p, nil
	}
	return "", errMissing{name, pkg}
}

const nginxConfig = `
daemon off; worker_processes auto; worker_rlimit_nofile 40000; pid DIR/pid; error_log DIR/error.log;
events { worker_connections 20000; }
http {
  log_format json escape=json '{"time":"$time_iso8601","method":"$request_method","uri":"$request_uri","status":$status,"in":$request_length,"out":$bytes_sent,"ms":"$request_time"}';
  access_log DIR/access.log json;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  client_max_body_size 2m; client_body_buffer_size 2m; proxy_buffers 16 64k; keepalive_requests 100000000; keepalive_timeout 120s;
  upstream agent { server AGENT; keepalive 1024; keepalive_requests 100000000; }
  server {
    listen ADDR backlog=4096;
    location / { proxy_pass http://agent; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 120s; }
  }
}
`

func startNginx(y *yard, dir string) (*running, error) {
	bin, err := program("nginx", "nginx-light")
	if err != nil {
		return nil, err
	}
	return y.configured(dir, nginxConfig, func(config string) []string { return []string{bin, "-p", dir, "-c", config} })
}

const haproxyConfig = `
global
  maxconn MAXCONN
  log stdout format raw daemon
defaults
  mode http
  log global
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  log-format '{"time":"%T","method":"%HM","uri":"%HP","status":%ST,"in":%U,"out":%B,"ms":%Ta}'
frontend f
  bind ADDR backlog 4096
  default_backend b
backend b
  server agent AGENT pool-max-conn -1
`

func startHAProxy(y *yard, dir string) (*running, error) {
	bin, err := program("haproxy", "haproxy")
	if err != nil {
		return nil, err
	}
	return y.configured(dir, haproxyConfig, func(config string) []string { return []string{bin, "-f", config} })
}

// configured runs a program with a configuration file.
func (y *yard) configured(dir, text string, command func(config string) []string) (*running, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config")
	text = strings.NewReplacer("DIR", dir, "ADDR", addr, "AGENT", y.agent, "MAXCONN", strconv.Itoa(openFiles()/2-100)).Replace(text)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	r, args := &running{addr: addr}, command(config)
	return r, y.run(r, dir, args[0], nil, args[1:]...)
}

// openFiles is how many files a process may have open. HAProxy wants to be told
// how many connections that is, and refuses to start with more.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Max, 100_000))
}
