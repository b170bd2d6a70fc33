package agent

import (
	"context"
	"sync"
	"time"

	"personasync/agent/condition"
	"personasync/store"
)

const (
	sharingAge      = 5 * time.Second // how old an answer of the server may be that a status shows
	sharingPatience = time.Second
)

// sharedFacts knows what a status says of a store that several agents share. Its method may be called concurrently.
type sharedFacts struct {
	mu   sync.Mutex
	at   time.Time
	last *condition.Store
}

// of returns the state of data, nil in files.
func (s *sharedFacts) of(data *store.Store) *condition.Store {
	role := data.Role()
	if !role.Shared {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && time.Since(s.at) < sharingAge {
		return s.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), sharingPatience)
	defer cancel()
	h, err := data.Database(ctx)
	s.at, s.last = time.Now(), condition.SharedStore(role, &h, err)
	return s.last
}
