package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/cmd/internal/phonecmd"
	"github.com/bidseal/bidseal/trust"
)

// dying is the storage of a phone that is switched off before its n-th write,
// and writes nothing from then on.
type dying struct {
	storage.Files
	left int
}

var errSwitchedOff = errors.New("switched off")

func (d *dying) Write(ctx context.Context, name string, data []byte) error {
	if d.left--; d.left < 0 {
		return errSwitchedOff
	}
	return d.Files.Write(ctx, name, data)
}

func (d *dying) Remove(ctx context.Context, name string) error {
	if d.left--; d.left < 0 {
		return errSwitchedOff
	}
	return d.Files.Remove(ctx, name)
}

// dyingPhone opens a phone over files with a password function that costs little.
func dyingPhone(t *testing.T, files storage.Files) *core.Core {
	t.Helper()
	store, err := keystore.New(files, keystore.KDF{Name: "argon2id", Time: 1, Memory: 1 << 10, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	phone, err := core.Open(t.Context(), core.Options{Files: files, Keys: store, Transport: phonecmd.NewTransport(), App: "test/1",
		Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return phone
}

// TestPhoneSwitchedOffInItsLife: whatever write is the last one before a phone
// goes off, the same file and password bring the one next certificate.
func TestPhoneSwitchedOffInItsLife(t *testing.T) {
	password, setup := []byte("switched-off-password"), core.Setup{Relay: "http://127.0.0.1:1", AppOrigins: []string{"http://127.0.0.1:2"}}
	authority := catest.New(t, catest.Options{})
	enrol := func(phone *core.Core, file *caapi.EnrolmentFile) []core.Certificate {
		t.Helper()
		certs, err := phone.Enrol(t.Context(), file, setup, password)
		if err != nil {
			t.Fatal(err)
		}
		return certs
	}
	for _, operation := range []string{caapi.OperationRenew, caapi.OperationReissue} {
		n := 0
		for died := true; died; n++ {
			first := storage.NewMemory()
			old := enrol(dyingPhone(t, first), authority.Code(caapi.Subject{Kind: string(trust.Person), Name: "张三"}, 60*24*time.Hour))
			files, file, err := storage.Files(first), (*caapi.EnrolmentFile)(nil), error(nil)
			if operation == caapi.OperationRenew {
				file, err = authority.Life.AuthoriseRenewal(t.Context(), audit.Local("test"), life.Renewal{Serial: old[0].Serial, Years: 1})
			} else {
				files = storage.NewMemory()
				file, err = authority.Life.AuthoriseReissue(t.Context(), audit.Local("test"), life.Reissue{Serial: old[0].Serial, NewEncryptionKey: true})
			}
			if err != nil {
				t.Fatal(err)
			}
			dyingPhone(t, files) // the device key is made
			_, err = dyingPhone(t, &dying{files, n}).Enrol(t.Context(), file, setup, password)
			died = err != nil
			if died {
				enrol(dyingPhone(t, files), file)
			}
			name := fmt.Sprintf("%s, off before write %d", operation, n+1)
			held, err := dyingPhone(t, files).Certificates(t.Context())
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			current := 0
			for _, c := range held {
				if c.Current {
					current++
				}
			}
			if want := map[string]int{caapi.OperationRenew: 4, caapi.OperationReissue: 3}[operation]; current != 2 || len(held) != want {
				t.Errorf("%s: %d certificates, %d current", name, len(held), current)
			}
			if left, err := files.List(t.Context(), "enrol-"); err != nil || len(left) > 0 && !strings.HasSuffix(left[0], "lock") {
				t.Errorf("%s: left behind %q, %v", name, left, err)
			}
			all, err := authority.Status.Certificates(t.Context(), old[0].Identity.Lineage, 100)
			if err != nil || len(all) != 4 {
				t.Errorf("%s: the authority issued %d certificates, %v", name, len(all), err)
			}
		}
		if n < 6 {
			t.Errorf("%s: only %d writes were tried", operation, n)
		}
	}
}
