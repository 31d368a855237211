package core

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/protocol"
)

// The phone's files. Those that exist once per challenge or enrolment have a
// prefix.
const (
	settingsFile  = "settings.json"
	passFile      = "pass"
	pinsFile      = "pins.json"
	enrolPrefix   = "enrol-"  // + digest of the code
	claimPrefix   = "claim-"  // + cid
	outboxPrefix  = "outbox-" // + cid
	recordPrefix  = "record-" // + time + cid
	fileExtension = ".json"
)

// writeJSON stores v as strict JSON.
func writeJSON(ctx context.Context, files storage.Files, name string, v any) error {
	raw, err := protocol.EncodeJSON(v)
	if err != nil {
		return err
	}
	defer clear(raw)
	if err := files.Write(ctx, name, raw); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// readJSON reads what writeJSON stored; found is false where there is no file.
func readJSON(ctx context.Context, files storage.Files, name string, v any) (found bool, err error) {
	raw, err := files.Read(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	defer clear(raw)
	if err := protocol.DecodeJSON(raw, v); err != nil {
		return false, protocol.Errorf(protocol.CodeKeystoreInvalid, "%s: %v", name, err)
	}
	return true, nil
}
