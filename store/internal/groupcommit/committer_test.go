package groupcommit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"personasync/store/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// log is a log in memory.
type log struct {
	*Committer
	during func() // called within a commit
	names  []string
}

func open(t testing.TB, config Config) *log {
	l := new(log)
	config.Commit = func(group Group) error {
		if l.during != nil {
			l.during()
		}
		for _, req := range group {
			for _, f := range req.Frames {
				l.names = append(l.names, string(f))
			}
		}
		return nil
	}
	l.Committer = New(config)
	return l
}

// TestASenderIsNotForgottenWhileTheTurnIsHeld: a sender that came while a forget had the turn found it taken, and nobody
// looked at the queue behind it. The record was not acknowledged until another came.
func TestASenderIsNotForgottenWhileTheTurnIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Config{})
		defer l.Stop()
		answer := make(chan error, 1)
		l.Hold()
		go func() { answer <- l.Append(t.Context(), []byte("bob")) }()
		synctest.Wait() // it has found the turn taken
		l.Release()
		must(t, <-answer)
	})
}

// TestAFullOrClosedLogRefuses: a record that found no place in the queue must not be answered with success.
func TestAFullOrClosedLogRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Config{})
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		l.Hold()
		for len(l.requests) < queueLength {
			if err := l.Append(gone, []byte("gone")); !errors.Is(err, context.Canceled) {
				t.Fatalf("a caller that has gone got %v", err)
			}
		}
		if err := l.Append(t.Context(), []byte("late")); !errors.Is(err, domain.ErrBusy) {
			t.Errorf("with a full queue it answers %v", err)
		}
		for n := 0; l.commitGroup(); n++ {
			if n > queueLength {
				t.Fatal("it commits groups of nothing")
			}
		}
		l.Release()
		must(t, l.Append(t.Context(), []byte("next")))
		l.Stop()
		if err := l.Append(t.Context(), []byte("after")); !errors.Is(err, domain.ErrClosed) {
			t.Errorf("a closed log answers %v", err)
		}
		if len(l.names) != queueLength+1 || l.Events() != queueLength+1 {
			t.Errorf("%d records are written and %d counted, want %d", len(l.names), l.Events(), queueLength+1)
		}
	})
}

// TestWhatIsRefusedIsNotQueued: the owner's reason is the answer, and nothing is written.
func TestWhatIsRefusedIsNotQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		no := errors.New("no")
		l := open(t, Config{Refuse: func() error { return no }})
		defer l.Stop()
		if err := l.Append(t.Context(), []byte("ann")); !errors.Is(err, no) || len(l.requests) > 0 {
			t.Errorf("answered %v, and %d requests wait", err, len(l.requests))
		}
	})
}

// TestCommitsComeApart: the second of two senders in a row waits, and all that came meanwhile are with it.
func TestCommitsComeApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const apart = 50 * time.Millisecond
		l := open(t, Config{})
		defer l.Stop()
		l.SetCommitInterval(apart)
		began := time.Now()
		for range 4 {
			must(t, l.Append(t.Context(), []byte("ann")))
		}
		if took := time.Since(began); took != 3*apart {
			t.Errorf("four commits took %v", took)
		}
		before := l.Commits()
		l.Hold() // a commit under way
		var senders sync.WaitGroup
		for range 20 {
			senders.Go(func() {
				if err := l.Append(t.Context(), []byte("bob")); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		l.Release()
		senders.Wait()
		if n := l.Commits() - before; n != 1 {
			t.Errorf("20 senders took %d commits", n)
		}
	})
}

// TestALogThatClosesDoesNotKeepCommitsApart: the senders that wait are answered at once.
func TestALogThatClosesDoesNotKeepCommitsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Config{})
		must(t, l.Append(t.Context(), []byte("ann")))
		l.SetCommitInterval(time.Hour)
		answered := make(chan error, 1)
		go func() { answered <- l.Append(context.Background(), []byte("bob")) }()
		synctest.Wait()
		l.Stop()
		must(t, <-answered)
	})
}

// TestTheCommitterLetsOthersHaveTheTurn: under a load that does not end somebody always waits, and a forget
// would wait for ever.
func TestTheCommitterLetsOthersHaveTheTurn(t *testing.T) {
	l := open(t, Config{})
	defer l.Stop()
	const many = 8 * commitHold
	reached, waits := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l.during = func() {
		once.Do(func() { close(reached); <-waits })
		time.Sleep(100 * time.Microsecond) // as a disk takes
	}
	l.Hold()
	for range many { // each fills a group
		req := NewRequest([]byte("ann"))
		req.size = GroupBytes
		must(t, l.enqueue(req))
	}
	l.Release()
	<-reached
	close(waits)
	l.Hold()
	left := len(l.requests)
	l.Release()
	if left == 0 {
		t.Errorf("the turn was free once all %d groups were committed", many)
	}
}

