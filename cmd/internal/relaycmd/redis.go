package relaycmd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/redisstore"
	"github.com/bidseal/bidseal/relay/sqlstore"
)

// relayRedis says which Redis several nodes of a relay share; redisstore.Config
// says what the fields mean. File names are relative to the configuration.
type relayRedis struct {
	Addresses            []string `toml:"addresses"` // one server, or a Cluster's seeds, or Sentinels
	Master               string   `toml:"master"`    // name of the server that the Sentinels watch
	Cluster              bool     `toml:"cluster"`   // a single address is a Cluster's seed
	Database             int      `toml:"database"`
	Username             string   `toml:"username"`
	PasswordFile         string   `toml:"password_file"`
	SentinelUsername     string   `toml:"sentinel_username"`
	SentinelPasswordFile string   `toml:"sentinel_password_file"`
	TLS                  bool     `toml:"tls"`
	CAFile               string   `toml:"ca_file"`     // the only roots that are trusted; empty: the system's
	CertFile             string   `toml:"cert_file"`   // of this client
	KeyFile              string   `toml:"key_file"`    // of this client
	ServerName           string   `toml:"server_name"` // in the servers' certificates, where it is not the address
	Prefix               string   `toml:"prefix"`
	Timeout              string   `toml:"timeout"` // of one attempt, "3s"
	PoolSize             int      `toml:"pool_size"`
}

// relayState is where a relay keeps open challenges and how its nodes wake each other.
type relayState struct {
	store relay.Store
	bus   relay.Bus
	close func() error
}

// OneNode keeps the state in the database of ends.
func OneNode(store *sqlstore.Store) relayState {
	return relayState{store: store, bus: relay.NewLocalBus(), close: func() error { return nil }}
}

// open opens what the configuration names.
func (c Config) open(store *sqlstore.Store, log *slog.Logger) (relayState, error) {
	if len(c.Redis.Addresses) == 0 {
		if c.Redis.named() {
			return relayState{}, cli.Usagef("redis: the configuration names no addresses")
		}
		return OneNode(store), nil
	}
	config, err := c.redis()
	if err != nil {
		return relayState{}, err
	}
	config.Logger = log.With("part", "redis")
	state, err := redisstore.Open(config)
	if err != nil {
		return relayState{}, err
	}
	bus, err := state.Bus()
	if err != nil {
		return relayState{}, err
	}
	return relayState{store: state, bus: bus, close: state.Close}, nil
}

// named reports whether something of the section is set.
func (r relayRedis) named() bool {
	r.Addresses = nil
	return !reflect.ValueOf(r).IsZero()
}

// maxKeptEnded leaves room for all deadlines within redisstore.MaxKept.
const maxKeptEnded = redisstore.MaxKept / 2

func (c Config) redis() (redisstore.Config, error) {
	r := c.Redis
	out := redisstore.Config{Addresses: r.Addresses, Master: r.Master, Cluster: r.Cluster, Database: r.Database, Username: r.Username,
		PasswordFile: c.optional(r.PasswordFile), SentinelUsername: r.SentinelUsername, SentinelPasswordFile: c.optional(r.SentinelPasswordFile),
		Prefix: r.Prefix, PoolSize: r.PoolSize}
	limits, err := c.limits()
	if err != nil {
		return out, err
	}
	if limits.KeepEnded > maxKeptEnded {
		return out, cli.Usagef("keep_ended: with redis at most %s", maxKeptEnded)
	}
	if r.Timeout != "" {
		if out.Timeout, err = time.ParseDuration(r.Timeout); err != nil || out.Timeout <= 0 {
			return out, cli.Usagef("redis: timeout %q: want a duration, for example 3s", r.Timeout)
		}
	}
	out.TLS, err = c.redisTLS()
	return out, err
}

func (c Config) redisTLS() (*tls.Config, error) {
	r := c.Redis
	if !r.TLS {
		if r.CAFile != "" || r.CertFile != "" || r.KeyFile != "" || r.ServerName != "" {
			return nil, cli.Usagef("redis: certificates and server_name need tls = true")
		}
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: r.ServerName}
	if r.CAFile != "" {
		raw, err := pemfile.ReadBounded(c.path(r.CAFile), maxRedisRoots)
		if err != nil {
			return nil, err
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(raw) {
			return nil, cli.Usagef("redis: %s has no certificate", c.path(r.CAFile))
		}
	}
	if r.CertFile != "" || r.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(c.path(r.CertFile), c.path(r.KeyFile))
		if err != nil {
			return nil, fmt.Errorf("redis: client certificate: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

const maxRedisRoots = 1 << 20

// optional is path for a name that may be empty.
func (c Config) optional(name string) string {
	if name == "" {
		return ""
	}
	return c.path(name)
}
