package life

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
)

// States of devices: an active one may call.
const (
	deviceActive  = "active"
	deviceBlocked = "blocked"
)

// deviceRow is a phone in the database.
type deviceRow struct {
	Account, state string
	passAt         int64 // Unix seconds
}

// ReadDevice returns a known device that is not blocked, sql.ErrNoRows for an
// unknown one.
func ReadDevice(ctx context.Context, q kmc.Querier, id string) (*deviceRow, error) {
	var d deviceRow
	err := q.QueryRowContext(ctx, `SELECT account, state, pass_at FROM ca_devices WHERE id = $1`, id).Scan(&d.Account, &d.state, &d.passAt)
	if err != nil {
		return nil, fmt.Errorf("read device: %w", err)
	}
	if d.state != deviceActive {
		return nil, protocol.Errorf(protocol.CodeForbidden, "the device is blocked")
	}
	return &d, nil
}

// accountOf is the account of a device. A new one is stored before anything
// refers to it, with the account given: that of the lineage that moves to it, or
// a new opaque one if empty. A device keeps the account it has.
func (l *Life) accountOf(ctx context.Context, tx *sql.Tx, deviceKey []byte, account string) (string, error) {
	id := protocol.DeviceID(deviceKey)
	known, err := ReadDevice(ctx, tx, id)
	if err == nil {
		return known.Account, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return "", err
	}
	if account == "" {
		fresh, err := protocol.Random(16)
		if err != nil {
			return "", err
		}
		account = hex.EncodeToString(fresh)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_devices (id, account, key, state, created_at) VALUES ($1, $2, $3, $4, $5)`,
		id, account, deviceKey, deviceActive, l.now().Unix()); err != nil {
		return "", fmt.Errorf("store device: %w", err)
	}
	return account, l.audit.Append(ctx, tx, audit.ActorPhone, audit.EventDevice, map[string]string{"device": id, "account": account})
}

func (l *Life) issuePass(deviceKey []byte, account string, at time.Time) (string, error) {
	public, err := protocol.ParseKey(deviceKey)
	if err != nil {
		return "", err
	}
	alg, err := protocol.AlgOf(public)
	if err != nil {
		return "", err
	}
	return protocol.IssuePass(l.passKey, protocol.Pass{
		V: protocol.Version, Iss: l.passIssuer, Device: protocol.DeviceID(deviceKey), Alg: alg, Key: deviceKey, Account: account,
		IAT: at.Unix(), EXP: at.Add(l.passLifetime).Unix(),
	})
}

// RenewPass answers a caapi.PassRequest. The old pass may have expired at any
// time; the device must be known and not blocked. Within the first twenty-fourth
// of a pass's life asking again gives a pass of the same dates.
func (l *Life) RenewPass(ctx context.Context, c SignedCall) (*caapi.PassAnswer, error) {
	var request caapi.PassRequest
	if err := protocol.DecodeJSON(c.Body, &request); err != nil {
		return nil, err
	}
	if request.V != caapi.Version {
		return nil, protocol.Errorf(protocol.CodeMalformed, "version")
	}
	old, err := protocol.ReadPass(c.Pass)
	if err != nil {
		return nil, err
	}
	verified, err := protocol.VerifyPass(l.passKey.Public(), c.Pass, time.Unix(old.IAT, 0))
	if err != nil {
		return nil, err
	}
	if err := protocol.VerifyProof(verified, c.Proof, l.call(c), l.now()); err != nil {
		return nil, err
	}
	device, err := l.renewDevice(ctx, verified.Device)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, protocol.Errorf(protocol.CodeUnauthorized, "the device is not known")
	}
	if err != nil {
		return nil, err
	}
	pass, err := l.issuePass(verified.Key, device.Account, time.Unix(device.passAt, 0))
	return &caapi.PassAnswer{V: caapi.Version, Pass: pass}, err
}

// renewDevice notes that a device renews its pass. One that does so without end
// makes the log grow by an entry an hour, not by an entry a call.
func (l *Life) renewDevice(ctx context.Context, id string) (*deviceRow, error) {
	device, err := ReadDevice(ctx, l.db.Reader(), id)
	if err == nil {
		err = l.deviceLives(ctx, id)
	}
	if err != nil || !l.passDue(device) {
		return device, err
	}
	err = l.db.Update(ctx, func(tx *sql.Tx) error {
		if device, err = ReadDevice(ctx, tx, id); err != nil || !l.passDue(device) {
			return err
		}
		device.passAt = l.now().Unix()
		if _, err := tx.ExecContext(ctx, `UPDATE ca_devices SET pass_at = $1 WHERE id = $2`, device.passAt, id); err != nil {
			return fmt.Errorf("renew pass: %w", err)
		}
		return l.audit.Append(ctx, tx, audit.ActorPhone, audit.EventPass, map[string]string{"device": id})
	})
	return device, err
}

// deviceLives refuses a phone that holds no certificate in force: after a
// reissue to another phone, a hold or a revocation it gets no pass.
func (l *Life) deviceLives(ctx context.Context, id string) error {
	var live int
	err := l.db.Reader().QueryRowContext(ctx, `SELECT count(*) FROM ca_lineages l JOIN ca_certificates c ON c.serial = l.head
		WHERE l.device = $1 AND c.state = 'good'`, id).Scan(&live)
	if err != nil {
		return fmt.Errorf("certificates of the device: %w", err)
	}
	if live == 0 {
		return protocol.Errorf(protocol.CodeForbidden, "the device holds no certificate in force")
	}
	return nil
}

// BlockDevice takes a phone out of use: it gets no pass and no certificate, and
// an issuance that is under way for it is refused. Passes that it has end within
// their lifetime. Its certificates stay as they are; revoke or hold them, too,
// where somebody else may have the phone. It is idempotent.
func (l *Life) BlockDevice(ctx context.Context, actor audit.Actor, id string) error {
	return l.db.Update(ctx, func(tx *sql.Tx) error {
		won, err := l.setDevice(ctx, tx, actor, id, deviceBlocked)
		if err != nil || !won {
			return err
		}
		pending, err := pendingOfDevice(ctx, tx, id)
		if err != nil {
			return err
		}
		for _, lineage := range pending {
			if err := l.withdraw(ctx, tx, actor, lineage, "the device was blocked"); err != nil {
				return err
			}
		}
		return nil
	})
}

// UnblockDevice lifts the block of a phone. It does not restore certificates.
func (l *Life) UnblockDevice(ctx context.Context, actor audit.Actor, id string) error {
	return l.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := l.setDevice(ctx, tx, actor, id, deviceActive)
		return err
	})
}

// setDevice moves a device to a state and reports whether it was in another.
func (l *Life) setDevice(ctx context.Context, tx *sql.Tx, actor audit.Actor, id, state string) (bool, error) {
	won, err := sqldb.Changed(tx.ExecContext(ctx, `UPDATE ca_devices SET state = $1 WHERE id = $2 AND state <> $1`, state, id))
	if err != nil {
		return false, fmt.Errorf("set device: %w", err)
	}
	if !won {
		var there int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM ca_devices WHERE id = $1`, id).Scan(&there); err != nil {
			return false, fmt.Errorf("set device: %w", err)
		}
		if there == 0 {
			return false, protocol.Errorf(protocol.CodeNotFound, "no such device")
		}
		return false, nil
	}
	event := audit.EventDeviceBlocked
	if state == deviceActive {
		event = audit.EventDeviceUnblocked
	}
	return true, l.audit.Append(ctx, tx, actor, event, map[string]string{"device": id})
}

// pendingOfDevice are the lineages for which a device waits.
func pendingOfDevice(ctx context.Context, tx *sql.Tx, id string) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT lineage FROM ca_issuances WHERE device = $1 AND state = 'pending' ORDER BY lineage`, id)
	if err != nil {
		return nil, fmt.Errorf("issuances of the device: %w", err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var lineage string
		if err := rows.Scan(&lineage); err != nil {
			return nil, fmt.Errorf("issuances of the device: %w", err)
		}
		all = append(all, lineage)
	}
	return all, rows.Err()
}

func (l *Life) passDue(d *deviceRow) bool {
	age := l.now().Sub(time.Unix(d.passAt, 0))
	return age < 0 || age >= l.passLifetime/24
}
