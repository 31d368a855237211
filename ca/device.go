package ca

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/protocol"
)

// States of devices: an active one may call.
const (
	deviceActive  = "active"
	deviceBlocked = "blocked"
)

// deviceRow is a phone in the database.
type deviceRow struct {
	account, state string
	passAt         int64 // Unix seconds
}

// readDevice answers a known device that is not blocked, sql.ErrNoRows for an
// unknown one.
func readDevice(ctx context.Context, q kmc.Querier, id string) (*deviceRow, error) {
	var d deviceRow
	err := q.QueryRowContext(ctx, `SELECT account, state, pass_at FROM ca_devices WHERE id = $1`, id).Scan(&d.account, &d.state, &d.passAt)
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
func (a *Authority) accountOf(ctx context.Context, tx *sql.Tx, deviceKey []byte, account string) (string, error) {
	id := protocol.DeviceID(deviceKey)
	known, err := readDevice(ctx, tx, id)
	if err == nil {
		return known.account, nil
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
		id, account, deviceKey, deviceActive, a.now().Unix()); err != nil {
		return "", fmt.Errorf("store device: %w", err)
	}
	return account, a.audit.append(ctx, tx, actorPhone, eventDevice, map[string]string{"device": id, "account": account})
}

func (a *Authority) issuePass(deviceKey []byte, account string, at time.Time) (string, error) {
	public, err := protocol.ParseKey(deviceKey)
	if err != nil {
		return "", err
	}
	alg, err := protocol.AlgOf(public)
	if err != nil {
		return "", err
	}
	return protocol.IssuePass(a.passKey, protocol.Pass{
		V: protocol.Version, Iss: a.PassIssuer(), Device: protocol.DeviceID(deviceKey), Alg: alg, Key: deviceKey, Account: account,
		IAT: at.Unix(), EXP: at.Add(time.Duration(a.config.PassLifetime)).Unix(),
	})
}

// RenewPass answers a caapi.PassRequest. The old pass may have expired at any
// time; the device must be known and not blocked. Within the first twenty-fourth
// of a pass's life asking again gives a pass of the same dates.
func (a *Authority) RenewPass(ctx context.Context, c SignedCall) (*caapi.PassAnswer, error) {
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
	verified, err := protocol.VerifyPass(a.passKey.Public(), c.Pass, time.Unix(old.IAT, 0))
	if err != nil {
		return nil, err
	}
	if err := protocol.VerifyProof(verified, c.Proof, a.call(c), a.now()); err != nil {
		return nil, err
	}
	device, err := a.renewDevice(ctx, verified.Device)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, protocol.Errorf(protocol.CodeUnauthorized, "the device is not known")
	}
	if err != nil {
		return nil, err
	}
	pass, err := a.issuePass(verified.Key, device.account, time.Unix(device.passAt, 0))
	return &caapi.PassAnswer{V: caapi.Version, Pass: pass}, err
}

// renewDevice notes that a device renews its pass. One that does so without end
// makes the log grow by an entry an hour, not by an entry a call.
func (a *Authority) renewDevice(ctx context.Context, id string) (*deviceRow, error) {
	device, err := readDevice(ctx, a.db.Reader(), id)
	if err == nil {
		err = a.deviceLives(ctx, id)
	}
	if err != nil || !a.passDue(device) {
		return device, err
	}
	err = a.db.Update(ctx, func(tx *sql.Tx) error {
		if device, err = readDevice(ctx, tx, id); err != nil || !a.passDue(device) {
			return err
		}
		device.passAt = a.now().Unix()
		if _, err := tx.ExecContext(ctx, `UPDATE ca_devices SET pass_at = $1 WHERE id = $2`, device.passAt, id); err != nil {
			return fmt.Errorf("renew pass: %w", err)
		}
		return a.audit.append(ctx, tx, actorPhone, eventPass, map[string]string{"device": id})
	})
	return device, err
}

// deviceLives refuses a phone that holds no certificate in force: after a
// reissue to another phone, a hold or a revocation it gets no pass.
func (a *Authority) deviceLives(ctx context.Context, id string) error {
	var live int
	err := a.db.Reader().QueryRowContext(ctx, `SELECT count(*) FROM ca_lineages l JOIN ca_certificates c ON c.serial = l.head
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
// where somebody else may have the phone. Blocking again changes nothing.
func (a *Authority) BlockDevice(ctx context.Context, id string) error {
	return a.db.Update(ctx, func(tx *sql.Tx) error {
		won, err := a.setDevice(ctx, tx, id, deviceBlocked, a.operator)
		if err != nil || !won {
			return err
		}
		pending, err := pendingOfDevice(ctx, tx, id)
		if err != nil {
			return err
		}
		for _, lineage := range pending {
			if err := a.withdraw(ctx, tx, lineage, "the device was blocked"); err != nil {
				return err
			}
		}
		return nil
	})
}

// UnblockDevice takes a phone into use again. It brings no certificate back.
func (a *Authority) UnblockDevice(ctx context.Context, id string) error {
	return a.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := a.setDevice(ctx, tx, id, deviceActive, a.operator)
		return err
	})
}

// setDevice moves a device to a state and reports whether it was in another.
func (a *Authority) setDevice(ctx context.Context, tx *sql.Tx, id, state, actor string) (bool, error) {
	won, err := changed(tx.ExecContext(ctx, `UPDATE ca_devices SET state = $1 WHERE id = $2 AND state <> $1`, state, id))
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
	event := eventDeviceBlocked
	if state == deviceActive {
		event = eventDeviceUnblocked
	}
	return true, a.audit.append(ctx, tx, actor, event, map[string]string{"device": id})
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

func (a *Authority) passDue(d *deviceRow) bool {
	age := a.now().Sub(time.Unix(d.passAt, 0))
	return age < 0 || age >= time.Duration(a.config.PassLifetime)/24
}
