package iatptest

import (
	"net"
	"runtime"
	"strings"
	"testing"
)

// TestReserve: an address is somebody's until it is released, also while nobody listens
// there.
func TestReserve(t *testing.T) {
	addr, release, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("it is not free: %v", err)
	}
	ln.Close()
	second := strings.Replace(addr, "127.0.0.1", "127.0.0.2", 1)
	if ln, err := net.Listen("tcp", second); err == nil {
		ln.Close()
		if runtime.GOOS == "linux" { // others have no second address to hold it by
			t.Error("nobody holds it")
		}
	}
	release()
	if ln, err := net.Listen("tcp", addr); err != nil {
		t.Error(err)
	} else {
		ln.Close()
	}
}
