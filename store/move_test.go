package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/internal/datadir"
)

// busyStore is a store with something of everything, closed, and its contents.
func busyStore(t *testing.T) (b *bench, was string) {
	t.Helper()
	b = open(t, rules(domain.SendBoth|domain.SendCohort))
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 2), trait("ann", "spent", 3, "10", "20"), passThroughEvent("m1"))
	b.take()
	b.receive(event("bob", "vip", false, 4))
	must(t, b.Store.Close())
	again := adopt(t, b.dir) // a start settles the lease
	must(t, again.Applied(t.Context()))
	must(t, again.Close())
	return b, contentsOf(t, b.dir)
}

func passThroughEvent(id string) *domain.Event { return event("cid", "", true, 1, passThrough(id)) }

func moveDir(t *testing.T, from, to string) (MoveReport, error) {
	t.Helper()
	s, err := OpenToMove(from, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return MoveReport{}, err
	}
	r, err := s.Move(t.Context(), Dir(to), nil)
	must(t, s.Close())
	return r, err
}

func contentsOf(t *testing.T, dir string) string {
	t.Helper()
	v, err := OpenReadOnly(dir)
	must(t, err)
	defer v.Close()
	return contents(t, v)
}

func TestAStoreIsMovedThereAndBack(t *testing.T) {
	onFiles(t)
	b, was := busyStore(t)
	to := filepath.Join(t.TempDir(), "new")
	r, err := moveDir(t, b.dir, to)
	must(t, err)
	if is := contentsOf(t, to); is != was {
		t.Error(cmp.Diff(was, is))
	}
	if r.From != b.dir || r.To != to || len(r.Parts) < 20 || r.First == 0 || r.Next < 6 || r.Previous != "" {
		t.Errorf("%+v", r)
	}

	// The old place says where the store went, to a reader, to an agent, and to a move elsewhere.
	_, read := OpenReadOnly(b.dir)
	_, opened := Open(b.dir, Options{Log: slog.New(slog.DiscardHandler)})
	for _, err := range []error{read, opened} {
		if !errors.Is(err, ErrMovedAway) || !strings.Contains(err.Error(), "that in "+b.dir+" was moved to "+to) {
			t.Error(err)
		}
	}
	if again, err := moveDir(t, b.dir, to); err == nil || !strings.Contains(err.Error(), to+" has a store already, which nobody moved away") {
		t.Errorf("moved again over what may be newer: %+v, %v", again, err)
	}

	moved := adopt(t, to)
	moved.receive(event("dan", "vip", true, 5))
	moved.balance()
	v := moved.View
	was = contents(t, &v)
	must(t, moved.Store.Close())
	r, err = moveDir(t, to, b.dir)
	must(t, err)
	if is := contentsOf(t, b.dir); is != was {
		t.Errorf("back again it is\n%s\nwas\n%s", is, was)
	}
	if _, err := os.Stat(filepath.Join(r.Previous, datadir.StateFile)); err != nil || !strings.HasPrefix(r.Previous, b.dir) {
		t.Errorf("the old files are in %q: %v", r.Previous, err)
	}
	back := adopt(t, b.dir)
	back.drain()
	back.balance()
	must(t, back.Close())
	if n := epochOf(t, b.dir); n != epochOf(t, to) {
		t.Error("it has another epoch now")
	}
}

// TestAStoreThatWasMovedAwayIsMovedNowhereElse: the old place, given to a second move, became a second store of the same
// events, and agents could open both.
func TestAStoreThatWasMovedAwayIsMovedNowhereElse(t *testing.T) {
	onFiles(t)
	b, _ := busyStore(t)
	to, elsewhere := filepath.Join(t.TempDir(), "to"), filepath.Join(t.TempDir(), "elsewhere")
	_, err := moveDir(t, b.dir, to)
	must(t, err)
	if _, err := moveDir(t, b.dir, elsewhere); !errors.Is(err, ErrMovedAway) || !strings.Contains(err.Error(), fmt.Sprintf("data_dir = %q", to)) {
		t.Errorf("moved a second time: %v", err)
	}
	if _, err := os.Stat(elsewhere); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was made there: %v", err)
	}
}

func TestAMoveIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	onFiles(t)
	b, was := busyStore(t)
	other, _ := busyStore(t)
	empty := t.TempDir()
	for _, c := range []struct{ from, to, want string }{
		{b.dir, other.dir, "has a store already, which nobody moved away"},
		{b.dir, b.dir, "is there already: name another place"},
		{b.dir, filepath.Join(empty, "none", "deeper"), "mount its disk, or make that folder"},
		{empty, filepath.Join(empty, "new"), "no data here yet"},
	} {
		if _, err := moveDir(t, c.from, c.to); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
		}
	}
	if contentsOf(t, b.dir) != was {
		t.Error("it changed")
	}
	contentsOf(t, other.dir)
}

