package store

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/record"
	"personasync/store/internal/wal"
)

// mentions names the files that hold a text.
func (b *bench) mentions(text string) (files []string) {
	b.Helper()
	all, err := filepath.Glob(filepath.Join(b.dir, "*"))
	must(b, err)
	for _, path := range all {
		content, err := os.ReadFile(path)
		must(b, err)
		if bytes.Contains(content, []byte(text)) {
			files = append(files, filepath.Base(path))
		}
	}
	return files
}

// wholeInbox has every file of the inbox end with a commit that a start after a power failure takes for whole.
func (b *bench) wholeInbox() {
	b.Helper()
	for _, s := range b.inbox.Segments() {
		dir := b.TempDir()
		body, err := os.ReadFile(s.Path())
		must(b, err)
		must(b, os.WriteFile(wal.Path(dir, 1), body, 0o600))
		taken, err := wal.RollBackUnfinished(dir, 0)
		must(b, err)
		copied, err := wal.ReadExtent(wal.Path(dir, 1))
		must(b, err)
		if its := s.Extent(); len(taken) > 0 || copied.Last != its.Last {
			b.Errorf("%s: whole %v, and its last record is %d, not %d", filepath.Base(s.Path()), len(taken) == 0, copied.Last, its.Last)
		}
	}
}

// TestNothingIsLeftOfAForgottenUser leaves traces in every place there is, forgets the user, and looks
// for the id in the bytes of all files.
func TestNothingIsLeftOfAForgottenUser(t *testing.T) {
	onFiles(t)
	const gone, stays = "gone-4f1c", "stays-77a0"
	ctx := context.Background()
	r := watched(domain.SendBoth)
	b := open(t, r)
	for _, user := range []string{gone, stays} {
		b.receive(event(user, "vip", true, 0), trait(user, "spent", 1, "spent", "12"), event(user, "vip", true, 2, func(e *domain.Event) {
			e.Fault, e.Sentence = "undetermined", "no flag"
		}))
	}
	b.drainToday()
	b.receive(event(gone, "vip", false, 3), event(stays, "vip", false, 3), event(gone, "other", true, 4))
	b.imports(Import{Key: "vip", AsOf: minute(5), Users: users(gone, stays)})
	must(t, b.Repair(ctx, minute(6), []record.Told{{User: gone, Field: 1}, {User: stays, Field: 1}}))
	if n := len(b.mentions(gone)); n < 2 {
		t.Fatalf("there is nothing to erase: %d files", n)
	}

	report, err := b.Forget(ctx, gone)
	must(t, err)
	if report.Memberships != 3 || report.Records < 5 || report.Changes == 0 || report.Journal < 3 {
		t.Errorf("%+v", report)
	}
	if left := b.mentions(gone); left != nil {
		t.Errorf("still in %q", left)
	}
	if left := b.mentions(stays); len(left) != 2 {
		t.Errorf("the other user is in %q", left)
	}
	if _, err := b.User(gone); err != domain.ErrNotFound {
		t.Errorf("the user is shown: %v", err)
	}
	b.wantMembers("vip", stays)
	b.balance()
	recount(t, b)
	b.wholeInbox()
	b.reopen(r)
	recount(t, b)

	// Late deliveries do not bring the user back, and what is newer starts afresh.
	b.receive(event(gone, "vip", true, 20))
	if c := b.balance(); c.Users != 1 {
		t.Errorf("%d users", c.Users)
	}
	b.imports(Import{Key: "vip", AsOf: minute(6), Users: users(gone, stays)})
	b.wantMembers("vip", stays)
	must(t, b.EraseIfDue(ctx, b.upkeep.now()))
	if left := b.mentions(gone); left == nil {
		t.Error("the late delivery left no trace: this shows nothing")
	}
	_, err = b.upkeep.erase(ctx)
	must(t, err)
	if left := b.mentions(gone); left != nil {
		t.Errorf("the late delivery is in %q", left)
	}
	late := event(gone, "vip", true, 0)
	late.Time, late.Received = time.Now().Add(time.Minute), time.Now().Add(time.Minute)
	b.receive(late)
	b.wantMembers("vip", gone, stays)
	recount(t, b)
}

// TestADeletionOfSegmentIsErasedWithinADay: it takes effect at once, and its bytes go later.
func TestADeletionOfSegmentIsErasedWithinADay(t *testing.T) {
	onFiles(t)
	const gone = "gone-4f1c"
	b := open(t, rules(domain.SendBoth))
	b.receive(event(gone, "vip", true, 0), &domain.Event{Received: minute(31), Time: minute(30), Call: domain.CallDelete, User: domain.Identifier{ID: gone}, Raw: []byte(`{"userId":"` + gone + `"}`)})
	b.wantMembers("vip")
	must(t, b.EraseIfDue(context.Background(), minute(31).Add(eraseAfter-1)))
	if b.mentions(gone) == nil {
		t.Error("erased too early: this shows nothing")
	}
	must(t, b.EraseIfDue(context.Background(), minute(31).Add(eraseAfter)))
	if left := b.mentions(gone); left != nil {
		t.Errorf("still in %q", left)
	}
	size := boltfile.Size(filepath.Join(b.dir, "state.db"))
	must(t, b.EraseIfDue(context.Background(), minute(31).Add(3*eraseAfter)))
	if list := b.inbox.Segments(); len(list) != 2 || boltfile.Size(filepath.Join(b.dir, "state.db")) != size {
		t.Errorf("erased again for nothing: %d files", len(list))
	}
	recount(t, b)
}

// TestAForgetWaitsForTheRequestUnderWay: the row of the request names the user.
func TestAForgetWaitsForTheRequestUnderWay(t *testing.T) {
	onFiles(t)
	const gone = "gone-4f1c"
	b := open(t, rules(domain.SendBoth))
	b.receive(event(gone, "vip", true, 0))
	f := b.take()
	done := make(chan error, 1)
	go func() { _, err := b.Forget(context.Background(), gone); done <- err }()
	for forgotten := false; !forgotten; {
		_, err := b.User(gone)
		forgotten = err == domain.ErrNotFound
	}
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	b.settle(f, domain.Delivered)
	must(t, <-done)
	if left := b.mentions(gone); left != nil {
		t.Errorf("still in %q", left)
	}
	b.balance()
	recount(t, b)
}
