//go:build redis

package redisstore

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
	"time"

	"github.com/bidseal/bidseal/relay/redisstore/redistest"
	"github.com/bidseal/bidseal/relay/sqlstore"
	"github.com/bidseal/bidseal/relay/storetest"
)

// backend is Redis for the state and a file for the ends.
func backend(t *testing.T, config Config, path string) storetest.Backend {
	t.Helper()
	store, err := Open(config)
	must(t, err)
	ends, err := sqlstore.Open(t.Context(), path, config.Clock)
	must(t, err)
	closed := false
	shut := func() {
		if closed {
			return
		}
		closed = true
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		if err := ends.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(shut)
	return storetest.Backend{State: store, Nonces: store, Counters: store, Outcomes: ends, Reopen: func(t *testing.T) storetest.Backend {
		shut()
		return backend(t, config, path)
	}}
}

// conform runs the suite on servers, each test under a prefix of its own.
func conform(t *testing.T, config Config) {
	t.Helper()
	storetest.Run(t, func(t *testing.T, clock func() time.Time) storetest.Backend {
		config := config
		config.Prefix, config.Clock = "bidseal:"+freshPrefix(t), clock
		return backend(t, config, newEnds(t))
	})
}

func TestConformanceSingle(t *testing.T) {
	conform(t, Config{Addresses: []string{redistest.Start(t).Addr}})
}

// securedConfig is for a server that speaks TLS and knows one user.
func securedConfig(t testing.TB, s redistest.Secured) Config {
	t.Helper()
	pem, err := os.ReadFile(s.CAFile)
	must(t, err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate")
	}
	return Config{Addresses: []string{s.Addr}, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Username: s.Username, PasswordFile: s.PasswordFile}
}

// TestConformanceTLS runs as the user whose permissions the operator's guide
// names: nothing needs more.
func TestConformanceTLS(t *testing.T) {
	s := redistest.TLS(t)
	config := securedConfig(t, s)
	conform(t, config)
	config.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if _, err := openStore(t, config).ID(t.Context()); err == nil {
		t.Fatal("a server of an unknown root was trusted")
	}
}

func TestConformanceSentinel(t *testing.T) {
	sentinel, _, _ := redistest.Sentinel(t)
	conform(t, Config{Addresses: []string{sentinel.Addr}, Master: "relay"})
}

func TestConformanceCluster(t *testing.T) {
	conform(t, Config{Addresses: redistest.Addrs(redistest.Cluster(t)...)})
}
