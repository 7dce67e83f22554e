package iatp_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// vectorFiles are what the other implementations read.
var vectorFiles = []string{"verify.mjs", "verify.py", "hardened.json", "manifest-hardened.json", "manifest.json", "v1.json", "corpus.json"}

// verifyElsewhere runs another implementation over the vectors and the corpus.
func verifyElsewhere(t *testing.T, program, script string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("no %s here", program)
	}
	for _, file := range vectorFiles {
		read(t, filepath.Join("spec", "vectors", file)) // so that the test cache knows about them
	}
	out, err := exec.Command(path, filepath.Join("spec", "vectors", script)).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", program, script, err, out)
	}
	t.Logf("%s", out)
}

// Node has Ed25519 and JSON, and verify.mjs has the rest: no line of ours.
func TestNodeVerifies(t *testing.T) { verifyElsewhere(t, "node", "verify.mjs") }

// Python has neither Ed25519 nor strict JSON; verify.py has both.
func TestPythonVerifies(t *testing.T) { verifyElsewhere(t, "python3", "verify.py") }

// Libraries that know nothing of the protocol verify what is signed for it: as JWS
// and JWT, as keys of a JWK set, as an HTTP message signature, as canonical JSON. They
// are installed anew each time, as their lock file says.
func TestJavaScriptLibrariesVerify(t *testing.T) {
	node, err := exec.LookPath("node")
	npm, err2 := exec.LookPath("npm")
	if err != nil || err2 != nil {
		t.Skip("no node, or no npm, here")
	}
	dir := t.TempDir()
	for _, file := range []string{"package.json", "package-lock.json", "verify.mjs"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(read(t, filepath.Join("spec", "interop", file))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	vectors, err := filepath.Abs(filepath.Join("spec", "vectors"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range vectorFiles {
		read(t, filepath.Join("spec", "vectors", file))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		ping := exec.CommandContext(ctx, npm, "ping")
		ping.Dir = dir
		if ping.Run() != nil {
			t.Skip("no network: the registry of npm cannot be reached")
		}
		t.Fatalf("the libraries cannot be installed: %v\n%s", err, out)
	}
	verify := exec.CommandContext(ctx, node, "verify.mjs", vectors)
	verify.Dir = dir
	out, err := verify.CombinedOutput()
	if err != nil {
		t.Errorf("node verify.mjs: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}
