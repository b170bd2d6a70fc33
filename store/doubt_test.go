package store

import (
	"context"
	"testing"
	"time"
)

// TestACommitThatFailedAfterItsHeadWasWrittenLosesNothing: the disk took the head of a file and did not
// confirm it, so the callers are told to come again while the records are there. What was received after
// that got the same numbers, and was passed over.
func TestACommitThatFailedAfterItsHeadWasWrittenLosesNothing(t *testing.T) {
	b := open(t, rules(SendEvent))
	b.receive(event("ann", "vip", true, 1))

	var group []*appendRequest
	doubtful := []*Event{event("bob", "vip", true, 1), event("cid", "vip", true, 1), event("dan", "vip", true, 1)}
	for _, e := range doubtful {
		group = append(group, &appendRequest{frames: [][]byte{appendEvent(nil, e)}})
	}
	b.inbox.turn.Lock()
	s := b.inbox.segments[len(b.inbox.segments)-1]
	_, err := s.write(b.inbox.next.Load(), group, nil) // committed, and nobody knows
	must(t, err)
	records, err := b.inbox.read(b.inbox.next.Load(), 1<<20)
	must(t, err)
	if len(records) != 0 {
		t.Errorf("%d records are read that nobody counted yet", len(records))
	}
	if s.seeHead(); s.doubt == 0 {
		t.Error("a head that is in the file goes unnoticed")
	}
	b.inbox.turn.Unlock()

	b.receive(doubtful...) // the callers come again
	b.receive(event("eve", "vip", true, 1), event("bob", "vip", false, 2))
	counts, err := b.Counts()
	must(t, err)
	if e := counts.Events; e.Transitions != 6 || e.Accepted != 6 || !e.Balances() {
		t.Errorf("six transitions, three of them at the second try; the ledger says %+v", e)
	}
}

// TestACommitInDoubtDoesNotStayBehindInAFullFile: it made the file as large as files get, so the next
// one took over, with the same numbers; and the commit that nobody was answered for stayed.
func TestACommitInDoubtDoesNotStayBehindInAFullFile(t *testing.T) {
	b := open(t, rules(SendEvent))
	b.receive(event("ann", "vip", true, 1))
	b.inbox.turn.Lock()
	s := b.inbox.segments[0]
	_, err := s.write(b.inbox.next.Load(), []*appendRequest{{frames: [][]byte{appendEvent(nil, event("bob", "vip", true, 1))}}}, nil)
	must(t, err)
	s.doubt = s.txid
	b.inbox.enough.Store(1)
	b.inbox.turn.Unlock()

	b.receive(event("cid", "vip", true, 1))
	if n := len(b.inbox.list()); n != 2 {
		t.Fatalf("%d files", n)
	}
	b.wholeInbox()
	b.reopen(rules(SendEvent))
	b.wantMembers("vip", "ann", "cid")
	b.receive(event("dan", "vip", true, 2))
	b.wantMembers("vip", "ann", "cid", "dan")
}

// TestAFlightThatNobodyWasGivenIsPutBack: taking failed after the head was written, so the flight is in
// the file and nobody carries it. Its users waited for the next start.
func TestAFlightThatNobodyWasGivenIsPutBack(t *testing.T) {
	b := open(t, rules(SendEvent))
	b.receive(event("ann", "vip", true, 1))
	f, _, err := b.Take(t.Context(), everything(time.Now().Add(time.Hour)))
	must(t, err)
	if f == nil {
		t.Fatal("nothing was due")
	}
	must(t, b.pauseWriter(func() { b.unread, b.flown = true, f.ID-1 }))
	must(t, b.run(context.Background(), func(*batch) error { return nil }, nil))
	again, _, err := b.Take(t.Context(), everything(time.Now().Add(time.Hour)))
	must(t, err)
	if again == nil || len(again.Deliveries) != 1 || again.Deliveries[0].Event.Attempts != 0 {
		t.Errorf("taken again: %+v", again)
	}
}
