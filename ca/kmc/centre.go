package kmc

import (
	"context"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/sm4"
	"github.com/emmansun/gmsm/smx509"
)

// KEKSize is the length of the key-encryption key in bytes (SM4).
const KEKSize = sm4.BlockSize

// ErrNoKey: there is no key pair under the id.
var ErrNoKey = errors.New("no such key pair")

// ErrWrapped: a record does not open: another key-encryption key, or an altered
// row.
var ErrWrapped = errors.New("key record does not open")

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations of the tables, for component "kmc".
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// Querier is a transaction or a database handle.
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Release is what the auditor is told when a private key leaves, enveloped.
type Release struct {
	ID      string
	Lineage string
	Reason  string // "issue", "renew", "change", "reissue" or "recovery"
	To      string // SM3 of the receiving signing key's SubjectPublicKeyInfo, hexadecimal
}

// Auditor records releases in the caller's transaction. An error stops the
// release.
type Auditor func(ctx context.Context, tx Querier, release Release) error

// Centre makes, keeps and releases key pairs. It is safe for concurrent use.
type Centre struct {
	aead  cipher.AEAD
	kek   string
	audit Auditor
	now   func() time.Time
}

// New makes a centre of its key-encryption key, of which no reference is kept.
func New(kek []byte, audit Auditor, now func() time.Time) (*Centre, error) {
	if audit == nil {
		return nil, errors.New("a key management centre without an auditor")
	}
	block, err := sm4.NewCipher(kek)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	// The name of the key says which one wraps a record, and nothing about it.
	name := sm3.Sum(append([]byte("bidseal/kmc kek name 1\x00"), kek...))
	return &Centre{aead: aead, kek: hex.EncodeToString(name[:8]), audit: audit, now: now}, nil
}

// Generate makes a key pair, stores it wrapped and returns its public key. The
// same id again is an error.
func (c *Centre) Generate(ctx context.Context, tx Querier, id, lineage string) (*ecdsa.PublicKey, error) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	defer wipe(key)
	spki, err := smx509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	plain := key.D.FillBytes(make([]byte, 32))
	defer clear(plain)
	nonce := make([]byte, c.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	wrapped := c.aead.Seal(nonce, nonce, plain, c.bound(id, lineage, spki))
	if _, err := tx.ExecContext(ctx, `INSERT INTO kmc_keys (id, lineage, kek, spki, wrapped, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		id, lineage, c.kek, spki, wrapped, c.now().Unix()); err != nil {
		return nil, fmt.Errorf("store key: %w", err)
	}
	stored := row{spki: spki}
	return stored.public()
}

// bound is the additional data of a record: everything that names it.
func (c *Centre) bound(id, lineage string, spki []byte) []byte {
	var all []byte
	for _, part := range [][]byte{[]byte("bidseal/kmc record 1"), []byte(c.kek), []byte(id), []byte(lineage), spki} {
		digest := sm3.Sum(part)
		all = append(all, digest[:]...)
	}
	return all
}

// PublicKey of a stored pair.
func (c *Centre) PublicKey(ctx context.Context, q Querier, id string) (*ecdsa.PublicKey, error) {
	r, err := c.read(ctx, q, id)
	if err != nil {
		return nil, err
	}
	return r.public()
}

// Respond answers a certification request (CSRResponse of GM/T 0092): the
// signing certificate, the private encryption key enveloped under its key, and
// the encryption certificate. Only these two certificates go in: the structure
// is a DER SET, which would not keep the order of a chain.
func (c *Centre) Respond(ctx context.Context, tx Querier, id, reason string, signing, encryption *smx509.Certificate) ([]byte, error) {
	key, err := c.release(ctx, tx, id, reason, signing)
	if err != nil {
		return nil, err
	}
	defer wipe(key)
	der, err := smx509.MarshalCSRResponse([]*smx509.Certificate{signing}, key, []*smx509.Certificate{encryption})
	if err != nil {
		return nil, fmt.Errorf("envelope key: %w", err)
	}
	return der, nil
}

// Envelope returns a stored private key as an SM2EnvelopedKey (GB/T 35276)
// under the key of a signing certificate: how earlier keys of a lineage reach a
// new phone.
func (c *Centre) Envelope(ctx context.Context, tx Querier, id, reason string, signing *smx509.Certificate) ([]byte, error) {
	to, ok := signing.PublicKey.(*ecdsa.PublicKey)
	if !ok || !sm2.IsSM2PublicKey(to) {
		return nil, errors.New("envelope key: the receiving certificate is not for an SM2 key")
	}
	key, err := c.release(ctx, tx, id, reason, signing)
	if err != nil {
		return nil, err
	}
	defer wipe(key)
	der, err := sm2.MarshalEnvelopedPrivateKey(rand.Reader, to, key)
	if err != nil {
		return nil, fmt.Errorf("envelope key: %w", err)
	}
	return der, nil
}

// release tells the auditor and then opens the record. The caller wipes the key.
func (c *Centre) release(ctx context.Context, tx Querier, id, reason string, signing *smx509.Certificate) (*sm2.PrivateKey, error) {
	r, err := c.read(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	to := sm3.Sum(signing.RawSubjectPublicKeyInfo)
	if err := c.audit(ctx, tx, Release{ID: id, Lineage: r.lineage, Reason: reason, To: hex.EncodeToString(to[:])}); err != nil {
		return nil, fmt.Errorf("record the release: %w", err)
	}
	return c.unwrap(id, r)
}

// row is one record.
type row struct {
	lineage, kek  string
	spki, wrapped []byte
}

func (r *row) public() (*ecdsa.PublicKey, error) {
	public, err := smx509.ParsePKIXPublicKey(r.spki)
	if err != nil {
		return nil, fmt.Errorf("key record: %w", err)
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok || !sm2.IsSM2PublicKey(key) {
		return nil, fmt.Errorf("key record: %w", ErrWrapped)
	}
	return key, nil
}

func (c *Centre) read(ctx context.Context, q Querier, id string) (*row, error) {
	var r row
	err := q.QueryRowContext(ctx, `SELECT lineage, kek, spki, wrapped FROM kmc_keys WHERE id = $1`, id).Scan(&r.lineage, &r.kek, &r.spki, &r.wrapped)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNoKey
	}
	if err != nil {
		return nil, fmt.Errorf("read key record: %w", err)
	}
	return &r, nil
}

func (c *Centre) unwrap(id string, r *row) (*sm2.PrivateKey, error) {
	size := c.aead.NonceSize()
	if r.kek != c.kek || len(r.wrapped) < size {
		return nil, ErrWrapped
	}
	plain, err := c.aead.Open(nil, r.wrapped[:size], r.wrapped[size:], c.bound(id, r.lineage, r.spki))
	if err != nil {
		return nil, ErrWrapped
	}
	defer clear(plain)
	key, err := sm2.NewPrivateKey(plain)
	if err != nil {
		return nil, ErrWrapped
	}
	public, err := r.public()
	if err != nil || !key.PublicKey.Equal(public) {
		wipe(key)
		return nil, ErrWrapped
	}
	return key, nil
}

// wipe overwrites a private key as far as the language lets us.
func wipe(key *sm2.PrivateKey) { clear(key.D.Bits()) }
