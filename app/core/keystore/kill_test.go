package keystore_test

import (
	"context"
	"errors"
	"testing"

	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/app/core/storage"
)

var errKilled = errors.New("killed")

// killer ends the program at the n-th of its outside actions: writes and calls,
// before or after the action itself.
type killer struct {
	storage.Files
	w     *world
	left  int
	after bool
}

func (k *killer) at(do func() error) error {
	if k.left--; k.left == 0 && !k.after || k.left < 0 {
		return errKilled
	}
	err := do()
	if k.left == 0 {
		return errors.Join(err, errKilled)
	}
	return err
}

func (k *killer) Write(ctx context.Context, name string, data []byte) error {
	return k.at(func() error { return k.Files.Write(ctx, name, data) })
}

func (k *killer) Remove(ctx context.Context, name string) error {
	return k.at(func() error { return k.Files.Remove(ctx, name) })
}

// TestKilledWhileThePasswordChanges: whatever was reached, one of the two
// passwords opens the keys afterwards.
func TestKilledWhileThePasswordChanges(t *testing.T) {
	killedAtEachAction(t, "another-password", func(s *keystore.Store, _ *world) error {
		return s.ChangePassword(t.Context(), []byte(right), []byte("another-password"))
	})
}

func TestKilledWhileThePasswordIsReset(t *testing.T) {
	killedAtEachAction(t, "another-password", func(s *keystore.Store, w *world) error {
		return s.ResetPassword(t.Context(), w.token(), []byte("another-password"))
	})
}

// A reset that was killed goes on with its token, which is good for one request.
func TestResetGoesOnWithItsToken(t *testing.T) {
	const next = "another-password"
	for _, after := range []bool{false, true} {
		for n, done := 1, false; !done; n++ {
			w := assisted(t)
			token := w.token()
			done = killAt(w, n, after, func(s *keystore.Store) error { return s.ResetPassword(t.Context(), token, []byte(next)) })
			if w.use(next) != nil {
				if err := w.open().ResetPassword(t.Context(), token, []byte(next)); err != nil {
					t.Fatalf("killed at action %d (after: %v): %v", n, after, err)
				}
			}
			must(t, w.use(next))
		}
	}
}

func TestKilledWhileTheFileIsUpgraded(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			w := newWorld(t)
			pair(t, w.openWithoutServer(), "r1", 10)
			done := killAt(w, n, after, func(s *keystore.Store) error { return s.Upgrade(t.Context(), []byte(right)) })
			must(t, w.use(right))
			must(t, w.use(right))
			if done {
				break
			}
		}
	}
}

// killAt runs do until its n-th outside action; done is true where it has fewer.
func killAt(w *world, n int, after bool, do func(*keystore.Store) error) (done bool) {
	k := &killer{Files: w.files, w: w, left: n, after: after}
	w.intercept = func(_ string, _ []byte, serve func() ([]byte, error)) (raw []byte, err error) {
		killed := k.at(func() error { raw, err = serve(); return nil })
		if killed != nil {
			return nil, errKilled
		}
		return raw, err
	}
	_ = do(w.openOn(k)) // what it says nobody hears any more
	w.intercept = nil
	return k.left > 0
}

func killedAtEachAction(t *testing.T, next string, do func(*keystore.Store, *world) error) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			w := assisted(t)
			done := killAt(w, n, after, func(s *keystore.Store) error { return do(s, w) })
			old, fresh := w.use(right), w.use(next)
			if (old == nil) == (fresh == nil) {
				t.Fatalf("killed at action %d (after: %v): old %v, new %v", n, after, old, fresh)
			}
			valid := right
			if fresh == nil {
				valid = next
			}
			must(t, w.use(valid))
			if w.failures() != 0 {
				t.Errorf("killed at action %d: the server counts %d after a success", n, w.failures())
			}
			must(t, w.open().ChangePassword(t.Context(), []byte(valid), []byte("the-last-password")))
			must(t, w.use("the-last-password"))
			if done {
				if valid != next {
					t.Error("it was not done in the end")
				}
				break
			}
		}
	}
}
