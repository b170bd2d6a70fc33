package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/datadir"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// TestEveryFormatHasTheStepThatLeadsThere, and a store of it that opens for ever.
func TestEveryFormatHasTheStepThatLeadsThere(t *testing.T) {
	onFiles(t)
	for n := range datadir.Format {
		if _, err := os.Stat(fmt.Sprintf("testdata/v%d/state.db.gz", n+1)); err != nil {
			t.Errorf("there is no store of format %d: %v", n+1, err)
		}
	}
	if int(datadir.Format) != len(bolt.Migrations)+1 {
		t.Errorf("Format is %d and there are %d migrations: each leads from one format to the next", datadir.Format, len(bolt.Migrations))
	}
}

// stateFileOf returns the state of a store that was in use, closed.
func stateFileOf(t *testing.T) string {
	b := open(t, rules(domain.SendEvent))
	b.receive(event("ann", "vip", true, 1))
	must(t, b.Close())
	return filepath.Join(b.dir, datadir.StateFile)
}

func withState(t *testing.T, path string, do func(db *bolt.State)) {
	t.Helper()
	db, err := bolt.Open(path, 0, false)
	must(t, err)
	defer db.Close()
	do(db)
}

// steps are the migrations there are, and more that lead on.
func steps(more ...bolt.Migration) []bolt.Migration {
	return append(slices.Clone(bolt.Migrations), more...)
}

// copyBefore is the name of the copy that a migration to a format leaves.
func copyBefore(format int) string { return fmt.Sprintf("before-format-%d.db", format) }

// note is a migration that leaves a trace.
func note(name string) bolt.Migration {
	return func(tx engine.Tx) error { return tx.Bucket(state.BucketMeta).Put([]byte(name), []byte("was here")) }
}

func noted(t *testing.T, db *bolt.State, name string) (found bool) {
	t.Helper()
	must(t, db.View(func(tx engine.Tx) error { found = tx.Bucket(state.BucketMeta).Get([]byte(name)) != nil; return nil }))
	return found
}

func formatOf(t *testing.T, db *bolt.State) uint32 {
	t.Helper()
	format, err := db.Format()
	must(t, err)
	return format
}

func TestMigrationTakesEveryStepOnceAndKeepsACopy(t *testing.T) {
	onFiles(t)
	path := stateFileOf(t)
	quiet := slog.New(slog.DiscardHandler)
	withState(t, path, func(db *bolt.State) {
		must(t, db.Migrate(steps(note("two")), quiet))
		must(t, db.Migrate(steps(func(engine.Tx) error { return errors.New("a second time") }, note("three")), quiet))
		if !noted(t, db, "two") || !noted(t, db, "three") || formatOf(t, db) != datadir.Format+2 {
			t.Errorf("after two steps the format is %d", formatOf(t, db))
		}
	})
	withState(t, filepath.Join(filepath.Dir(path), copyBefore(datadir.Format+1)), func(db *bolt.State) {
		if noted(t, db, "two") || formatOf(t, db) != datadir.Format {
			t.Errorf("the first copy has format %d", formatOf(t, db))
		}
	})
	withState(t, filepath.Join(filepath.Dir(path), copyBefore(datadir.Format+2)), func(db *bolt.State) {
		if !noted(t, db, "two") || noted(t, db, "three") || formatOf(t, db) != datadir.Format+1 {
			t.Errorf("the second copy has format %d", formatOf(t, db))
		}
	})

	_, err := Open(filepath.Dir(path), Options{Log: quiet}) // this program knows no format after its own
	if !errors.Is(err, wire.ErrNewer) {
		t.Errorf("the older program opens it with %v", err)
	}
}

