package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says which Redis to use. Only Addresses is required.
type Config struct {
	// Addresses are host:port. One is a single server, several are the seeds of a
	// Cluster; where Master is set, they are Sentinels. An address that starts
	// with / is a Unix socket.
	Addresses []string
	// Master is the name under which the Sentinels know the server.
	Master string
	// Cluster says that a single address is a Cluster's seed.
	Cluster bool
	// Database is the number of the database; a Cluster has only 0.
	Database int
	// Username and PasswordFile are those of an ACL user. The file is read for
	// each new connection, so that a password changes without a restart.
	Username     string
	PasswordFile string
	// SentinelUsername and SentinelPasswordFile are for the Sentinels themselves.
	SentinelUsername     string
	SentinelPasswordFile string
	// TLS is used for all connections where it is set.
	TLS *tls.Config
	// Prefix of all keys and channels, "bidseal" where empty. Relays that share a
	// Redis and nothing else have different ones.
	Prefix string
	// Timeout of one attempt to connect, send or receive; 3 s where 0. A call is
	// tried four times at most and never beyond its context.
	Timeout time.Duration
	// PoolSize is the number of connections per server; 10 per processor where 0.
	PoolSize int
	// Clock gives the store's time where the servers' clocks shall not: for tests.
	Clock  func() time.Time
	Logger *slog.Logger
}

const (
	defaultPrefix  = "bidseal"
	defaultTimeout = 3 * time.Second
	maxPassword    = 4 << 10 // bytes of a password file
)

func (c Config) check() error {
	if len(c.Addresses) == 0 {
		return errors.New("redis: no address")
	}
	clustered := c.Cluster || len(c.Addresses) > 1 && c.Master == ""
	switch {
	case c.Cluster && c.Master != "":
		return errors.New("redis: a Cluster has no master's name")
	case clustered && c.Database != 0:
		return errors.New("redis: a Cluster has no database but 0")
	case c.Username != "" && c.PasswordFile == "":
		return errors.New("redis: a user name without a password file")
	case c.Timeout < 0 || c.PoolSize < 0 || c.Database < 0:
		return errors.New("redis: a negative number")
	case strings.ContainsAny(c.Prefix, "{} *?[]"):
		return fmt.Errorf("redis: prefix %q has characters with a meaning of their own", c.Prefix)
	}
	return nil
}

// options are those of the client: every call ends with its context or after a
// few attempts, on any kind of server.
func (c Config) options() (*redis.UniversalOptions, error) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	o := &redis.UniversalOptions{
		Addrs: c.Addresses, MasterName: c.Master, IsClusterMode: c.Cluster, DB: c.Database, TLSConfig: c.TLS, PoolSize: c.PoolSize,
		DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, PoolTimeout: timeout, ContextTimeoutEnabled: true,
		MaxRetries: 3, MinRetryBackoff: 8 * time.Millisecond, MaxRetryBackoff: 512 * time.Millisecond, MaxRedirects: 5,
		SentinelUsername: c.SentinelUsername,
		// What a managed service announces about its maintenance is not needed: a lost connection is repaired.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if c.PasswordFile != "" {
		if _, err := readPassword(c.PasswordFile); err != nil {
			return nil, err
		}
		o.CredentialsProviderContext = func(context.Context) (string, string, error) {
			password, err := readPassword(c.PasswordFile)
			return c.Username, password, err
		}
	}
	if c.SentinelPasswordFile != "" {
		password, err := readPassword(c.SentinelPasswordFile)
		if err != nil {
			return nil, err
		}
		o.SentinelPassword = password
	}
	return o, nil
}

// readPassword reads the first line of a file.
func readPassword(path string) (string, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return "", fmt.Errorf("redis: read password: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPassword))
	if err != nil {
		return "", fmt.Errorf("redis: read password: %w", err)
	}
	defer clear(raw)
	if len(raw) == maxPassword {
		return "", fmt.Errorf("redis: %s is too large for a password", path)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("redis: the password in %s is empty", path)
	}
	return line, nil
}
