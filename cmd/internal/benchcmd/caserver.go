package benchcmd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/bench"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// The measured side of `bench ca`: an authority in a process of its own, made by a ceremony with the real parameters,
// on an embedded database that syncs every commit.

// caBenchOrder is one order: "start", "codes", "load", "issue", "crl" or "usage".
type caBenchOrder struct {
	Do      string `json:"do"`
	Count   int    `json:"count,omitempty"`   // of codes, of certificates to load or to issue
	Revoked int    `json:"revoked,omitempty"` // of those to load
	Workers int    `json:"workers,omitempty"`
	Shards  int    `json:"shards,omitempty"` // of the revocation lists, for "start"
	Name    string `json:"name,omitempty"`   // of the revocation list
}

// caBenchAnswer is the answer; Error where the order failed.
type caBenchAnswer struct {
	Error   string        `json:"error,omitempty"`
	CA      string        `json:"ca,omitempty"`
	Issuing []byte        `json:"issuing,omitempty"`
	Codes   []string      `json:"codes,omitempty"`
	Took    time.Duration `json:"took,omitempty"`
	Bytes   int           `json:"bytes,omitempty"` // of a revocation list
	CPU     time.Duration `json:"cpu,omitempty"`   // user and system time: of what was ordered, or so far
}

func newBenchCAServerCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "ca-server", Short: "The measured side of bench ca, started by it", Hidden: true,
		Example: `  echo '{"do":"start"}' | bidseal-bench ca-server --dir /tmp/bench`, Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return cli.Usagef("--dir is needed")
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			g, ctx := errgroup.WithContext(ctx)
			s := &caBenchServer{dir: filepath.Join(dir, "ca"), log: cli.NewLogger(cmd, slog.LevelError)}
			err := bench.Serve(cmd.InOrStdin(), cmd.OutOrStdout(), func(o caBenchOrder) (*caBenchAnswer, error) { return s.do(ctx, g, o) },
				func(err error) *caBenchAnswer { return &caBenchAnswer{Error: err.Error()} })
			cancel()
			return errors.Join(err, g.Wait(), s.close())
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "empty folder for its data")
	return cmd
}

type caBenchServer struct {
	dir       string
	log       *slog.Logger
	authority *ca.Authority
}

func (s *caBenchServer) close() error {
	if s.authority == nil {
		return nil
	}
	return s.authority.Close()
}

func (s *caBenchServer) do(ctx context.Context, g *errgroup.Group, o caBenchOrder) (*caBenchAnswer, error) {
	switch o.Do {
	case "start":
		return s.start(ctx, g, o.Shards)
	case "codes":
		codes, err := s.codes(ctx, o.Count)
		return &caBenchAnswer{Codes: codes}, err
	case "load":
		took, err := s.load(ctx, o.Count, o.Revoked)
		return &caBenchAnswer{Took: took}, err
	case "issue":
		return s.issue(ctx, o.Count, o.Workers)
	case "crl":
		return s.crl(ctx, o.Name)
	case "usage":
		cpu, err := bench.CPU()
		return &caBenchAnswer{CPU: cpu}, err
	}
	return nil, fmt.Errorf("no such order: %q", o.Do)
}

func (s *caBenchServer) start(ctx context.Context, g *errgroup.Group, shards int) (*caBenchAnswer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	config := folder.DefaultConfig()
	config.Name, config.Organisation, config.BaseURL = "BidSeal bench", "BidSeal bench", "http://"+listener.Addr().String()
	config.CRLShards, config.DocumentationOIDs = shards, true
	pass := []byte("bench")
	if _, err := folder.Init(ctx, folder.Ceremony{Dir: s.dir, Config: config, Passphrase: pass, Now: time.Now, Operator: "bench"}); err != nil {
		return nil, err
	}
	if s.authority, err = ca.Open(ctx, s.dir, ca.Options{Passphrase: pass, Now: time.Now, Logger: s.log}); err != nil {
		return nil, err
	}
	cli.ServeUntil(ctx, g, listener, nil, ca.NewHandler(s.authority, server.Options{Limits: server.Limits{PerSecond: -1}}), s.log, nil)
	return &caBenchAnswer{CA: s.authority.Folder.URL(), Issuing: s.authority.Status.Current().Certificate().Raw}, nil
}

func (s *caBenchServer) codes(ctx context.Context, n int) ([]string, error) {
	codes := make([]string, n)
	for i := range codes {
		file, err := s.authority.Life.NewEnrolmentCode(ctx, audit.Local("bench"), life.CodeRequest{Subject: benchHolder()})
		if err != nil {
			return nil, err
		}
		codes[i] = file.Code
	}
	return codes, nil
}

// issue measures dual issuances without HTTP: everything else of an enrolment happens as ever, proof and certification
// request are checked, every commit is synced. Codes, keys and requests are made before.
func (s *caBenchServer) issue(ctx context.Context, n, workers int) (*caBenchAnswer, error) {
	codes, err := s.codes(ctx, n)
	if err != nil {
		return nil, err
	}
	calls := make([]life.SignedCall, n)
	for i, code := range codes {
		e, err := newBenchEnrolment(s.authority.Folder.URL(), code)
		if err != nil {
			return nil, err
		}
		calls[i] = life.SignedCall{Path: caapi.PathEnrol, Body: e.body, Proof: e.proof}
	}
	return s.timed(func() error {
		return concurrently(ctx, n, workers, func(ctx context.Context, i int) error {
			_, err := s.authority.Life.Enrol(ctx, calls[i])
			return err
		})
	})
}