// TestACallerOfACommitApartCanGo: its request leads the queue, and the commit does not end.
func TestACallerOfACommitApartCanGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Config{Apart: true})
		ends := make(chan struct{})
		l.during = func() { <-ends }
		soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := l.Append(soon, []byte("ann")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("answered %v", err)
		}
		close(ends)
		l.Stop()
	})
}

// wakes fails unless Written has received, and takes that.
func wakes(t *testing.T, l *log, why string) {
	t.Helper()
	if synctest.Wait(); len(l.Written()) == 0 { // after the answer
		t.Fatalf("nobody was told of %s", why)
	}
	<-l.Written()
}

// TestACommitThatFailsIsAnsweredToAll: nothing of it counts as written, and the next one is tried.
func TestACommitThatFailsIsAnsweredToAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("the disk is gone")
		fails := true
		c := New(Config{Commit: func(Group) error {
			if fails {
				return broken
			}
			return nil
		}})
		for _, append := range []func(context.Context, ...[]byte) error{c.Append, c.AppendOther} {
			if err := append(t.Context(), []byte("ann")); !errors.Is(err, broken) {
				t.Errorf("answered %v", err)
			}
		}
		must(t, c.Probe(t.Context())) // it asks whether commits end, not how
		c.Hold()                      // the last commit has ended
		c.Release()
		if c.Events() != 0 || c.Others() != 0 || c.Commits() != 0 || c.Finished() != 3 || len(c.Written()) != 0 {
			t.Errorf("%d events, %d orders, %d commits of %d are counted, told %d times", c.Events(), c.Others(), c.Commits(), c.Finished(), len(c.Written()))
		}
		fails = false
		must(t, c.Append(t.Context(), []byte("ann")))
		c.Stop()
		if err := c.Probe(t.Context()); !errors.Is(err, domain.ErrClosed) {
			t.Errorf("a closed log answers a probe with %v", err)
		}
	})
}

// TestRecordsOfOthersAreCountedUntilTheyAreApplied: and applying those of another process does not make the count negative.
func TestRecordsOfOthersAreCountedUntilTheyAreApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Config{})
		defer l.Stop()
		must(t, l.AppendOther(t.Context(), []byte("an order"), []byte("rules")))
		wakes(t, l, "a commit")
		l.Arrived(5)
		wakes(t, l, "a commit of another process")
		if l.Others() != 2 || l.Events() != 5 {
			t.Errorf("%d orders are not applied and %d events came, want 2 and 5", l.Others(), l.Events())
		}
		l.OthersApplied(7)
		if l.Others() != 0 {
			t.Errorf("%d orders are not applied, want none", l.Others())
		}
	})
}

// TestACommitApartGathersThoseWhoComeAgain: of two callers that were answered one is back, and the other will be.
func TestACommitApartGathersThoseWhoComeAgain(t *testing.T) {
	l := open(t, Config{Apart: true})
	defer l.Stop()
	l.Hold()
	defer l.Release()
	until := time.Now().Add(time.Minute)
	l.expected, l.gathers = 2, until
	must(t, l.enqueue(NewRequest([]byte("ann"))))
	go func() {
		time.Sleep(10 * time.Millisecond)
		_ = l.enqueue(NewRequest([]byte("bob")))
	}()
	l.commitGroup()
	if len(l.names) != 2 || l.Commits() != 1 || !time.Now().Before(until) {
		t.Errorf("%d commits of %d records, want both in one, as soon as both are there", l.Commits(), len(l.names))
	}
	must(t, l.enqueue(NewRequest([]byte("cid"))))
	if l.commit(Group{NewRequest([]byte("ann")), NewRequest([]byte("bob"))}); l.expected != 3 {
		t.Errorf("it expects %d callers: the two that it answered, and the one that came meanwhile", l.expected)
	}
}

// TestACommitIsBounded, so that the first of a long queue does not wait for the last. Its bytes are those of all records of a request.
func TestACommitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Config{})
		defer l.Stop()
		l.Hold()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 4 {
			_ = l.Append(gone, make([]byte, GroupBytes/4), make([]byte, GroupBytes/4))
		}
		commits := 0
		for l.commitGroup() && commits < 9 {
			commits++
		}
		l.Release()
		if commits != 2 {
			t.Errorf("twice as much as a commit has took %d", commits)
		}
	})
}

// TestAProbeIsNoCommitOfRecords: it shows that the disk works again.
func TestAProbeIsNoCommitOfRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Config{})
		defer l.Stop()
		l.Hold()
		l.commit(Group{NewRequest()})
		if l.Commits() != 0 || l.Events() != 0 || l.Finished() != 1 {
			t.Errorf("%d commits, %d events, %d finished", l.Commits(), l.Events(), l.Finished())
		}
		l.commit(Group{NewRequest([]byte("a"), []byte("b")), NewRequest([]byte("c"))})
		l.Release()
		if l.Commits() != 1 || l.Events() != 3 || l.Finished() != 2 {
			t.Errorf("%d commits, %d events, %d finished", l.Commits(), l.Events(), l.Finished())
		}
	})
}
