package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/internal/state"
)

// wantDoubt checks what is said of an order that may be on disk.
func wantDoubt(t *testing.T, err, cause error) {
	t.Helper()
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "not known whether the order is on disk") || strings.Contains(err.Error(), "nothing was done") {
		t.Errorf("the answer is %v", err)
	}
}

// TestAnOrderThatIsWrittenBeforeTheDataIsFoundMovedIsNotSaidToBeUndone: the answer was that nothing was done, and it
// took effect once the data was back.
func TestAnOrderThatIsWrittenBeforeTheDataIsFoundMovedIsNotSaidToBeUndone(t *testing.T) {
	onFiles(t)
	for name, order := range map[string]func(ctx context.Context, b *bench, parked []domain.ID) error{
		"drop": func(ctx context.Context, b *bench, parked []domain.ID) error { return b.Drop(ctx, noon, parked) },
		"read again": func(ctx context.Context, b *bench, parked []domain.ID) error {
			return onlyErr(b.ReadAgain(ctx, noon, parked, func(e *domain.Event) *domain.Event { return e }))
		},
		"import": func(ctx context.Context, b *bench, _ []domain.ID) error {
			return onlyErr(b.Import(ctx, Import{Key: "vip", AsOf: time.Now(), Users: users("member")}))
		},
		"import of a new audience": func(ctx context.Context, b *bench, _ []domain.ID) error {
			return onlyErr(b.Import(ctx, Import{Key: "new", Create: true, AsOf: time.Now(), Users: users("member")}))
		},
		"close": func(ctx context.Context, b *bench, _ []domain.ID) error {
			return onlyErr(b.CloseAudience(ctx, "vip", false, false, nil))
		},
		"release": func(ctx context.Context, b *bench, _ []domain.ID) error {
			return onlyErr(b.Decide(ctx, "vip", false, false, nil))
		},
		"discard": func(ctx context.Context, b *bench, _ []domain.ID) error {
			return onlyErr(b.Decide(ctx, "vip", true, false, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{TB: t, dir: filepath.Join(t.TempDir(), "data")}
			b.reopen(rules(domain.SendAttribute))
			t.Cleanup(func() { b.Store.Close() })
			b.receive(event("ann", "vip", true, 1), event("parked", "vip", true, 1, unusable))
			parked := b.ids(domain.StateParked)
			var once sync.Once
			crashpoint.OnPoint(func(p crashpoint.Point) {
				if p == crashpoint.InboxCommitted {
					once.Do(func() { must(t, os.Rename(b.dir, b.dir+".away")) })
				}
			})
			t.Cleanup(func() { crashpoint.OnPoint(nil) })
			err := order(t.Context(), b, parked)
			must(t, os.Rename(b.dir+".away", b.dir))
			wantDoubt(t, err, ErrMoved)
			must(t, b.place.Compare())
			b.receive(event("bob", "vip", true, 2))
			if left := b.ids(domain.StateParked); name == "drop" && len(left) > 0 {
				t.Errorf("it took no effect: %v are parked", left)
			}
		})
	}
}

// TestAnOrderWhoseCallerWentAwayIsNotSaidToBeUndone: it is queued by then, and takes effect.
func TestAnOrderWhoseCallerWentAwayIsNotSaidToBeUndone(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1), event("parked", "vip", true, 1, unusable))
	parked := b.ids(domain.StateParked)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	release := b.holdCommits()
	err := b.Drop(gone, noon, parked)
	release()
	wantDoubt(t, err, context.Canceled)
	b.receive(event("bob", "vip", true, 2))
	if left := b.ids(domain.StateParked); len(left) > 0 {
		t.Errorf("it took no effect: %v are parked", left)
	}
}

// TestAnOrderThatIsRefusedIsSaidToBeUndone: nothing of it was queued.
func TestAnOrderThatIsRefusedIsSaidToBeUndone(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("parked", "vip", true, 1, unusable))
	parked := b.ids(domain.StateParked)
	must(t, b.writer.Pause(func() { // the disk has no room for a new epoch
		b.db.DB().MaxSize = 1
		b.writer.Arrive(&state.Arrival{Home: make([]byte, 8<<20), First: b.records.Next(), Epoch: 7})
		must(t, b.writer.Recover())
	}))
	if err := b.Drop(t.Context(), noon, parked); !errors.Is(err, domain.ErrFull) || !strings.Contains(err.Error(), "nothing was done") {
		t.Errorf("the answer is %v", err)
	}
}
