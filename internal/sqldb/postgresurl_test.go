package sqldb

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const password = "kennwort-4711"

func TestLocationsThatAreRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Source{
		"password":             {Location: "postgres://u:" + password + "@127.0.0.1/d"},
		"password parameter":   {Location: "postgres://u@127.0.0.1/d?password=" + password},
		"no URL":               {Location: "postgres://u:" + password + "@%zz/d"},
		"bad parameters":       {Location: "postgres://u@127.0.0.1/d?password=" + password + ";x=%zz"},
		"no port":              {Location: "postgres://u@127.0.0.1:kein/" + password},
		"no database":          {Location: "postgres://u@127.0.0.1"},
		"asynchronous commits": {Location: "postgres://u@127.0.0.1/d?synchronous_commit=off"},
		"bad sslmode":          {Location: "postgres://u@127.0.0.1/d?sslmode=vielleicht"},
		"missing root":         {Location: "postgres://u@127.0.0.1/d?sslmode=verify-full&sslrootcert=/nirgends/" + password},
		"no password file":     {Location: "postgres://u@127.0.0.1/d", PasswordFile: filepath.Join(t.TempDir(), "none")},
		"empty password":       {Location: "postgres://u@127.0.0.1/d", PasswordFile: empty},
	} {
		s.Component = "test"
		config, err := s.config()
		if err == nil {
			t.Errorf("%s was accepted: %+v", name, config)
		} else if strings.Contains(err.Error(), password) {
			t.Errorf("%s: the password stands in %v", name, err)
		}
	}
	if _, err := OpenPostgres(t.Context(), Source{Location: "postgres://u@127.0.0.1:1/d"}); err == nil || !strings.Contains(err.Error(), "no component") {
		t.Errorf("no component: %v", err)
	}
}

func TestSettingsOfAURL(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	for location, want := range map[string]struct {
		tls   string
		limit string
	}{
		"postgres://u@db.example.cn/d":                                   {"db.example.cn", "30000"},
		"postgres://u@db.example.cn/d?sslmode=disable":                   {"", "30000"},
		"postgres://u@127.0.0.1/d?statement_timeout=7":                   {"", "7"},
		"postgres://u@[::1]:5433/d?sslmode=disable":                      {"", "30000"},
		"postgres://u@localhost,db.example.cn/d":                         {"localhost", "30000"},
		"postgres:///d?host=/run/postgresql&user=u":                      {"", "30000"},
		"postgresql://u@10.0.0.7:6432/d?synchronous_commit=remote_apply": {"10.0.0.7", "30000"},
	} {
		config, err := Source{Location: location, Component: "test"}.config()
		if err != nil {
			t.Errorf("%s: %v", location, err)
			continue
		}
		verified := ""
		if c := config.TLSConfig; c != nil && !c.InsecureSkipVerify {
			verified = c.ServerName
		}
		if verified != want.tls || config.RuntimeParams["statement_timeout"] != want.limit || config.RuntimeParams["application_name"] != "bidseal test" {
			t.Errorf("%s: server verified as %q, parameters %v", location, verified, config.RuntimeParams)
		}
	}
}
