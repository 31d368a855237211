package ca

import (
	"context"
	"crypto"
	"crypto/hkdf"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca/assist"
	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/smx509"
)

// Keys of the password assist: the key-encryption key of its records, and the
// key by which the operator signs real-name tokens until a service of its own
// does. A folder that was made without them gets them when it is opened.
const (
	keyAssist   = "assist"
	keyRealName = "realname"
)

// assistance is the authority's part in passwords.
type assistance struct {
	passwords    *assist.Service
	realName     crypto.Signer
	personSecret []byte
}

// loadAssist makes the password-assist server of the opened authority.
func (a *Authority) loadAssist(ctx context.Context, ring *keyring, trusted []crypto.PublicKey) error {
	if err := errors.Join(ring.ensure(keyAssist, drawAssistKEK), ring.ensure(keyRealName, drawRealNameKey)); err != nil {
		return err
	}
	kek, err := ring.read(keyAssist)
	if err != nil {
		return err
	}
	defer clear(kek)
	if a.realName, err = ring.readSigner(ctx, keyRealName); err != nil {
		return err
	}
	if a.personSecret, err = hkdf.Key(sm3.New, kek, nil, "bidseal/ca real-name person 1", sm3.Size); err != nil {
		return fmt.Errorf("key %s: %w", keyAssist, err)
	}
	a.passwords, err = assist.New(assist.Options{
		DB: a.db, KEK: kek, Device: a.assistDevice, Audit: a.auditAssist, URL: a.publicURL,
		RealName: append([]crypto.PublicKey{a.realName.Public()}, trusted...), Now: a.now,
	})
	if a.assist == nil {
		a.assist = a
	}
	return err
}

// Passwords is the password-assist server.
func (a *Authority) Passwords() *assist.Service { return a.passwords }

// DestroyAssist implements AssistDestroyer.
func (a *Authority) DestroyAssist(ctx context.Context, d Destruction) error {
	return a.db.Update(ctx, func(tx *sql.Tx) error { return a.passwords.DestroyForDevice(ctx, tx, d.Device, "reissue "+d.Issuance) })
}

func drawAssistKEK() ([]byte, error) { return protocol.Random(assist.KEKSize) }

func drawRealNameKey() ([]byte, error) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", keyRealName, err)
	}
	defer clear(key.D.Bits())
	return smx509.MarshalPKCS8PrivateKey(key)
}

// assistDevice is a phone that may ask for help with its password.
func (a *Authority) assistDevice(ctx context.Context, q assist.Querier, id string) (*assist.Device, error) {
	known, err := readDevice(ctx, q, id)
	if err != nil {
		return nil, err
	}
	device := assist.Device{Account: known.account}
	if err := q.QueryRowContext(ctx, `SELECT key FROM ca_devices WHERE id = $1`, id).Scan(&device.Key); err != nil {
		return nil, fmt.Errorf("read device: %w", err)
	}
	return &device, nil
}

func (a *Authority) auditAssist(ctx context.Context, tx assist.Querier, e assist.Event) error {
	actor := actorPhone
	if e.Name == assist.Destroyed {
		actor = actorAuthority
	}
	content := map[string]any{"device": e.Device}
	if e.Keystore != "" {
		content["keystore"], content["epoch"] = e.Keystore, e.Epoch
	}
	if e.Reason != "" {
		content["reason"] = e.Reason
	}
	return a.audit.append(ctx, tx, actor, string(e.Name), content)
}

const eventRealName = "realname.token"

// RealNameRequest is what an operator attests who has checked a person.
type RealNameRequest struct {
	Purpose realname.Purpose
	// Serial of a certificate on the person's phone, upper-case hexadecimal; or
	// account and device.
	Serial          string
	Account, Device string
	// Name and IDNumber of the person who was checked, so that later checks are
	// held to the same one. Both empty stand for the account's holder.
	Name, IDNumber string
}

// RealNameToken issues a token on the word of the operator, until a service that
// asks the registers does.
func (a *Authority) RealNameToken(ctx context.Context, r RealNameRequest) (text string, expires time.Time, err error) {
	if r.Serial != "" {
		if r.Account, r.Device, err = a.deviceOfCertificate(ctx, r.Serial); err != nil {
			return "", time.Time{}, err
		}
	}
	device, err := readDevice(ctx, a.db.Reader(), r.Device)
	if err != nil || device.account != r.Account {
		return "", time.Time{}, protocol.Errorf(protocol.CodeNotFound, "no device %.40q of account %.40q that may call", r.Device, r.Account)
	}
	name, number := r.Name, r.IDNumber
	if name == "" && number == "" {
		name = "account " + r.Account
	}
	now := a.now()
	text, err = realname.Issue(a.realName, realname.Token{Purpose: r.Purpose, Account: r.Account, Device: r.Device,
		Person: realname.Person(a.personSecret, name, number)}, now)
	if err != nil {
		return "", time.Time{}, err
	}
	err = a.db.Update(ctx, func(tx *sql.Tx) error {
		return a.audit.append(ctx, tx, a.operator, eventRealName, map[string]string{"purpose": string(r.Purpose), "account": r.Account, "device": r.Device})
	})
	return text, now.Add(realname.Life), err
}

// deviceOfCertificate finds the phone for which a certificate was issued.
func (a *Authority) deviceOfCertificate(ctx context.Context, serial string) (account, device string, err error) {
	var key []byte
	if err := a.db.Reader().QueryRowContext(ctx, `SELECT account, device_key FROM ca_issuances WHERE sign_serial = $1 OR encrypt_serial = $1`,
		strings.ToUpper(serial)).Scan(&account, &key); err != nil || len(key) == 0 {
		return "", "", protocol.Errorf(protocol.CodeNotFound, "no phone got certificate %.40q", serial)
	}
	return account, protocol.DeviceID(key), nil
}
