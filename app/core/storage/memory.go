package storage

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
)

// Memory keeps files for as long as the process lives. Make it with NewMemory.
type Memory struct {
	mu    sync.Mutex
	files map[string][]byte
	locks map[string]chan struct{} // one token each; taken while held
}

// NewMemory makes an empty storage.
func NewMemory() *Memory {
	return &Memory{files: make(map[string][]byte), locks: make(map[string]chan struct{})}
}

// Read implements Files.
func (m *Memory) Read(_ context.Context, name string) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[name]
	if !ok {
		return nil, fmt.Errorf("read %s: %w", name, fs.ErrNotExist)
	}
	return bytes.Clone(data), nil
}

// Write implements Files.
func (m *Memory) Write(_ context.Context, name string, data []byte) error {
	if err := checkWrite(name, data); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = append([]byte{}, data...)
	return nil
}

// Remove implements Files.
func (m *Memory) Remove(_ context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, name)
	return nil
}

// List implements Files.
func (m *Memory) List(_ context.Context, prefix string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.files {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Lock implements Files.
func (m *Memory) Lock(ctx context.Context, name string) (func(), error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	token, ok := m.locks[name]
	if !ok {
		token = make(chan struct{}, 1)
		m.locks[name] = token
	}
	m.mu.Unlock()
	select {
	case token <- struct{}{}:
		return sync.OnceFunc(func() { <-token }), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("lock %s: %w", name, ctx.Err())
	}
}
