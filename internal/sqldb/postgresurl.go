package sqldb

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// config reads the URL. What pgx says of one that cannot be read may quote it
// and is not passed on.
func (s Source) config() (*pgx.ConnConfig, error) {
	u, err := url.Parse(s.Location)
	if err != nil {
		return nil, errors.New("the URL cannot be read")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the URL's parameters cannot be read")
	}
	if _, given := u.User.Password(); given || query.Has("password") {
		return nil, errors.New("a password stands in the URL: put it into a file")
	}
	if s.PasswordFile != "" {
		if _, err := readPassword(s.PasswordFile); err != nil {
			return nil, err
		}
	}
	if !query.Has("sslmode") && os.Getenv("PGSSLMODE") == "" && !local(u, query) {
		query.Set("sslmode", "verify-full")
		u.RawQuery = query.Encode()
	}
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, errors.New("the URL is none of a PostgreSQL database, or names files that cannot be read")
	}
	if config.Database == "" || u.Path == "" || u.Path == "/" {
		return nil, errors.New("the URL names no database")
	}
	if !query.Has("connect_timeout") {
		config.ConnectTimeout = connectTimeout
	}
	config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary // what was written is read at once
	return config, s.session(config.RuntimeParams)
}

// session sets what holds in every connection unless the URL says otherwise.
func (s Source) session(params map[string]string) error {
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	for name, value := range map[string]string{
		"application_name": "bidseal " + s.Component, "statement_timeout": milliseconds(statementLimit), "lock_timeout": milliseconds(lockLimit),
		"idle_in_transaction_session_timeout": milliseconds(idleLimit), "synchronous_commit": "on",
	} {
		if params[name] == "" {
			params[name] = value
		}
	}
	if mode := params["synchronous_commit"]; mode != "on" && mode != "remote_apply" {
		return fmt.Errorf("synchronous_commit %q: what was answered would not be durable", mode)
	}
	return nil
}

// local reports whether all hosts are this machine.
func local(u *url.URL, query url.Values) bool {
	hosts := query.Get("host")
	if hosts == "" {
		hosts = u.Host
	}
	if hosts == "" {
		hosts = os.Getenv("PGHOST")
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.Trim(host, "[]")
		ip := net.ParseIP(host)
		if host != "" && host != "localhost" && !strings.HasPrefix(host, "/") && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

const maxPassword = 4 << 10 // bytes of a password file

// readPassword reads the first line of a file.
func readPassword(path string) (string, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPassword))
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	defer clear(raw)
	if len(raw) == maxPassword {
		return "", fmt.Errorf("%s is too large for a password", path)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("the password in %s is empty", path)
	}
	return line, nil
}
