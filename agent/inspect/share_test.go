package inspect

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store"
	"personasync/store/domain"
)

// TestEverythingIsScannedOnceForEverybodyWhoAsks: eight callers at once and one a moment later share an answer. A later
// one gets a new answer.
func TestEverythingIsScannedOnceForEverybodyWhoAsks(t *testing.T) {
	for name, ask := range map[string]func(*Local) error{
		"stats":  func(l *Local) error { _, err := l.Stats(context.Background(), domain.OutboxFilter{}); return err },
		"status": func(l *Local) error { _, err := l.Status(context.Background()); return err },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				var looks atomic.Int64
				l := New(Source{
					Open: func() (*store.View, func() error, error) {
						looks.Add(1)
						time.Sleep(200 * time.Millisecond)
						return &s.View, func() error { return nil }, nil
					},
					Process:  func() condition.Process { return condition.Process{} },
					Config:   func() *config.Config { return &config.Config{} },
					Plan:     func(*store.View) ([]Planned, error) { return nil, nil },
					Received: s.LastRecord,
				})
				var all sync.WaitGroup
				asked := func(n int) int64 {
					before := looks.Load()
					for range n {
						all.Go(func() {
							if err := ask(l); err != nil {
								t.Error(err)
							}
						})
					}
					all.Wait()
					return looks.Load() - before
				}
				eight := asked(8)
				if again := asked(1); again != 0 {
					t.Errorf("one who asked a moment later had %d looks made", again)
				}
				time.Sleep(sharedMost)
				if one := asked(1); one != eight || one == 0 {
					t.Errorf("eight who asked at once had %d looks made, one %d", eight, one)
				}
			})
		})
	}
}

// TestAnAskerWhoGoesAwayLeavesTheAnswerToTheNext, and one who waits need not wait for ever.
func TestAnAskerWhoGoesAwayLeavesTheAnswerToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shared[int]
		ctx, cancel := context.WithCancel(t.Context())
		slow := func() (int, error) {
			select {
			case <-ctx.Done():
				return 0, ctx.Err()
			case <-time.After(time.Hour):
				return 1, nil
			}
		}
		go func() { _, _ = s.get(ctx, slow) }()
		synctest.Wait()
		impatient, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if _, err := s.get(impatient, slow); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one who waits no longer was told %v", err)
		}
		time.AfterFunc(time.Second, cancel)
		if n, err := s.get(t.Context(), func() (int, error) { return 2, nil }); n != 2 || err != nil {
			t.Errorf("the next was told %d, %v", n, err)
		}
	})
}

// TestListingsHaveOneProcessorBetweenThem, however many ask for what looks at everything.
func TestListingsHaveOneProcessorBetweenThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var reading, most atomic.Int64
		l := New(Source{Received: s.LastRecord, Open: func() (*store.View, func() error, error) {
			most.Store(max(most.Load(), reading.Add(1)))
			time.Sleep(time.Second)
			return &s.View, func() error { reading.Add(-1); return nil }, nil
		}})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, _, err := l.Changes(t.Context(), domain.OutboxFilter{Computation: "rare"}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := most.Load(); n != 1 {
			t.Errorf("%d read at once", n)
		}
	})
}