func TestAMoveThatFailsLeavesTheStoreWhereItWas(t *testing.T) {
	onFiles(t)
	b, was := busyStore(t)
	to := filepath.Join(t.TempDir(), "new")
	gone := errors.New("the caller went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	s, err := OpenToMove(b.dir, Options{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	_, err = s.Move(ctx, Dir(to), func(int64, int64) { cancel(gone) })
	must(t, s.Close())
	if !errors.Is(err, gone) {
		t.Error(err)
	}
	if contentsOf(t, b.dir) != was {
		t.Error("it changed")
	}
	if left, _ := filepath.Glob(filepath.Join(to, "*")); len(left) != 1 || filepath.Base(left[0]) != datadir.LockFile {
		t.Errorf("there are %v", left)
	}
	_, err = moveDir(t, b.dir, to)
	must(t, err)
	if contentsOf(t, to) != was {
		t.Error("the second attempt made something else")
	}
}

// TestGoingBackToAStoreThatWasMovedAwayBeginsAnEpoch: as the docs say, by removing the mark. The new place has given the next
// numbers to other changes.
func TestGoingBackToAStoreThatWasMovedAwayBeginsAnEpoch(t *testing.T) {
	onFiles(t)
	b, _ := busyStore(t)
	_, err := moveDir(t, b.dir, filepath.Join(t.TempDir(), "new"))
	must(t, err)
	must(t, os.Remove(filepath.Join(b.dir, datadir.MovedFile)))
	var log bytes.Buffer
	s, err := Open(b.dir, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	must(t, s.Close())
	if !strings.Contains(log.String(), "another epoch") {
		t.Errorf("it went on with the old one: %s", &log)
	}
}

// TestKilledDuringAMove kills a process at every step. At no moment can both places be opened, and the same command comes to
// the end.
func TestKilledDuringAMove(t *testing.T) {
	onFiles(t)
	for _, step := range []crashpoint.Point{crashpoint.MoveCopied, crashpoint.MoveLeft, crashpoint.MovePlaced} {
		for _, back := range []bool{false, true} {
			t.Run(string(step), func(t *testing.T) { killMove(t, step, back) })
		}
	}
}

// killMove has the new place be one that the store was moved away from, if back says so.
func killMove(t *testing.T, step crashpoint.Point, back bool) {
	t.Parallel()
	b, was := busyStore(t)
	from, to := b.dir, filepath.Join(t.TempDir(), "new")
	if back {
		_, err := moveDir(t, from, to)
		must(t, err)
		from, to = to, from
	}
	child := exec.Command(os.Args[0], "-test.run=^TestMoveChild$")
	child.Env = append(os.Environ(), "STORE_DIR="+from, "STORE_STEP="+string(step), "STORE_TO="+to)
	out, err := child.CombinedOutput()
	var died *exec.ExitError
	if !errors.As(err, &died) || died.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was to be killed: %v\n%s", err, out)
	}
	v, old := OpenReadOnly(from)
	if old == nil {
		must(t, v.Close())
	}
	if errors.Is(old, ErrMovedAway) != (step != crashpoint.MoveCopied) {
		t.Errorf("the old place: %v", old)
	}
	if _, err := Open(to, Options{Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, ErrMovedAway) || !strings.Contains(err.Error(), "did not come to its end") {
		t.Errorf("the new place: %v", err)
	}
	_, err = moveDir(t, from, to)
	must(t, err)
	if is := contentsOf(t, to); is != was {
		t.Error(cmp.Diff(was, is))
	}
	moved := adopt(t, to)
	moved.drain()
	moved.balance()
}

// TestMoveChild is the process that TestKilledDuringAMove kills.
func TestMoveChild(t *testing.T) {
	to, step := os.Getenv("STORE_TO"), os.Getenv("STORE_STEP")
	if to == "" {
		return
	}
	crashpoint.OnPoint(func(at crashpoint.Point) {
		if at == crashpoint.Point(step) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	_, err := moveDir(t, os.Getenv("STORE_DIR"), to)
	t.Fatalf("step %q never came: %v", step, err)
}

// A restore puts a store in place again, whatever became of the one before. Undone, that one is moved away again.
func TestARestoreWhereAStoreWasMovedAway(t *testing.T) {
	onFiles(t)
	b, _ := busyStore(t)
	again := adopt(t, b.dir)
	path := backUp(t, again)
	must(t, again.Close())
	_, err := moveDir(t, b.dir, filepath.Join(t.TempDir(), "new"))
	must(t, err)
	r, err := Restore(t.Context(), path, b.dir, nil)
	must(t, err)
	contentsOf(t, b.dir)
	_, err = PutBack(b.dir, r.Previous)
	must(t, err)
	if _, err := OpenReadOnly(b.dir); !errors.Is(err, ErrMovedAway) {
		t.Error(err)
	}
}
