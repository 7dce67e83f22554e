package iatp

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
)

func TestPrivateKey(t *testing.T) {
	k, err := GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParsePrivateKey(text)
	if err != nil || again.Public() != k.Public() || again.Thumbprint() != k.Public().Thumbprint() {
		t.Errorf("read again: %v, %v, want %v", again, err, k)
	}
	if !k.Public().Verify([]byte("message"), again.Sign([]byte("message"))) {
		t.Error("the signature does not verify")
	}
	if k.Public().Verify([]byte("another"), again.Sign([]byte("message"))) {
		t.Error("the signature fits another message")
	}
	if _, err := GeneratePrivateKey(strings.NewReader("short")); err == nil {
		t.Error("made a key of five bytes")
	}
}

func TestParsePrivateKeyRefuses(t *testing.T) {
	good := must(signingKey(t, "travel").MarshalPEM())
	x25519 := must(x509.MarshalPKCS8PrivateKey(must(ecdh.X25519().GenerateKey(rand.Reader))))
	for name, text := range map[string]string{
		"empty":        "",
		"text":         "secret",
		"a public key": strings.ReplaceAll(string(good), "PRIVATE", "PUBLIC"),
		"two keys":     string(good) + string(good),
		"text after":   string(good) + "x",
		"another kind": string(pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: x25519})),
		"damaged":      string(pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: []byte("secret")})),
	} {
		k, err := ParsePrivateKey([]byte(text))
		if err == nil {
			t.Errorf("%s: %v, want an error", name, k)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error quotes the text: %v", name, err)
		}
	}
}

// However a key is printed, also within a structure that hides it, nobody reads
// the secret.
func TestPrivateKeyIsNotPrinted(t *testing.T) {
	k := signingKey(t, "travel")
	seed := k.secret().Seed()
	hidden := struct {
		name string
		key  PrivateKey
	}{"a", k}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U"} {
		for _, value := range []any{k, &k, []PrivateKey{k}, map[string]PrivateKey{"k": k}, hidden, &hidden} {
			text := strings.ToLower(fmt.Sprintf(verb, value))
			for _, secret := range []string{hex.EncodeToString(seed[:8]), strings.Trim(fmt.Sprint(seed[:4]), "[]"), string(seed[:4]), fmt.Sprintf("%#v", seed[:3])[7:]} {
				if strings.Contains(text, strings.ToLower(strings.Trim(secret, "{}"))) {
					t.Errorf("%s of %T shows the secret: %s", verb, value, text)
				}
			}
		}
	}
	if text, err := json.Marshal(map[string]any{"key": k}); err == nil {
		t.Errorf("json.Marshal = %s, want an error", text)
	}
}

func TestZeroPrivateKey(t *testing.T) {
	var k PrivateKey
	if text, err := k.MarshalPEM(); err == nil {
		t.Errorf("MarshalPEM() = %s", text)
	}
	if k.Public() != (Key{}) || k.Thumbprint() != "" || fmt.Sprint(k) != `private key of ""` {
		t.Errorf("the zero key is %v", k)
	}
	defer func() {
		if recover() == nil {
			t.Error("the zero key signs")
		}
	}()
	k.Sign(nil)
}

func FuzzParsePrivateKey(f *testing.F) {
	f.Add(must(signingKey(f, "travel").MarshalPEM()))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := ParsePrivateKey(text)
		if err != nil {
			return
		}
		again, err := ParsePrivateKey(must(k.MarshalPEM()))
		if err != nil || again.Public() != k.Public() {
			t.Errorf("%q: written and read again: %v, %v", text, again, err)
		}
	})
}
