package flight

import "testing"

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		l, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 300 {
			if _, err := l.Append(&Entry{Type: Request, TraceID: "abc", Payload: []byte(`{"b":1,"a":2}`), Body: []byte("x")}, Durable); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
