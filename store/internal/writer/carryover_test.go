package writer

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// home reads where the file says that the state runs, and its last epoch.
func home(t *testing.T, w *Writer) (at string, epoch uint32) {
	t.Helper()
	must(t, w.db.View(func(tx engine.Tx) error {
		st, err := state.LoadState(tx)
		if err == nil {
			at, epoch = string(st.Home), st.Epochs[len(st.Epochs)-1].Epoch
		}
		return err
	}))
	return at, epoch
}

// TestANewPlaceIsNotedOnce: before a record is taken, if ids begin a new epoch there, and else with whatever is written next.
func TestANewPlaceIsNotedOnce(t *testing.T) {
	w := newWriter(t)
	must(t, w.Recover())
	must(t, w.Finish())
	if w.finished.Load() != 0 || w.EpochPending() {
		t.Errorf("%d transactions, and nothing to write", w.finished.Load())
	}
	w.Arrive(&state.Arrival{Home: []byte("here")})
	must(t, w.Recover())
	if at, _ := home(t, w); at != "" || w.finished.Load() != 0 {
		t.Errorf("a transaction of its own says that it runs at %q", at)
	}
	must(t, w.Finish())
	if at, epoch := home(t, w); at != "here" || epoch != 1 {
		t.Errorf("at the end it says %q, epoch %d", at, epoch)
	}
	w.Arrive(&state.Arrival{Home: []byte("there"), First: 5, Epoch: 9})
	must(t, w.Recover())
	if at, epoch := home(t, w); at != "there" || epoch != 9 || w.EpochPending() {
		t.Errorf("a new epoch: it says %q, epoch %d, pending %v", at, epoch, w.EpochPending())
	}
	for _, place := range []string{"a compacted file", "another"} {
		w.Moved([]byte(place))
		must(t, w.Write(false))
		if at, _ := home(t, w); at != place {
			t.Errorf("after a compaction it says %q, want %q", at, place)
		}
	}
}

// TestAnEpochThatCannotBeWrittenIsPending: ids of it must not be given away.
func TestAnEpochThatCannotBeWrittenIsPending(t *testing.T) {
	w := newWriter(t)
	must(t, w.db.Close())
	w.Arrive(&state.Arrival{Home: []byte("here"), First: 5, Epoch: 9})
	if err := w.Recover(); err == nil || !w.EpochPending() {
		t.Errorf("%v, pending %v", err, w.EpochPending())
	}
}

// TestFailuresInARowAreThoseOfApplying: a command that finds room on a full disk ends no row, and a batch does.
func TestFailuresInARowAreThoseOfApplying(t *testing.T) {
	n, no := newNotifier(), errors.New("no")
	for i, step := range []struct {
		fault error
		apply bool
		want  int
	}{{no, true, 1}, {no, true, 2}, {nil, false, 2}, {no, true, 3}, {nil, true, 0}, {nil, false, 0}} {
		before := n.current.Load()
		n.ended(step.fault, step.apply)
		if got := n.current.Load(); got.failures != step.want || got.fault != step.fault {
			t.Errorf("step %d: %d in a row, %v", i, got.failures, got.fault)
		}
		select {
		case <-before.reached:
		default:
			t.Errorf("step %d: nobody is told", i)
		}
	}
}

// TestApplyRestsAsTheLoadSays: not at all if nobody waits for the disk, and longer after a failure.
func TestApplyRestsAsTheLoadSays(t *testing.T) {
	w := newWriter(t)
	if got := w.restAfter(time.Second, 0); got != minRest {
		t.Errorf("with nothing to apply it rests %v", got)
	}
	must(t, w.inbox.Append(t.Context(), record.AppendEvent(nil, new(domain.Event))))
	for arrived, want := range map[int64]time.Duration{-1: 0, 0: 0, 1: minRest} {
		w.apply.reached = time.Now().Add(-patience)
		if got := w.restAfter(time.Second, arrived); got != want {
			t.Errorf("with a lag, and %d that came meanwhile, it rests %v, want %v", arrived, got, want)
		}
	}
	w.apply.unreadable = true
	if got := w.restAfter(time.Second, 0); got != writeRetry {
		t.Errorf("after an inbox that cannot be read it rests %v", got)
	}
	no := errors.New("no")
	for _, tc := range []struct {
		err   error
		apply bool
		want  error
	}{{nil, true, errUnreadable}, {nil, false, nil}, {no, true, no}} {
		if got := w.fault(tc.err, tc.apply); got != tc.want {
			t.Errorf("after %v, apply %v, the waiting are told %v", tc.err, tc.apply, got)
		}
	}
}

// TestSlowerAcknowledgementsAreLogged, when they begin and when they end.
func TestSlowerAcknowledgementsAreLogged(t *testing.T) {
	w, text := newWriter(t), new(bytes.Buffer)
	w.log = slog.New(slog.NewTextHandler(text, nil))
	long := time.Now().Add(-time.Hour)
	must(t, w.inbox.Append(t.Context(), record.AppendEvent(nil, new(domain.Event))))
	w.apply.reached, w.apply.pacing = long, pacing{since: long, late: long}
	for i, want := range []string{"events come faster than they can be applied", "", "events are acknowledged as fast as they come again", ""} {
		text.Reset()
		if w.pace(i >= 2); (text.Len() == 0) != (want == "") || !strings.Contains(text.String(), want) {
			t.Errorf("look %d logs %q, want %q", i, text, want)
		}
	}
}

// TestAHoleIsPassedOnlyWhereACheckFoundIt: up to the last record that it read. Another is damage, and a start checks the files.
func TestAHoleIsPassedOnlyWhereACheckFoundIt(t *testing.T) {
	for checked, passes := range map[uint64]bool{0: false, 1: true, 2: true} {
		w := newWriter(t)
		for range 3 {
			must(t, w.inbox.Append(t.Context(), record.AppendEvent(nil, new(domain.Event))))
		}
		w.checked = checked
		var err error
		must(t, w.update(func(kv engine.Tx) error {
			err = w.passHole(state.NewTx(kv, w.state, w.log), 3)
			return nil
		}))
		if passes && (err != nil || w.state.Applied != 2 || w.state.Ledger.Events.Lost != 2) || !passes && !errors.Is(err, wire.ErrDamaged) {
			t.Errorf("checked up to %d: %v, applied up to %d", checked, err, w.state.Applied)
		}
	}
}
