//go:build linux

package contender

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"personasync/agent/ingest"
	"personasync/bench/internal/load"
	"personasync/store/domain"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kept is an inbox in memory.
type kept struct{ events chan *domain.Event }

func (k kept) Append(_ context.Context, events ...*domain.Event) error {
	for _, e := range events {
		k.events <- e
	}
	return nil
}

func (k kept) CountRefusal(domain.Refusal) {}

var _ ingest.Inbox = kept{}

func TestIngestAcceptsThePostsOfALoad(t *testing.T) {
	for _, s := range []struct{ connections, batch int }{{1, 1}, {7, 1}, {3, 100}} {
		k := kept{make(chan *domain.Event, 1<<20)}
		server := httptest.NewServer(Ingest(k, slog.New(slog.DiscardHandler)))
		defer server.Close()
		e := load.NewEvents(0)
		e.Prepare(50) // later ones are signed during the load
		var got load.Result
		sent := uint64(0)
		for during := 50 * time.Millisecond; got.Events == 0 && during < time.Minute; during *= 4 { // a busy machine may need longer
			l := &load.Load{Address: server.Listener.Addr().String(), Connections: s.connections, Batch: s.batch, Events: e, First: sent, During: during}
			var err error
			if got, err = l.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			sent += got.Sent
		}
		if got.Events == 0 || got.Refused != 0 || got.Posts*s.batch != got.Events {
			t.Errorf("%+v: %d posts of %d events, %d refused", s, got.Posts, got.Events, got.Refused)
		}
		if uint64(len(k.events)) != sent {
			t.Errorf("%+v: %d events sent, %d arrived", s, sent, len(k.events))
		}
		users := make(map[string]bool)
		for range len(k.events) {
			users[(<-k.events).User.ID] = true
		}
		if uint64(len(users)) != sent {
			t.Errorf("%+v: %d events of %d users", s, sent, len(users))
		}
	}
}

func TestCommitterAnswersEverybody(t *testing.T) {
	odd := errors.New("a group with an odd one")
	c := newCommitter(func(items []int) error {
		for _, i := range items {
			if i%2 == 1 {
				return odd
			}
		}
		return nil
	})
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if err := c.submit(t.Context(), i); i%2 == 1 && !errors.Is(err, odd) {
				t.Errorf("submit(%d): %v", i, err)
			}
		})
	}
	all.Wait()
	c.close()
}
