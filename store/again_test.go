package store

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
)

// unusable makes an event one that is parked.
func unusable(e *domain.Event) {
	e.Fault, e.Sentence, e.Flag = "undetermined", "as the test says", domain.FlagSilent
}

// corrected reads an event as if its cause had been removed.
func corrected(flag domain.Flag) func(*domain.Event) *domain.Event {
	return func(e *domain.Event) *domain.Event {
		now := *e
		now.Fault, now.Sentence, now.Flag = "", "", flag
		return &now
	}
}

func TestAParkedEventThatCanBeReadNowCounts(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 0), event("ann", "vip", false, 5, unusable))
	b.drain()
	b.wantSaid("ann.vip=true ann!Audience Entered")
	parked := b.ids(domain.StateParked)
	left, err := b.ReadAgain(t.Context(), noon.Add(time.Hour), parked, corrected(domain.FlagOut))
	must(t, err)
	if len(parked) != 1 || len(left) != 0 || len(b.ids(domain.StateParked)) != 0 {
		t.Fatalf("parked %v, and still %v", parked, left)
	}
	b.sound()
	b.drain()
	b.wantSaid("ann.vip=false ann!Audience Exited")
	if c := b.balance(); c.Events.Accepted != 2 || c.Events.Transitions != 2 || c.Events.Parked != 0 {
		t.Errorf("%+v", c.Events)
	}
	left, err = b.ReadAgain(t.Context(), noon.Add(time.Hour), parked, corrected(domain.FlagOut))
	if must(t, err); len(left) != 0 || b.take() != nil {
		t.Error("the same id did something once more")
	}
	b.sound()
}

func TestAParkedEventThatCannotBeReadStillKeepsItsID(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 0, unusable), event("bob", "vip", true, 0, unusable))
	parked := b.ids(domain.StateParked)
	left, err := b.ReadAgain(t.Context(), noon.Add(time.Hour), parked, func(e *domain.Event) *domain.Event {
		if e.User.ID == "bob" {
			return corrected(domain.FlagIn)(e)
		}
		return e
	})
	must(t, err)
	if now := b.ids(domain.StateParked); !slices.Equal(left, now) || len(now) != 1 || !slices.Contains(parked, now[0]) {
		t.Errorf("parked %v, reported %v, listed %v", parked, left, now)
	}
	b.sound()
	b.reopen(rules(domain.SendBoth))
	b.sound()
	b.drain()
	b.wantSaid("bob.vip=true bob!Audience Entered")
}

// The time of the event decides, and not when it was read again: what came since is newer.
func TestAParkedEventThatIsOldNewsChangesNothing(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	late := func(e *domain.Event) { e.Received = noon.Add(48 * time.Hour) }
	b.receive(event("ann", "vip", false, 5, unusable), event("ann", "vip", true, 47*60, late))
	b.drain()
	b.said()
	_, err := b.ReadAgain(t.Context(), noon.Add(49*time.Hour), b.ids(domain.StateParked), corrected(domain.FlagOut))
	must(t, err)
	if c := b.balance(); c.Events.Stale != 1 || b.take() != nil {
		t.Errorf("an older exit was believed: %+v", c.Events)
	}
	list, err := b.Computations()
	must(t, err)
	if want := domain.Timestamp(noon.Add(48 * time.Hour)); list[0].LastEvent != want || list[0].Members != 1 {
		t.Errorf("%+v, want one member and the last event of %s", list[0], want)
	}
	b.sound()
}

func TestAForgottenUserIsErasedFromEventsReadAgain(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendBoth))
	secret := []byte(`"traits":{"marker":"K7Q-erase-me"}`)
	b.receive(event("ann", "vip", true, 0, unusable, func(e *domain.Event) { e.Raw = append([]byte(`{"userId":"ann",`), append(secret, '}')...) }))
	_, err := b.ReadAgain(t.Context(), noon, b.ids(domain.StateParked), corrected(domain.FlagIn))
	must(t, err)
	_, err = b.Forget(t.Context(), "ann")
	must(t, err)
	must(t, b.Store.Close())
	files, err := filepath.Glob(filepath.Join(b.dir, "*"))
	must(t, err)
	for _, path := range files {
		if text, err := os.ReadFile(path); err != nil || bytes.Contains(text, secret) {
			t.Errorf("%s: %v; it holds the user's bytes still", filepath.Base(path), err)
		}
	}
}
