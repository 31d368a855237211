// Package cli is what all commands of the binaries have in common: exit codes and how a failure is reported, output as text
// or JSON, configuration files, secrets, trust files, an HTTP client and HTTP servers with limits.
//
// A command room imports cli and no other room.
package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// usageError is wrong use of the command line: exit code 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func Usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// NoArgs refuses positional arguments with exit code 2. Where cmd is a group of commands, they are a command that it does
// not have.
func NoArgs(cmd *cobra.Command, args []string) error { return ExactArgs(0)(cmd, args) }

func ExactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if n == 0 && len(args) > 0 && cmd.HasSubCommands() {
			return unknownCommand(cmd, args[0])
		}
		if len(args) != n {
			return Usagef("%s takes %d argument(s), got %d", cmd.CommandPath(), n, len(args))
		}
		return nil
	}
}

// WantJSON reports whether the caller asked for one JSON document on stdout.
func WantJSON(cmd *cobra.Command) bool {
	on, err := cmd.Flags().GetBool("json")
	return err == nil && on
}

// Emit writes a command's result: v as JSON with --json, otherwise what text prints.
func Emit(cmd *cobra.Command, v any, text func(w io.Writer)) error {
	if WantJSON(cmd) {
		return WriteJSON(cmd.OutOrStdout(), v)
	}
	text(cmd.OutOrStdout())
	return nil
}

func WriteJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// KeepHead writes a log's signed head to a file, for the next verification to
// be held against; an empty path keeps nothing.
func KeepHead(path string, head any) error {
	if path == "" {
		return nil
	}
	raw, err := json.Marshal(head)
	if err != nil {
		return fmt.Errorf("encode head: %w", err)
	}
	return pemfile.WritePrivate(path, raw)
}

// NewLogger logs to stderr, so that stdout stays the command's result.
func NewLogger(cmd *cobra.Command, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
}

// maxSecretFile bounds a password or passphrase file.
const maxSecretFile = 4 << 10

// ReadSecret takes a secret from a file, then from an environment variable
// (where env is not empty), then from a prompt on a terminal. A secret is never
// an argument. The caller wipes it.
func ReadSecret(cmd *cobra.Command, file, env, prompt string) ([]byte, error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read secret: %w", err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxSecretFile))
		if err != nil {
			return nil, fmt.Errorf("read secret: %w", err)
		}
		return bytes.TrimRight(b, "\r\n"), nil
	}
	if env != "" {
		if v, ok := os.LookupEnv(env); ok {
			return []byte(v), nil
		}
	}
	tty, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(tty.Fd())) {
		return nil, Usagef("no secret: give a file, or run on a terminal")
	}
	fmt.Fprint(cmd.ErrOrStderr(), prompt)
	b, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	return b, nil
}

// ReadNewSecret is readSecret for a secret that is set now: typed on a terminal
// it is asked for twice.
func ReadNewSecret(cmd *cobra.Command, file, env, prompt string) ([]byte, error) {
	secret, err := ReadSecret(cmd, file, env, prompt)
	if _, given := os.LookupEnv(env); err != nil || file != "" || env != "" && given {
		return secret, err
	}
	again, err := ReadSecret(cmd, "", "", "再次输入 / again: ")
	if err != nil {
		return nil, err
	}
	defer clear(again)
	if !bytes.Equal(secret, again) {
		clear(secret)
		return nil, Usagef("两次输入不一致 / the two entries differ")
	}
	return secret, nil
}

// LoadConfig reads a TOML file over the defaults that cfg holds; an unknown
// key is an error that names it.
func LoadConfig(path string, cfg any) error {
	if path == "" {
		return nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	dec := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields()
	if err := dec.Decode(cfg); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return Usagef("configuration %s: unknown keys:\n%s", path, strings.TrimSpace(strict.String()))
		}
		return Usagef("configuration %s: %v", path, err)
	}
	return nil
}

// PrintConfig writes the effective configuration as TOML (--print-config).
func PrintConfig(cmd *cobra.Command, cfg any) error {
	raw, err := toml.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	_, err = cmd.OutOrStdout().Write(raw)
	return err
}
