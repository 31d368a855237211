package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/bidseal/bidseal/internal/pemfile"
)

// demoNet holds the demo's listeners: each part on its own port.
type demoNet struct {
	Host   string         `json:"host"`
	Secure bool           `json:"secure"`
	Ports  map[string]int `json:"ports"`

	listeners map[string]net.Listener
}

// demoPartNames in the order of their ports: BASE, BASE+1, ...
func demoPartNames() []string { return []string{"platform", "relay", "ca", "app", "trust"} }

const demoNetFile = "addresses.json"

// listenDemo opens every part's port. The addresses stand in certificates and
// in the phones' settings, so a data folder keeps those of its first start:
// base 0 takes them again, any other base has to be the same.
func listenDemo(data, host, bind string, base int, secure bool) (*demoNet, error) {
	n := &demoNet{Host: host, Secure: secure, Ports: map[string]int{}, listeners: map[string]net.Listener{}}
	old, err := readDemoNet(data)
	if err != nil {
		return nil, err
	}
	for i, name := range demoPartNames() {
		if name == "trust" && !secure {
			continue
		}
		port := base
		if base != 0 {
			port += i
		}
		if old != nil {
			if old.Host != host || old.Secure != secure || (base != 0 && old.Ports[name] != port) {
				return nil, fmt.Errorf("the data in %s was made for %s; start with the same --host, --port and --lan, or choose another --data", data, old.origin("platform"))
			}
			port = old.Ports[name]
		}
		l, err := net.Listen("tcp", net.JoinHostPort(bind, strconv.Itoa(port)))
		if err != nil {
			n.close()
			return nil, fmt.Errorf("the demo's %s needs port %d: %w", name, port, err)
		}
		n.listeners[name] = l
		n.Ports[name] = l.Addr().(*net.TCPAddr).Port
	}
	return n, n.remember(data)
}

// origin is scheme://host:port of a part, as browsers and phones see it.
func (n *demoNet) origin(name string) string {
	scheme := "http"
	if n.Secure && name != "trust" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(n.Host, strconv.Itoa(n.Ports[name]))
}

func (n *demoNet) close() {
	for _, l := range n.listeners {
		_ = l.Close()
	}
}

func readDemoNet(data string) (*demoNet, error) {
	raw, err := os.ReadFile(filepath.Join(data, demoNetFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var n demoNet
	if err == nil {
		err = json.Unmarshal(raw, &n)
	}
	if err != nil {
		return nil, fmt.Errorf("read the demo's addresses: %w", err)
	}
	return &n, nil
}

func (n *demoNet) remember(data string) error {
	raw, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("remember the demo's addresses: %w", err)
	}
	return pemfile.WritePrivate(filepath.Join(data, demoNetFile), raw)
}
