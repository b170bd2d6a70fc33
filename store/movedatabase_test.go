package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/crashpoint"
	"personasync/store/engine"
	"personasync/store/internal/datadir"
	"personasync/store/internal/move"
	"personasync/store/postgres"
	"personasync/store/postgres/pgtest"
)

func database(url string) SharedConfig {
	return SharedConfig{URL: url, Host: "test", Log: slog.New(slog.DiscardHandler)}
}

// connected connects to the database of a test.
func connected(t *testing.T, url string) *postgres.DB {
	t.Helper()
	c := database(url)
	c.Replicated = "no"
	db, err := postgres.Connect(t.Context(), c)
	must(t, err)
	t.Cleanup(db.Close)
	return db
}

// sumsIn sums up the store of a database.
func sumsIn(t *testing.T, db *postgres.DB) []MovePart {
	t.Helper()
	s := db.State(nil)
	defer s.Close()
	in, err := db.Log(0, nil)
	must(t, err)
	defer in.CloseFiles()
	defer in.Stop()
	parts, err := move.Sums(t.Context(), &move.Store{State: s, Records: in}, in.First())
	must(t, err)
	return parts
}

func moveTo(t *testing.T, dir string, to Destination) (MoveReport, error) {
	t.Helper()
	s, err := OpenToMove(dir, Options{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	r, err := s.Move(t.Context(), to, nil)
	must(t, s.Close())
	return r, err
}

func TestAStoreIsMovedToADatabase(t *testing.T) {
	onFiles(t)
	url := pgtest.URL(t)
	b, _ := busyStore(t)
	r, err := moveTo(t, b.dir, Database(database(url)))
	must(t, err)
	db := connected(t, url)
	if diff := cmp.Diff(r.Parts, sumsIn(t, db)); diff != "" {
		t.Error(diff)
	}
	if _, err := OpenReadOnly(b.dir); !errors.Is(err, ErrMovedAway) || !strings.Contains(err.Error(), "(schema personasync)") {
		t.Error(err)
	}
	if _, found, err := db.Moved(t.Context()); found || err != nil {
		t.Errorf("the new place is marked: %v", err)
	}
	in, err := db.Log(0, nil)
	must(t, err)
	if in.Next() != r.Next || in.First() != r.First {
		t.Errorf("records from %d, next %d, want %d and %d", in.First(), in.Next(), r.First, r.Next)
	}
	in.Stop()
	in.CloseFiles()
	if _, err := moveTo(t, b.dir, Database(database(url))); err == nil || !strings.Contains(err.Error(), "has a store already, which nobody moved away: name another schema") {
		t.Errorf("moved again over what may be newer: %v", err)
	}
	other := database(url)
	other.Schema = "another one"
	if _, err := moveTo(t, b.dir, Database(other)); !errors.Is(err, ErrMovedAway) {
		t.Errorf("it was moved a second time, elsewhere: %v", err)
	}
	b, _ = busyStore(t)
	_, err = moveTo(t, b.dir, Database(other))
	must(t, err)
}

func TestAMoveToADatabaseWhoseTermIsHeldIsRefused(t *testing.T) {
	onFiles(t)
	c := database(pgtest.URL(t))
	c.Replicated, c.TTL = "no", time.Second
	db, err := postgres.Connect(t.Context(), c)
	must(t, err)
	defer db.Close()
	b, was := busyStore(t)
	term, err := db.Acquire(t.Context())
	must(t, err)
	if _, err := moveTo(t, b.dir, Database(c)); !errors.Is(err, postgres.ErrHeld) || !strings.Contains(err.Error(), "stop every agent of this database first") {
		t.Error(err)
	}
	must(t, term.Release(t.Context()))
	if contentsOf(t, b.dir) != was {
		t.Error("it changed")
	}
}

// TestKilledDuringAMoveToADatabase is TestKilledDuringAMove for a database. The same command may come before the term of the
// killed one has run out.
func TestKilledDuringAMoveToADatabase(t *testing.T) {
	onFiles(t)
	t.Parallel()
	for _, step := range []crashpoint.Point{crashpoint.MoveCopied, crashpoint.MoveLeft} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			b, _ := busyStore(t)
			killDatabaseMove(t, step, url, "STORE_DIR="+b.dir)
			db := connected(t, url)
			if m, found, err := db.Moved(t.Context()); !found || m.From != b.dir || err != nil {
				t.Errorf("the new place: %+v, %v", m, err)
			}
			r, err := moveTo(t, b.dir, Database(database(url)))
			must(t, err)
			if diff := cmp.Diff(r.Parts, sumsIn(t, db)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestKilledDuringAMoveBackFromADatabase: at no moment can agents open both places, nobody is told that the folder never had
// data, and the same command comes to the end.
func TestKilledDuringAMoveBackFromADatabase(t *testing.T) {
	onFiles(t)
	t.Parallel()
	for _, step := range []crashpoint.Point{crashpoint.MoveCopied, crashpoint.MoveLeft, crashpoint.MovePlaced} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			url, to := pgtest.URL(t), filepath.Join(t.TempDir(), "new")
			b, was := busyStore(t)
			_, err := moveTo(t, b.dir, Database(database(url)))
			must(t, err)
			killDatabaseMove(t, step, url, "STORE_TO="+to)
			if _, err := OpenReadOnly(to); !errors.Is(err, ErrMovedAway) || !strings.Contains(err.Error(), "did not come to its end") {
				t.Errorf("the new place: %v", err)
			}
			v, old := share(t, url).OpenReadOnly(t.Context())
			if old == nil {
				must(t, v.Close())
			}
			if errors.Is(old, ErrMovedAway) != (step != crashpoint.MoveCopied) {
				t.Errorf("the old place: %v", old)
			}
			_, err = moveBack(t, share(t, url), to)
			must(t, err)
			if is := contentsOf(t, to); is != was {
				t.Error(cmp.Diff(was, is))
			}
			moved := adopt(t, to)
			moved.drain()
			moved.balance()
		})
	}
}

// killDatabaseMove has a process begin the move of a folder to a database, or of the database to a folder, and be killed at a step.
func killDatabaseMove(t *testing.T, step crashpoint.Point, url, folder string) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestMoveToDatabaseChild$")
	child.Env = append(os.Environ(), folder, "STORE_STEP="+string(step), "STORE_URL="+url)
	out, err := child.CombinedOutput()
	var died *exec.ExitError
	if !errors.As(err, &died) || died.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was to be killed: %v\n%s", err, out)
	}
	sql, err := pgconn.Connect(t.Context(), url)
	must(t, err)
	defer sql.Close(context.Background())
	must(t, sql.Exec(t.Context(), "UPDATE personasync.holder SET until = clock_timestamp() + interval '1 s'").Close()) // of five
}

