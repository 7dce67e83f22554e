package sidecar_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/inter-agent-trust/iatp"
	"github.com/inter-agent-trust/iatp/iatptest"
	"github.com/inter-agent-trust/iatp/sidecar"
)

// secretFiles are what the owner of a directory keeps to himself: who has these can
// test a guess, and open what is sealed.
var secretFiles = []string{"store.key", "log.key", "operator.token", "answer-keys", "undo-keys"}

// A loot is everything that an attacker has, as the 32-byte values that may be
// digests of something.
type loot map[[32]byte]bool

// take adds a text: each 32 bytes of it, and each 32 bytes of what it spells in
// base64 or in hexadecimal digits.
func (l loot) take(text []byte) {
	l.windows(text)
	for _, word := range spelled.FindAll(text, -1) {
		if raw, err := hex.DecodeString(string(word)); err == nil {
			l.windows(raw)
		}
		word := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(string(word)), "=")
		if raw, err := base64.RawStdEncoding.DecodeString(word); err == nil {
			l.windows(raw)
		}
	}
}

var spelled = regexp.MustCompile(`[A-Za-z0-9+/_-]{43,}=*`)

func (l loot) windows(text []byte) {
	for i := 0; i+32 <= len(text); i++ {
		l[[32]byte(text[i:i+32])] = true
	}
}

// guess tries all secrets of six digits in a text, and returns those of which the
// loot has a digest.
func (l loot) guess(text string) []string {
	var found []string
	for n := range 1_000_000 {
		secret := fmt.Sprintf("%06d", n)
		one := sha256.Sum256([]byte(fmt.Sprintf(text, secret)))
		if two := sha256.Sum256(one[:]); l[one] || l[two] {
			found = append(found, secret)
		}
	}
	return found
}

// TestSecretsCannotBeGuessed copies what two sidecars keep of a call, but for their
// secret keys, and all that their operators can export. Whoever has that and knows
// everything of a request and its answer but six digits cannot find these, although
// there are a million guesses only.
func TestSecretsCannotBeGuessed(t *testing.T) {
	const request, answer = `{"task":"unlock","code":"%s"}`, `{"opened":"%s"}`
	asked, told := "482913", "730651"
	a, b := iatptest.Pair(t, func(a, b *iatptest.Options) {
		a.Manifest, b.Manifest = iatptest.Bank, iatptest.Bank // which keep nothing
		b.Agent = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, answer, told)
		})
		for _, o := range []*iatptest.Options{a, b} {
			configure := o.Config
			o.Config = func(c *sidecar.Config) { configure(c); c.AllowUnbackedClaims = true }
		}
	})
	body := fmt.Sprintf(request, asked)
	r := post(t, a, "/proxy/b", body, map[string]string{"Idempotency-Key": "unlock-1"})
	if r.Status != 200 || string(r.Body) != fmt.Sprintf(answer, told) {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	clean(t, "the call", r)
	post(t, a, "/proxy/b", body, map[string]string{"Idempotency-Key": "unlock-1"}) // repeated

	have := loot{}
	var all []byte
	for _, n := range []*iatptest.Node{a, b} {
		// GET /trace/{id} is not among them: it opens the receipts of one trace for those who may see it.
		for _, path := range []string{"/trace", "/log/export", "/metrics", "/peers"} {
			all = append(all, n.Get(t, path, n.Operator(t)).Body...)
		}
		if err := n.Stop(); err != nil { // which writes snapshots
			t.Fatal(err)
		}
		err := filepath.WalkDir(n.Data, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if slices.Contains(secretFiles, d.Name()) {
				if d.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
			if d.IsDir() {
				return nil
			}
			text, err := os.ReadFile(path)
			all = append(append(all, text...), '\n')
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, secret := range []string{asked, told} {
		if strings.Contains(string(all), secret) {
			t.Errorf("%s stands there as it is", secret)
		}
	}
	have.take(all)
	if found := append(have.guess(request), have.guess(answer)...); len(found) > 0 {
		t.Errorf("guessed: %v", found)
	}

	// The receipt, which only the caller has, is what it takes.
	_, claims, _ := strings.Cut(r.Header.Get("Iatp-Receipt"), ".")
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(claims, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	have.take(text)
	if found := have.guess(answer); !slices.Equal(found, []string{told}) {
		t.Errorf("with the receipt: %v; want the secret of the answer, or this test sees nothing", found)
	}
	sum := iatp.DigestOf([]byte(body))
	have.take([]byte(sum.ContentDigest()))
	if found := have.guess(request); !slices.Equal(found, []string{asked}) {
		t.Errorf("with a plain digest: %v; want the secret of the request", found)
	}
}
