package benchcmd

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/sqlstore"
	"github.com/emmansun/gmsm/sm2"
)

// memoryStore keeps challenges, ends and the ledger in memory, so that a run
// measures the relay and not a database; all else is the database's. Its
// promises are made as sqlstore makes them.
type memoryStore struct {
	*sqlstore.Store
	mu   sync.Mutex
	by   map[protocol.CID]relay.Challenge
	size uint64
	head []byte
}

func newMemoryStore(s *sqlstore.Store) *memoryStore {
	return &memoryStore{Store: s, by: map[protocol.CID]relay.Challenge{}, head: make([]byte, protocol.HashSize)}
}

// Create implements relay.Store.
func (m *memoryStore) Create(_ context.Context, c relay.Challenge, _ []byte, _ int) (relay.Challenge, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.by[c.CID]; ok {
		if !bytes.Equal(old.CreateDigest, c.CreateDigest) {
			return relay.Challenge{}, false, relay.ErrExists
		}
		return old, false, nil
	}
	return m.put(c), true, nil
}

func (m *memoryStore) put(c relay.Challenge) relay.Challenge {
	c.Rev = max(m.by[c.CID].Rev+1, time.Now().UnixMicro())
	m.by[c.CID] = c
	return c
}

// Get implements relay.Store.
func (m *memoryStore) Get(_ context.Context, cid protocol.CID) (relay.Challenge, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.by[cid]
	if !ok {
		return c, relay.ErrNotFound
	}
	return c, nil
}

// Swap implements relay.Store.
func (m *memoryStore) Swap(_ context.Context, rev int64, next relay.Challenge, _ ...relay.Part) (relay.Challenge, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.swap(rev, next)
}

func (m *memoryStore) swap(rev int64, next relay.Challenge) (relay.Challenge, error) {
	old, ok := m.by[next.CID]
	if !ok {
		return old, relay.ErrNotFound
	}
	if old.Rev != rev {
		return old, relay.ErrConflict
	}
	return m.put(next), nil
}

// EndSwap implements relay.Joint.
func (m *memoryStore) EndSwap(_ context.Context, rev int64, next relay.Challenge, e relay.End, sign relay.PromiseSigner) (relay.Challenge, relay.End, error) {
	salt, err := protocol.Random(protocol.HashSize)
	if err != nil {
		return relay.Challenge{}, relay.End{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := protocol.Promise{Index: m.size, Salt: salt, Entry: protocol.LedgerEntry(e.Receipt.Bytes, salt)}
	p.Head = protocol.LedgerHead(m.head, p.Index, p.Entry)
	if err := sign(&p); err != nil {
		return relay.Challenge{}, relay.End{}, err
	}
	next.Promise, e.Promise = &p, p
	stored, err := m.swap(rev, next)
	if err == nil {
		m.size, m.head = m.size+1, p.Head
	}
	return stored, e, err
}

// touch stores a challenge again under a new revision, as a transition does.
func (m *memoryStore) touch(cid protocol.CID) (relay.Challenge, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.by[cid]
	if !ok {
		return c, fmt.Errorf("touch %s: %w", cid, relay.ErrNotFound)
	}
	return m.put(c), nil
}

func newBenchKey() (*sm2.PrivateKey, error) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return key, nil
}
