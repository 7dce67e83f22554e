package once

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	iatp "github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/flight"
)

// answerOf is what the call with a key is answered: told apart by the key, and
// long enough to be torn.
func answerOf(key string) Answer {
	return Answer{Status: 200, Body: bytes.Repeat([]byte(key), 200), Receipt: "receipt of " + key}
}

// child is the process that TestKill kills. It makes calls with few keys from
// many goroutines; the effect of a call is a line in a file that the kernel
// keeps. It says which keys it has answered, after it might.
func child(dir string) int {
	if err := work(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func work(dir string) error {
	log, err := flight.Open(dir, flight.Options{SnapshotEvery: 50, SegmentBytes: 1 << 16})
	if err != nil {
		return err
	}
	book, err := Open(log, dir, Options{})
	if err != nil {
		return err
	}
	effects, err := os.OpenFile(filepath.Join(dir, "effects"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := recoverAll(log, book, dir); err != nil {
		return err
	}
	fmt.Println("ready")
	failed := make(chan error, 8)
	for range 8 {
		go func() {
			for {
				if err := oneCall(log, book, effects, fmt.Sprint("key-", rand.IntN(3000))); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

// recoverAll gives the calls that were interrupted an outcome, as the effects
// say: a stand-in for asking the agent.
func recoverAll(log *flight.Log, book *Book, dir string) error {
	for _, c := range book.Interrupted() {
		key := string(c.Trace)
		e := &flight.Entry{Type: flight.Response, TraceID: c.Trace}
		if n, err := countEffects(dir); err != nil {
			return err
		} else if n[key] == 0 {
			c.Free(e)
		} else {
			c.Finish(e, answerOf(key))
		}
		if _, err := log.Append(e, flight.Durable); err != nil {
			return err
		}
		c.End()
	}
	return nil
}

func oneCall(log *flight.Log, book *Book, effects *os.File, key string) error {
	s, err := book.Begin(Scope{Principal: "p"}, key, [32]byte([]byte(fmt.Sprintf("%032s", key))))
	switch {
	case err != nil:
		return err
	case s.State == InFlight:
		return nil
	case s.State == Done:
		return say(key, s.Answer)
	case s.State != New:
		return fmt.Errorf("%s is %v", key, s.State)
	}
	defer s.Claim.End()
	request := &flight.Entry{Type: flight.Request, TraceID: iatp.TraceID(key)}
	s.Claim.Hold(request)
	if _, err := log.Append(request, flight.Durable); err != nil {
		return err
	}
	if _, err := effects.WriteString(key + "\n"); err != nil {
		return err
	}
	response := &flight.Entry{Type: flight.Response, TraceID: iatp.TraceID(key)}
	s.Claim.Finish(response, answerOf(key))
	if _, err := log.Append(response, flight.Durable); err != nil {
		return err
	}
	return say(key, answerOf(key))
}

func say(key string, a Answer) error {
	if want := answerOf(key); !bytes.Equal(a.Body, want.Body) || a.Receipt != want.Receipt {
		return fmt.Errorf("%s was answered %q", key, a.Receipt)
	}
	_, err := fmt.Println(key)
	return err
}

func countEffects(dir string) (map[string]int, error) {
	data, err := os.ReadFile(filepath.Join(dir, "effects"))
	if err != nil {
		return nil, err
	}
	n := make(map[string]int)
	for _, key := range strings.Fields(string(data)) {
		n[key]++
	}
	return n, nil
}

// TestKill kills the process at any point, many times, in one data directory:
// no key has two effects, and what was answered once is answered so for ever.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	answered := make(map[string]bool)
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		for _, key := range runAndKill(t, dir, time.Duration(rand.Int64N(int64(60*time.Millisecond)))) {
			answered[key] = true
		}
		effects, err := countEffects(dir)
		if err != nil {
			t.Fatal(err)
		}
		for key, n := range effects {
			if n != 1 {
				t.Fatalf("%s had %d effects", key, n)
			}
		}
		for key := range answered {
			if effects[key] != 1 {
				t.Fatalf("%s was answered and had no effect", key)
			}
		}
	}
	if len(answered) == 0 {
		t.Fatal("no call was answered: the test shows nothing")
	}
	log, err := flight.Open(dir, flight.Options{})
	if err != nil {
		t.Fatal(err)
	}
	book, err := Open(log, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := recoverAll(log, book, dir); err != nil {
		t.Fatal(err)
	}
	for key := range answered {
		s, err := book.Begin(Scope{Principal: "p"}, key, [32]byte([]byte(fmt.Sprintf("%032s", key))))
		if err != nil || s.State != Done || s.Answer.Receipt != answerOf(key).Receipt {
			t.Errorf("%s was answered, and is %v now, %v", key, s.State, err)
		}
	}
	if err := errors.Join(book.Close(), log.Close()); err != nil {
		t.Fatal(err)
	}
	if r, err := flight.Verify(dir, ""); err != nil || !r.OK() {
		t.Errorf("the log does not verify: %+v, %v", r, err)
	}
	t.Logf("%d keys answered", len(answered))
}

// runAndKill runs a child, kills it some time after it is ready, and returns
// what it said.
func runAndKill(t *testing.T, dir string, after time.Duration) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), "ONCE_TEST_CHILD="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "ready" {
			time.AfterFunc(after, func() { cmd.Process.Kill() })
			continue
		}
		said = append(said, lines.Text())
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the child ended by itself: %v\n%s", err, &stderr)
	}
	return said
}
