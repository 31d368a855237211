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

// deviceActive is the state of devices that may call.
const deviceActive = "active"

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

// accountOf is the account of a device; a new one is stored with a new opaque
// account, before anything refers to it.
func (a *Authority) accountOf(ctx context.Context, tx *sql.Tx, deviceKey []byte) (string, error) {
	id := protocol.DeviceID(deviceKey)
	known, err := readDevice(ctx, tx, id)
	if err == nil {
		return known.account, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return "", err
	}
	fresh, err := protocol.Random(16)
	if err != nil {
		return "", err
	}
	account := hex.EncodeToString(fresh)
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

func (a *Authority) passDue(d *deviceRow) bool {
	age := a.now().Sub(time.Unix(d.passAt, 0))
	return age < 0 || age >= time.Duration(a.config.PassLifetime)/24
}
