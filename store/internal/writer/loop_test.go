package writer

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// failing is a state whose next transactions end with these errors; nil: as they do.
type failing struct {
	engine.State
	updates, views []error
}

// next takes the first error off a list.
func next(errs *[]error) (err error) {
	if len(*errs) > 0 {
		err, *errs = (*errs)[0], (*errs)[1:]
	}
	return err
}

func (f *failing) Update(do func(engine.Tx) error) error {
	if err := next(&f.updates); err != nil {
		return err
	}
	return f.State.Update(do)
}

func (f *failing) View(do func(engine.Tx) error) error {
	if err := next(&f.views); err != nil {
		return err
	}
	return f.State.View(do)
}

// loop has f test a running writer, in a time that passes only while everybody waits. change prepares the writer.
func loop(t *testing.T, change func(w *Writer), f func(t *testing.T, w *Writer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWriter(t)
		change(w)
		limit := time.AfterFunc(2*time.Minute, func() { panic("the writer goes on, and what is waited for does not come") })
		defer limit.Stop()
		go w.Run()
		t.Cleanup(func() {
			if !w.Ended() {
				w.Stop()
			}
		})
		f(t, w)
	})
}

// receiveEnter appends an event of a user, and does not wait until it is applied.
func receiveEnter(t *testing.T, w *Writer, user string) {
	t.Helper()
	must(t, w.inbox.Append(t.Context(), record.AppendEvent(nil, enter(user))))
}

func nothing(*state.Tx) error { return nil }

// TestAnApplyThatFailsIsTriedAgainASecondLater: a caller that waits is told of a full disk at once. Commands go alone
// meanwhile, because there may be room for them.
func TestAnApplyThatFailsIsTriedAgainASecondLater(t *testing.T) {
	full := domain.ErrFull
	for name, change := range map[string]func(w *Writer){
		"a transaction fails": func(w *Writer) { w.db = &failing{State: w.db, updates: []error{full}} },
		"the disk is tight": func(w *Writer) {
			errs := []error{full}
			w.tight = func() error { return next(&errs) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			loop(t, change, func(t *testing.T, w *Writer) {
				began, told := time.Now(), make(chan error, 1)
				go func() { told <- w.AwaitApplied(t.Context(), 1) }()
				synctest.Wait() // who asks after the failure is told of the next
				receiveEnter(t, w, "ann")
				if err := <-told; !errors.Is(err, full) || time.Since(began) != 0 {
					t.Errorf("after %v the caller is told %v", time.Since(began), err)
				}
				must(t, w.Do(t.Context(), nothing, nil))
				if synctest.Wait(); w.Applied() != 0 || time.Since(began) != 0 {
					t.Errorf("a command has %d records applied, after %v", w.Applied(), time.Since(began))
				}
				must(t, w.AwaitApplied(t.Context(), 1))
				if time.Since(began) != writeRetry {
					t.Errorf("it is tried again after %v", time.Since(began))
				}
			})
		})
	}
}

// TestNothingIsWrittenUntilTheStateIsReadBack: what a failed transaction left in memory would be written with it.
func TestNothingIsWrittenUntilTheStateIsReadBack(t *testing.T) {
	failed, unread := errors.New("the transaction failed"), errors.New("the state cannot be read")
	db := &failing{updates: []error{failed}, views: []error{unread, unread, unread}}
	loop(t, func(w *Writer) { db.State, w.db = w.db, db }, func(t *testing.T, w *Writer) {
		began := time.Now()
		if err := w.Do(t.Context(), nothing, nil); !errors.Is(err, failed) {
			t.Errorf("the transaction that fails ends with %v", err)
		}
		ran := false
		if err := w.Do(t.Context(), func(*state.Tx) error { ran = true; return nil }, nil); !errors.Is(err, unread) || ran {
			t.Errorf("the next ends with %v, ran %v", err, ran)
		}
		receiveEnter(t, w, "ann")
		if synctest.Wait(); w.Applied() != 0 || len(db.views) > 0 {
			t.Errorf("%d are applied, %d reads have not failed yet", w.Applied(), len(db.views))
		}
		must(t, w.AwaitApplied(t.Context(), 1))
		if time.Since(began) != writeRetry {
			t.Errorf("it is read back after %v", time.Since(began))
		}
	})
}

// TestDamageEndsTheWriter: callers are answered that the store is closed, and none waits.
func TestDamageEndsTheWriter(t *testing.T) {
	for name, db := range map[string]*failing{
		"of a page that is written": {updates: []error{wire.ErrDamaged}},
		"of a page that is read":    {updates: []error{errors.New("no")}, views: []error{errors.New("no"), wire.ErrDamaged}},
	} {
		t.Run(name, func(t *testing.T) {
			loop(t, func(w *Writer) { db.State, w.db = w.db, db }, func(t *testing.T, w *Writer) {
				for range 2 {
					if err := w.Do(t.Context(), nothing, nil); err == nil {
						t.Error("a transaction that meets it succeeds")
					}
				}
				synctest.Wait()
				if err := w.Do(t.Context(), nothing, nil); !w.Ended() || !errors.Is(err, domain.ErrClosed) {
					t.Errorf("ended %v, the next command is answered %v", w.Ended(), err)
				}
				must(t, w.Finish()) // nothing more is written
			})
		})
	}
}

