package inspect

import (
	"context"
	"sync"
	"time"

	"personasync/agent/condition"
	"personasync/store/domain"
)

const (
	// sharedFrom is the least time that an answer must take to be shared. A cheap one is computed each time and is never old.
	sharedFrom = 50 * time.Millisecond
	// sharedMost is the greatest age of a shared answer.
	sharedMost = 5 * time.Second
)

// shared is an answer that reads everything, and so is made for one caller at a time. The other callers wait for it, and
// it serves later ones for as long again as it took. So however many ask, and however often, reading takes half a processor
// at most. The zero value is ready for concurrent use.
type shared[T any] struct {
	mu     sync.Mutex
	making chan struct{} // closed when the answer being made is done; nil when none is
	last   T
	until  time.Time // how long last serves
}

// sharedAnswers are the shared answers of a running agent.
type sharedAnswers struct {
	stats  shared[[]domain.StatLine]
	status shared[condition.Status]
	seen   condition.Sightings

	progress condition.Progress
	part     chan struct{} // a token for a part of a listing, see Local.part
}

func newSharedAnswers() *sharedAnswers { return &sharedAnswers{part: make(chan struct{}, 1)} }

// get returns a shared answer, or makes one. If its maker fails or goes away, the next caller makes it.
func (s *shared[T]) get(ctx context.Context, produce func() (T, error)) (T, error) {
	for {
		s.mu.Lock()
		if time.Now().Before(s.until) {
			defer s.mu.Unlock()
			return s.last, nil
		}
		if s.making == nil {
			s.making = make(chan struct{})
			s.mu.Unlock()
			return s.fill(produce)
		}
		making := s.making
		s.mu.Unlock()
		select {
		case <-making:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}

func (s *shared[T]) fill(produce func() (T, error)) (answer T, err error) {
	began, done := time.Now(), false
	defer func() { // a panic must not leave the others waiting
		s.mu.Lock()
		defer s.mu.Unlock()
		if took := time.Since(began); done && err == nil && took >= sharedFrom {
			s.last, s.until = answer, time.Now().Add(min(took, sharedMost))
		}
		close(s.making)
		s.making = nil
	}()
	answer, err = produce()
	done = true
	return answer, err
}
