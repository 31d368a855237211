package life

import (
	"context"
	"crypto"
	"crypto/hkdf"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca/assist"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/realname"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm3"
)

// openAssist makes the password-assist server of the opened authority.
func (l *Life) openAssist(kek []byte, trusted []crypto.PublicKey) (err error) {
	if l.personSecret, err = hkdf.Key(sm3.New, kek, nil, "bidseal/ca real-name person 1", sm3.Size); err != nil {
		return fmt.Errorf("secret of real-name persons: %w", err)
	}
	l.passwords, err = assist.New(assist.Options{
		DB: l.db, KEK: kek, Device: l.assistDevice, Audit: l.auditAssist, URL: l.publicURL,
		RealName: append([]crypto.PublicKey{l.realName.Public()}, trusted...), Now: l.now,
	})
	if l.assist == nil {
		l.assist = l
	}
	return err
}

// Passwords is the password-assist server.
func (l *Life) Passwords() *assist.Service { return l.passwords }

// DestroyAssist implements AssistDestroyer.
func (l *Life) DestroyAssist(ctx context.Context, d Destruction) error {
	return l.db.Update(ctx, func(tx *sql.Tx) error { return l.passwords.DestroyForDevice(ctx, tx, d.Device, "reissue "+d.Issuance) })
}

// assistDevice is a phone that may ask for help with its password.
func (l *Life) assistDevice(ctx context.Context, q assist.Querier, id string) (*assist.Device, error) {
	known, err := ReadDevice(ctx, q, id)
	if err != nil {
		return nil, err
	}
	device := assist.Device{Account: known.Account}
	if err := q.QueryRowContext(ctx, `SELECT key FROM ca_devices WHERE id = $1`, id).Scan(&device.Key); err != nil {
		return nil, fmt.Errorf("read device: %w", err)
	}
	return &device, nil
}

func (l *Life) auditAssist(ctx context.Context, tx assist.Querier, e assist.Event) error {
	actor := audit.ActorPhone
	if e.Name == assist.Destroyed {
		actor = audit.ActorAuthority
	}
	content := map[string]any{"device": e.Device}
	if e.Keystore != "" {
		content["keystore"], content["epoch"] = e.Keystore, e.Epoch
	}
	if e.Reason != "" {
		content["reason"] = e.Reason
	}
	return l.audit.Append(ctx, tx, actor, string(e.Name), content)
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

// RealNameToken issues a token on the operator's statement, in place of a service
// that queries the registers.
func (l *Life) RealNameToken(ctx context.Context, actor audit.Actor, r RealNameRequest) (text string, expires time.Time, err error) {
	if r.Serial != "" {
		if r.Account, r.Device, err = l.deviceOfCertificate(ctx, r.Serial); err != nil {
			return "", time.Time{}, err
		}
	}
	device, err := ReadDevice(ctx, l.db.Reader(), r.Device)
	if err != nil || device.Account != r.Account {
		return "", time.Time{}, protocol.Errorf(protocol.CodeNotFound, "no device %.40q of account %.40q that may call", r.Device, r.Account)
	}
	name, number := r.Name, r.IDNumber
	if name == "" && number == "" {
		name = "account " + r.Account
	}
	now := l.now()
	text, err = realname.Issue(l.realName, realname.Token{Purpose: r.Purpose, Account: r.Account, Device: r.Device,
		Person: realname.Person(l.personSecret, name, number)}, now)
	if err != nil {
		return "", time.Time{}, err
	}
	err = l.db.Update(ctx, func(tx *sql.Tx) error {
		return l.audit.Append(ctx, tx, actor, eventRealName, map[string]string{"purpose": string(r.Purpose), "account": r.Account, "device": r.Device})
	})
	return text, now.Add(realname.Life), err
}

// deviceOfCertificate finds the phone for which a certificate was issued.
func (l *Life) deviceOfCertificate(ctx context.Context, serial string) (account, device string, err error) {
	var key []byte
	if err := l.db.Reader().QueryRowContext(ctx, `SELECT account, device_key FROM ca_issuances WHERE sign_serial = $1 OR encrypt_serial = $1`,
		strings.ToUpper(serial)).Scan(&account, &key); err != nil || len(key) == 0 {
		return "", "", protocol.Errorf(protocol.CodeNotFound, "no phone got certificate %.40q", serial)
	}
	return account, protocol.DeviceID(key), nil
}