// TestNothingIsAppliedWhileACompactionCannotFollow, and commands are carried out.
func TestNothingIsAppliedWhileACompactionCannotFollow(t *testing.T) {
	for name, end := range map[string]func(w *Writer, full *atomic.Bool) error{
		"it can follow again": func(_ *Writer, full *atomic.Bool) error { full.Store(false); return nil },
		"it gives up":         func(w *Writer, _ *atomic.Bool) error { return w.Pause(func() { w.HoldWhile(nil) }) },
		"it has ended":        func(w *Writer, _ *atomic.Bool) error { return w.Pause(func() { w.Moved([]byte("here")) }) },
	} {
		t.Run(name, func(t *testing.T) {
			full := new(atomic.Bool)
			full.Store(true)
			loop(t, func(w *Writer) { w.HoldWhile(full.Load) }, func(t *testing.T, w *Writer) {
				receiveEnter(t, w, "ann")
				time.Sleep(10 * time.Second)
				must(t, w.Do(t.Context(), nothing, nil))
				if synctest.Wait(); w.Applied() != 0 {
					t.Errorf("%d are applied", w.Applied())
				}
				began := time.Now()
				must(t, errors.Join(end(w, full), w.AwaitApplied(t.Context(), 1)))
				if time.Since(began) > minRest {
					t.Errorf("it goes on after %v", time.Since(began))
				}
			})
		})
	}
}

// TestWhatAFailedStartLeftIsWrittenWithoutAnEvent: a full disk kept it from being written, and there is room again.
func TestWhatAFailedStartLeftIsWrittenWithoutAnEvent(t *testing.T) {
	for name, carry := range map[string]func(c *carryOver){
		"requests that were cut off":       func(c *carryOver) { c.interrupted = true },
		"a new place":                      func(c *carryOver) { c.arrival = &state.Arrival{Home: []byte("here")} },
		"a lease that no sender was given": func(c *carryOver) { c.orphaned = []uint64{5} },
		"":                                 func(*carryOver) {},
	} {
		loop(t, func(w *Writer) { carry(&w.carry) }, func(t *testing.T, w *Writer) {
			if synctest.Wait(); (w.finished.Load() == 1) != (name != "") || w.carry.any() {
				t.Errorf("%q: %d transactions, and something is left: %v", name, w.finished.Load(), w.carry.any())
			}
		})
	}
}

// TestACallerThatWaitsEndsARestThatIsForNobody: the rest gathers events that others send, and none do.
func TestACallerThatWaitsEndsARestThatIsForNobody(t *testing.T) {
	for arrive, want := range map[int64]time.Duration{0: 0, 1: minRest} {
		loop(t, func(w *Writer) { w.inbox = &scripted{Inbox: w.inbox, arrive: arrive} }, func(t *testing.T, w *Writer) {
			receiveEnter(t, w, "ann")
			must(t, w.AwaitApplied(t.Context(), 1))
			began := time.Now()
			receiveEnter(t, w, "bob")
			must(t, w.AwaitApplied(t.Context(), 2))
			must(t, w.Pause(func() {
				if w.apply.pacing.alone != (arrive == 0) {
					t.Errorf("while %d come in a batch, it counts as alone: %v", arrive, w.apply.pacing.alone)
				}
			}))
			if time.Since(began) != want {
				t.Errorf("while %d come in a batch, the next begins after %v, want %v", arrive, time.Since(began), want)
			}
		})
	}
}

// TestAPauseLeavesApplyWhereItWas: a function that runs between two transactions delays nothing.
func TestAPauseLeavesApplyWhereItWas(t *testing.T) {
	loop(t, func(*Writer) {}, func(t *testing.T, w *Writer) {
		began, ran := time.Now(), false
		must(t, w.Pause(func() {
			ran = true
			receiveEnter(t, w, "ann")
		}))
		synctest.Wait()
		if !ran || w.Applied() != 1 || time.Since(began) != 0 {
			t.Errorf("ran %v, %d are applied after %v", ran, w.Applied(), time.Since(began))
		}
	})
}

// TestAnAbsentWriterSaysWhoWrites, and has nothing to write at its end.
func TestAnAbsentWriterSaysWhoWrites(t *testing.T) {
	w, elsewhere := newWriter(t), errors.New("another process writes")
	w.Absent(func() error { return elsewhere })
	w.refused.Count(domain.Refusal{Route: "webhook", Status: 401, Code: "invalid_signature", Last: noon})
	for name, err := range map[string]error{
		"do":    w.Do(t.Context(), nothing, nil),
		"pause": w.Pause(func() { t.Error("it ran") }),
		"await": w.AwaitApplied(context.Background(), 1),
	} {
		if !errors.Is(err, elsewhere) {
			t.Errorf("%s answers %v", name, err)
		}
	}
	l := &Liveness{Writer: w}
	must(t, errors.Join(l.Check(t.Context()), l.Check(t.Context()), w.Finish()))
	if w.finished.Load() != 0 {
		t.Error("it wrote")
	}
}

// TestCommandsThatWaitShareATransaction.
func TestCommandsThatWaitShareATransaction(t *testing.T) {
	loop(t, func(*Writer) {}, func(t *testing.T, w *Writer) {
		var did atomic.Int64
		must(t, w.Pause(func() {
			for range 3 {
				go func() {
					if err := w.Do(t.Context(), func(*state.Tx) error { did.Add(1); return nil }, nil); err != nil {
						t.Error(err)
					}
				}()
			}
			synctest.Wait()
		}))
		if synctest.Wait(); did.Load() != 3 || w.finished.Load() != 1 {
			t.Errorf("%d commands in %d transactions", did.Load(), w.finished.Load())
		}
	})
}