// TestMoveToDatabaseChild is the process that killDatabaseMove starts.
func TestMoveToDatabaseChild(t *testing.T) {
	url, step := os.Getenv("STORE_URL"), os.Getenv("STORE_STEP")
	if url == "" {
		return
	}
	crashpoint.OnPoint(func(at crashpoint.Point) {
		if at == crashpoint.Point(step) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	var err error
	if dir := os.Getenv("STORE_DIR"); dir != "" {
		_, err = moveTo(t, dir, Database(database(url)))
	} else {
		_, err = moveBack(t, share(t, url), os.Getenv("STORE_TO"))
	}
	t.Fatalf("step %q never came: %v", step, err)
}

// share connects to the store in the database of a test.
func share(t *testing.T, url string) *Shared {
	t.Helper()
	c := database(url)
	c.Replicated = "no"
	h, err := Connect(t.Context(), c)
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

// moveBack moves the store of a database to dir.
func moveBack(t *testing.T, h *Shared, dir string) (MoveReport, error) {
	t.Helper()
	s, err := h.OpenToMove(t.Context(), t.TempDir(), Options{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	r, err := s.Move(t.Context(), Dir(dir), nil)
	must(t, s.Close())
	return r, err
}

func TestAStoreIsMovedToADatabaseAndBack(t *testing.T) {
	onFiles(t)
	url := pgtest.URL(t)
	b, was := busyStore(t)
	there, err := moveTo(t, b.dir, Database(database(url)))
	must(t, err)
	h := share(t, url)
	v, err := share(t, url).OpenReadOnly(t.Context())
	must(t, err)
	if is := contents(t, v); is != was {
		t.Error(cmp.Diff(was, is))
	}
	must(t, v.Close())
	back, err := moveBack(t, h, b.dir)
	must(t, err)
	if is := contentsOf(t, b.dir); is != was {
		t.Error(cmp.Diff(was, is))
	}
	for i, p := range there.Parts {
		if q := back.Parts[i]; p != q {
			t.Errorf("%+v came back as %+v", p, q)
		}
	}
	if back.Next != there.Next || back.First != there.First {
		t.Errorf("records %d to %d came back as %d to %d", there.First, there.Next, back.First, back.Next)
	}

	// The database says where the store went, and its agents open it no more.
	_, opened := h.Open(t.Context(), t.TempDir(), Options{Log: slog.New(slog.DiscardHandler)})
	_, read := share(t, url).OpenReadOnly(t.Context())
	for _, err := range []error{opened, read} {
		if !errors.Is(err, ErrMovedAway) || !strings.Contains(err.Error(), "(schema personasync) was moved to "+b.dir) {
			t.Error(err)
		}
	}
	again := adopt(t, b.dir)
	again.receive(event("dan", "vip", true, 5))
	again.drain()
	again.balance()
	v = &again.View
	was = contents(t, v)
	must(t, again.Close())
	_, err = moveTo(t, b.dir, Database(database(url))) // over what was moved away from there
	must(t, err)
	v, err = share(t, url).OpenReadOnly(t.Context())
	must(t, err)
	if is := contents(t, v); is != was {
		t.Error(cmp.Diff(was, is))
	}
	must(t, v.Close())
}

// TestGoingBackToADatabaseThatWasMovedAwayBeginsAnEpoch: by the statements of the docs.
func TestGoingBackToADatabaseThatWasMovedAwayBeginsAnEpoch(t *testing.T) {
	onFiles(t)
	url := pgtest.URL(t)
	b, _ := busyStore(t)
	_, err := moveTo(t, b.dir, Database(database(url)))
	must(t, err)
	h := share(t, url)
	s, err := h.Open(t.Context(), t.TempDir(), Options{Log: slog.New(slog.DiscardHandler)}) // the first start arrives there
	must(t, err)
	must(t, s.Close())
	_, err = moveBack(t, h, b.dir)
	must(t, err)
	sql, err := pgconn.Connect(t.Context(), url)
	must(t, err)
	defer sql.Close(context.Background())
	must(t, sql.Exec(t.Context(), "DELETE FROM personasync.moved; INSERT INTO personasync.append_lock VALUES (1)").Close())
	var log bytes.Buffer
	s, err = h.Open(t.Context(), t.TempDir(), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	must(t, s.Append(t.Context(), event("dan", "vip", true, 9)))
	must(t, s.Applied(t.Context()))
	must(t, s.Close())
	if !strings.Contains(log.String(), "another epoch") {
		t.Errorf("it went on with the old one: %s", &log)
	}
}

// TestAMoveAwayFromAgentsAtWorkIsRefused: a door acknowledges what the move would leave behind.
func TestAMoveAwayFromAgentsAtWorkIsRefused(t *testing.T) {
	onFiles(t)
	t.Parallel()
	url := pgtest.URL(t)
	b, _ := busyStore(t)
	_, err := moveTo(t, b.dir, Database(database(url)))
	must(t, err)
	options := Options{Log: slog.New(slog.DiscardHandler)}
	writer, err := share(t, url).Open(t.Context(), t.TempDir(), options)
	must(t, err)
	if _, err := share(t, url).OpenToMove(t.Context(), t.TempDir(), options); !errors.Is(err, postgres.ErrHeld) || !strings.Contains(err.Error(), "stop every agent") {
		t.Errorf("with a writer: %v", err)
	}
	must(t, writer.Close())
	mover, err := share(t, url).OpenToMove(t.Context(), t.TempDir(), options)
	must(t, err)
	door, err := share(t, url).Open(t.Context(), t.TempDir(), options)
	must(t, err)
	_, err = mover.Move(t.Context(), Dir(b.dir), nil)
	must(t, err)
	if err := door.Append(t.Context(), event("dan", "vip", true, 9)); err == nil || !strings.Contains(err.Error(), "moved away") {
		t.Errorf("a door acknowledged an event that nobody will apply: %v", err)
	}
	must(t, errors.Join(mover.Close(), door.Close()))
}

// TestAPlaceThatIsBeingFilledIsNoSource: what is there may be half of a store, or an old one.
func TestAPlaceThatIsBeingFilledIsNoSource(t *testing.T) {
	onFiles(t)
	url := pgtest.URL(t)
	b, _ := busyStore(t)
	must(t, datadir.MarkMoved(b.dir, MovedError{From: "elsewhere"}))
	if _, err := OpenToMove(b.dir, Options{Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, ErrMovedAway) {
		t.Error(err)
	}
	must(t, datadir.UnmarkMoved(b.dir))
	_, err := moveTo(t, b.dir, Database(database(url)))
	must(t, err)
	db := connected(t, url)
	term, err := db.Acquire(t.Context())
	must(t, err)
	must(t, term.Empty(t.Context(), "elsewhere"))
	must(t, db.Create(t.Context(), term, 7, nil, func(engine.Tx) error { return nil }))
	must(t, term.Release(t.Context()))
	h := share(t, url)
	for name, open := range map[string]func() error{
		"moved": func() error { _, err := h.OpenToMove(t.Context(), t.TempDir(), Options{}); return err },
		"run": func() error {
			_, err := h.Open(t.Context(), t.TempDir(), Options{Log: slog.New(slog.DiscardHandler)})
			return err
		},
	} {
		if err := open(); !errors.Is(err, ErrMovedAway) || !strings.Contains(err.Error(), "the move from elsewhere") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