// TestMigrationThatFailsChangesNothing: not even what the steps before it did.
func TestMigrationThatFailsChangesNothing(t *testing.T) {
	onFiles(t)
	path, broken := stateFileOf(t), errors.New("broken")
	withState(t, path, func(db *bolt.State) {
		err := db.Migrate(steps(note("two"), func(engine.Tx) error { return broken }), slog.New(slog.DiscardHandler))
		if !errors.Is(err, broken) || noted(t, db, "two") || formatOf(t, db) != datadir.Format {
			t.Errorf("it ended with %v, at format %d", err, formatOf(t, db))
		}
	})
	s, err := Open(filepath.Dir(path), Options{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	must(t, s.Close())
}

// TestMigrationStopsWithoutACopy: what cannot be gone back on is not begun.
func TestMigrationStopsWithoutACopy(t *testing.T) {
	onFiles(t)
	path := stateFileOf(t)
	withState(t, path, func(db *bolt.State) {
		must(t, os.MkdirAll(filepath.Join(filepath.Dir(path), copyBefore(datadir.Format+1), "in-the-way"), 0o700))
		if err := db.Migrate(steps(note("two")), slog.New(slog.DiscardHandler)); err == nil || noted(t, db, "two") {
			t.Errorf("it ended with %v", err)
		}
	})
}

// TestMigrationWithoutRoomWritesNothing: a disk that an upgrade fills is a second outage.
func TestMigrationWithoutRoomWritesNothing(t *testing.T) {
	onFiles(t)
	disk := tinyDisk(t, "4m")
	from, path := stateFileOf(t), filepath.Join(disk, datadir.StateFile)
	state, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(path, state, 0o600))
	fillDisk(t, disk)
	withState(t, path, func(db *bolt.State) {
		err := db.Migrate(steps(note("two")), slog.New(slog.DiscardHandler))
		if !errors.Is(err, datadir.ErrNoRoom) || noted(t, db, "two") || formatOf(t, db) != datadir.Format {
			t.Errorf("it ended with %v", err)
		}
	})
	if left, _ := filepath.Glob(filepath.Join(disk, "before-format*")); len(left) > 0 {
		t.Errorf("it began to copy: %v", left)
	}
}

// TestNoRoomForANewStoreIsNoFullDisk: nothing is received yet, so nothing is lost by not starting.
func TestNoRoomForANewStoreIsNoFullDisk(t *testing.T) {
	onFiles(t)
	disk := tinyDisk(t, "4m")
	fillDisk(t, disk)
	_, err := Open(filepath.Join(disk, "data"), Options{Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, datadir.ErrNoRoom) {
		t.Errorf("it ended with %v", err)
	}
	emptyDisk(t, disk)
	s, err := Open(filepath.Join(disk, "data"), Options{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	must(t, s.Close())
}

// TestKilledWhileMigrating kills a process before and behind the writes of a migration, and at any moment.
// The state is of one format, the old or the new; of the old one, the program that wrote it opens it, finds
// everything, and its ledger balances; and the next start brings it to the new one.
func TestKilledWhileMigrating(t *testing.T) {
	onFiles(t)
	kills, anyMoment := 1, crashpoint.Point("any moment")
	if os.Getenv("PERSONASYNC_TORTURE") != "" {
		kills = 40
	}
	origin := sample(t, 30)
	sound := filepath.Join(t.TempDir(), "data")
	copyStore(t, origin, sound)
	s := openQuietly(t, sound)
	must(t, s.Applied(t.Context()))
	want := facts(t, s)
	must(t, s.Close())
	for _, point := range []crashpoint.Point{crashpoint.MigrationCopied, crashpoint.MigrationWritten, anyMoment} {
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			done := 0
			for range kills {
				dir := filepath.Join(t.TempDir(), "data")
				copyStore(t, origin, dir)
				path := filepath.Join(dir, datadir.StateFile)
				child := exec.Command(os.Args[0], "-test.run=^TestMigrationChild$")
				child.Env = append(os.Environ(), "STORE_STATE="+path, "STORE_STEP="+string(point))
				var out bytes.Buffer
				child.Stdout, child.Stderr = &out, &out
				must(t, child.Start())
				if point == anyMoment {
					time.Sleep(rand.N(150 * time.Millisecond))
					_ = child.Process.Kill()
				}
				err := child.Wait()
				var died *exec.ExitError
				if !errors.As(err, &died) || died.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("the child was to be killed: %v\n%s", err, &out)
				}
				done += migratesAfter(t, dir, want)
			}
			t.Logf("%d kills, %d of them behind the migration", kills, done)
		})
	}
}

// migratesAfter looks at what a killed migration left, and goes on with it.
func migratesAfter(t *testing.T, dir string, want map[string]string) (done int) {
	t.Helper()
	path := filepath.Join(dir, datadir.StateFile)
	withState(t, path, func(db *bolt.State) {
		if done = int(formatOf(t, db)) - datadir.Format; noted(t, db, "two") != (done == 1) {
			t.Errorf("of format %d, and half migrated", done+datadir.Format)
		}
	})
	backup := filepath.Join(dir, copyBefore(datadir.Format+1))
	if _, err := os.Stat(backup); err == nil {
		withState(t, backup, func(db *bolt.State) {
			if formatOf(t, db) != datadir.Format || noted(t, db, "two") {
				t.Error("the copy is migrated")
			}
		})
	} else if done == 1 {
		t.Errorf("migrated without a copy: %v", err)
	}
	if done == 0 {
		s, err := Open(dir, Options{Log: slog.New(slog.DiscardHandler)})
		must(t, err)
		must(t, s.Applied(t.Context()))
		if lost, wrong := missing(want, facts(t, s)); len(lost)+len(wrong) > 0 {
			t.Errorf("lost: %v, wrong: %v", lost, wrong)
		}
		c, err := s.Counts()
		must(t, err)
		if !c.Events.Balances() || !c.Changes.Balances() {
			t.Errorf("the ledger does not balance: %+v %+v", c.Events, c.Changes)
		}
		must(t, s.Close())
	}
	withState(t, path, func(db *bolt.State) {
		must(t, db.Migrate(steps(rewrite), slog.New(slog.DiscardHandler)))
		if formatOf(t, db) != datadir.Format+1 || !noted(t, db, "two") {
			t.Error("the next start does not migrate it")
		}
	})
	return done
}

// rewrite is a migration that touches every row, and leaves a trace.
func rewrite(tx engine.Tx) error {
	for _, name := range [][]byte{state.BucketRows, state.BucketQueue, state.BucketHistory} {
		b := tx.Bucket(name)
		for _, k := range state.KeysWithPrefix(b, nil) {
			if err := b.Put(k, bytes.Clone(b.Get(k))); err != nil {
				return err
			}
		}
	}
	return note("two")(tx)
}

// TestMigrationChild is the process that TestKilledWhileMigrating kills.
func TestMigrationChild(t *testing.T) {
	onFiles(t)
	path, step := os.Getenv("STORE_STATE"), os.Getenv("STORE_STEP")
	if path == "" {
		return
	}
	crashpoint.OnPoint(func(at crashpoint.Point) {
		if at == crashpoint.Point(step) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	withState(t, path, func(db *bolt.State) {
		if err := db.Migrate(steps(rewrite), slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	})
	time.Sleep(time.Second) // until it is killed
	t.Fatalf("step %q never came", step)
}
