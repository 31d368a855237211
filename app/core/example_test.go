package core_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/protocol"
)

// A phone whose state lies in a folder scans a code and signs, with what a shell
// brings: a transport, and a person who reads and decides.
func Example() {
	scan := func(ctx context.Context, transport core.Transport, text string, password []byte) error {
		files, err := storage.OpenDir("phone")
		if err != nil {
			return err
		}
		keys, err := keystore.New(files, keystore.DefaultKDF())
		if err != nil {
			return err
		}
		phone, err := core.Open(ctx, core.Options{Files: files, Keys: keys, Transport: transport, App: "example/1.0",
			Now: time.Now, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		if err != nil {
			return err
		}
		session, err := phone.Scan(ctx, text)
		if err != nil {
			e := protocol.Lookup(protocol.CodeOf(err))
			return fmt.Errorf("%s，%s: %w", e.TitleZH, e.ActionZH, err)
		}
		defer session.Close()
		review := session.Review()
		for _, line := range review.Lines {
			fmt.Println(line)
		}
		if review.NeedsDigits {
			if err := session.EnterDigits(ctx, "42"); err != nil {
				return err
			}
		}
		outcome, err := session.Approve(ctx, review.Candidates[0].ID, password)
		if err != nil {
			return err
		}
		fmt.Println(outcome.State, outcome.Promise.Index)
		return nil
	}
	_ = scan
}