// timed measures what do takes and costs.
func (s *caBenchServer) timed(do func() error) (*caBenchAnswer, error) {
	before, err := bench.CPU()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return nil, err
	}
	took := time.Since(began)
	after, err := bench.CPU()
	return &caBenchAnswer{Took: took, CPU: after - before}, err
}

// crl measures the next list of a name: the entries are read, signed, stored and entered in the audit log.
func (s *caBenchServer) crl(ctx context.Context, name string) (*caBenchAnswer, error) {
	var list *status.CRL
	answer, err := s.timed(func() (err error) {
		list, err = s.authority.Life.SignCRL(ctx, audit.Local("bench"), name)
		return err
	})
	if err != nil {
		return nil, err
	}
	answer.Bytes = len(list.DER)
	return answer, nil
}

// load fills the authority's database with issued certificates, some of them revoked. Issuing a million one by one would
// take hours, so this is a shortcut past the authority: rows of a real certificate are copied under random serial
// numbers, with its real DER, and entries in the audit log, requests and escrowed keys are left out. No figure depends on
// those; the size of the table and its indices, and the entries of the list, are what a real authority would have.
func (s *caBenchServer) load(ctx context.Context, issued, revoked int) (took time.Duration, err error) {
	began := time.Now()
	if _, err := s.issue(ctx, 1, 1); err != nil {
		return 0, err
	}
	db, err := sqldb.OpenSQLite(ctx, filepath.Join(s.dir, "ca.db"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	statement, err := copyStatement(ctx, db)
	if err != nil {
		return 0, err
	}
	const batch = 20_000
	for done := 0; done < issued; done += batch {
		err := db.Update(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, statement, done, min(done+batch, issued), revoked, time.Now().Unix())
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("load certificates: %w", err)
		}
	}
	err = db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE ca_counters SET value = max(value, $1) WHERE name = 'revocation'`, revoked)
		return err
	})
	return time.Since(began), err
}

// copyStatement copies the newest signing certificate's row for each number from $1 to below $2; those below $3 are
// revoked at $4 for a compromised key.
func copyStatement(ctx context.Context, db *sqldb.DB) (string, error) {
	rows, err := db.Reader().QueryContext(ctx, `SELECT name FROM pragma_table_info('ca_certificates')`)
	if err != nil {
		return "", fmt.Errorf("load certificates: %w", err)
	}
	defer rows.Close()
	made := map[string]string{
		"serial": "'5' || substr(hex(randomblob(17)), 2)", "digest": "lower(hex(randomblob(32)))", "lineage": "lower(hex(randomblob(16)))",
		"state": "CASE WHEN n < $3 THEN 'revoked' ELSE 'good' END", "revoked_at": "CASE WHEN n < $3 THEN $4 ELSE 0 END",
		"reason": "CASE WHEN n < $3 THEN 1 ELSE 0 END", "revision": "CASE WHEN n < $3 THEN n + 1 ELSE 0 END",
	}
	var columns, values []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return "", fmt.Errorf("load certificates: %w", err)
		}
		value, ok := made[name]
		if !ok {
			value = "c." + name
		}
		columns, values = append(columns, name), append(values, value)
	}
	return `WITH RECURSIVE numbers (n) AS (SELECT $1 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < $2)
		INSERT INTO ca_certificates (` + strings.Join(columns, ", ") + `) SELECT ` + strings.Join(values, ", ") + `
		FROM numbers, (SELECT * FROM ca_certificates WHERE issuance <> '' ORDER BY profile DESC LIMIT 1) c`, rows.Err()
}

// concurrently does n things with some workers.
func concurrently(ctx context.Context, n, workers int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range workers {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := do(ctx, int(i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// benchEnrolment is a phone's call for a certificate, ready to be sent.
type benchEnrolment struct {
	signing *sm2.PrivateKey
	device  *ecdsa.PrivateKey
	body    []byte
	proof   string
}

func newBenchEnrolment(authority, code string) (*benchEnrolment, error) {
	signing, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	request := caapi.EnrolRequest{V: caapi.Version, Code: code}
	if request.RequestID, err = protocol.Random(caapi.RequestIDSize); err != nil {
		return nil, err
	}
	if request.CSR, err = smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, signing); err != nil {
		return nil, fmt.Errorf("certification request: %w", err)
	}
	if request.DeviceKey, err = protocol.MarshalKey(device.Public()); err != nil {
		return nil, err
	}
	e := &benchEnrolment{signing: signing, device: device}
	if e.body, err = protocol.EncodeJSON(request); err != nil {
		return nil, err
	}
	e.proof, err = protocol.NewProof(device, "", protocol.Call{Method: http.MethodPost, URL: authority + caapi.PathEnrol, Body: e.body}, time.Now())
	return e, err
}

// check looks whether the answer holds a certificate for the key.
func (e *benchEnrolment) check(raw []byte, issuing *smx509.Certificate) (*smx509.Certificate, error) {
	var answer caapi.EnrolAnswer
	if err := protocol.DecodeJSON(raw, &answer); err != nil {
		return nil, err
	}
	response, err := smx509.ParseCSRResponse(e.signing, answer.Response)
	if err != nil {
		return nil, fmt.Errorf("enrolment answer: %w", err)
	}
	cert := response.SignCerts[0]
	if err := cert.CheckSignatureFrom(issuing); err != nil {
		return nil, fmt.Errorf("issued certificate %s: %w", trust.SerialHex(cert.SerialNumber), err)
	}
	return cert, nil
}
