package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/inter-agent-trust/iatp/client"
)

// Where things are when nobody says otherwise.
const (
	defaultSidecar = "http://127.0.0.1:8001"
	defaultData    = "./iatp-data"
)

// reach is how a command gets at a sidecar, or at the directory it left.
type reach struct {
	sidecar string
	token   string
	data    string
}

func (r *reach) register(flags *pflag.FlagSet, offline bool) {
	flags.StringVar(&r.sidecar, "sidecar", defaultSidecar, "address of the running sidecar, http://host:port or unix:PATH")
	flags.StringVar(&r.token, "token", "", "file with the operator's token (default DATA/operator.token)")
	usage := "data directory of the sidecar, for its operator token"
	if offline {
		usage = "read this data directory instead of asking a sidecar"
	}
	flags.StringVar(&r.data, "data", "", usage)
}

// client returns a client that has the operator's token if there is one.
//
// A token that nobody named goes to this machine only: --sidecar with a foreign
// address must not be enough to hand it out.
func (r *reach) client() (*client.Client, error) {
	path := r.token
	if path == "" && onThisMachine(r.sidecar) {
		path = filepath.Join(r.dataDir(), "operator.token")
	}
	var o client.Options
	if path != "" {
		token, err := client.ReadToken(path)
		if err != nil && (r.token != "" || !errors.Is(err, os.ErrNotExist)) {
			return nil, err
		}
		o.Token = token
	}
	c, err := client.New(r.sidecar, o)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// dataDir is the directory that was named, or the one iatp run makes.
func (r *reach) dataDir() string {
	switch {
	case r.data != "":
		return r.data
	case os.Getenv("IATP_DATA") != "":
		return os.Getenv("IATP_DATA")
	}
	return defaultData
}

// onThisMachine reports whether an address can only be this machine's.
func onThisMachine(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// advise adds what to do about an error of a client.
func (r *reach) advise(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		if e.Status == 401 {
			return fmt.Errorf("the sidecar at %s wants the operator's token: name its file with --token, or its data directory with --data", r.sidecar)
		}
		return err
	}
	if _, ok := errors.AsType[net.Error](err); !ok { // it was reached
		return err
	}
	return fmt.Errorf("%w; is one running there? Name another with --sidecar", err)
}
