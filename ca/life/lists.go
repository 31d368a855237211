package life

import (
	"context"
	"database/sql"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/status"
)

// CRL returns a list by its name, see Status.CRLNames. A new one is signed when
// the status of a certificate on it changed since the last, or when a quarter of
// its life is over; that is the authority's doing in the audit log.
func (l *Life) CRL(ctx context.Context, name string) (*status.CRL, error) {
	list, due, err := l.status.CRL(ctx, name)
	if err != nil || !due {
		return list, err
	}
	made, err, _ := l.lists.Do(name, func() (any, error) {
		return l.makeCRL(context.WithoutCancel(ctx), audit.ActorAuthority, name, false)
	})
	if err != nil {
		return nil, err
	}
	return made.(*status.CRL), nil //nolint:forcetypeassert // the function above gives nothing else
}

// SignCRL signs a new list of any name but the root's, whether or not one is due;
// the full list of the current issuing authority if the name is empty.
func (l *Life) SignCRL(ctx context.Context, actor audit.Actor, name string) (*status.CRL, error) {
	if name == "" {
		name = l.status.Current().Name
	}
	return l.makeCRL(ctx, actor, name, true)
}

// makeCRL signs a list outside of the transaction that stores it. Where another
// process stored one meanwhile, that one is taken if it says as much.
func (l *Life) makeCRL(ctx context.Context, actor audit.Actor, name string, force bool) (*status.CRL, error) {
	for {
		list, err := l.status.SignCRL(ctx, name)
		if err != nil {
			return nil, err
		}
		var newer *status.CRL
		if err := l.db.Update(ctx, func(tx *sql.Tx) (err error) {
			newer, err = l.status.KeepCRL(ctx, tx, actor, list)
			return err
		}); err != nil {
			return nil, err
		}
		if newer == nil {
			l.status.RememberCRL(list)
			return list, nil
		}
		if !force && newer.Covers(list) {
			return newer, nil
		}
	}
}
