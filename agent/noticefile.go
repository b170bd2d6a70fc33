package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"personasync/store"
)

// noticeFile keeps in a file what an agent of a shared store told, so that the next start tells of the end. The store
// itself is the writer's, and may be away.
type noticeFile struct {
	path string
	mu   sync.Mutex
}

// Notices implements notify.Ledger.
func (f *noticeFile) Notices() (list []store.Notices, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.read()
}

// read is Notices. mu is held.
func (f *noticeFile) read() (list []store.Notices, err error) {
	body, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(body, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path, err)
	}
	return list, nil
}

// SetNotices implements notify.Ledger. A file that cannot be read is replaced.
func (f *noticeFile) SetNotices(_ context.Context, n store.Notices) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, _ := f.read()
	list = append(slices.DeleteFunc(list, func(kept store.Notices) bool { return kept.Receiver == n.Receiver }), n)
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	next := f.path + ".new"
	if err := os.WriteFile(next, body, 0o600); err != nil {
		return err
	}
	return os.Rename(next, f.path)
}
