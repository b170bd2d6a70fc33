package backup

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/agent/config"
	"personasync/store"
	"personasync/store/domain"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kept is a Keeper of an empty store, and the folder of its backups.
type kept struct {
	*Keeper
	t         *testing.T
	data, dir string
	place     place
}

func keep(t *testing.T, prove Prover) *kept {
	t.Helper()
	k := &kept{t: t, data: filepath.Join(t.TempDir(), "data"), dir: t.TempDir()}
	s, err := store.Open(k.data, store.Options{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	k.Keeper = New(s, prove, slog.New(slog.DiscardHandler))
	epoch, err := s.Epoch()
	must(t, err)
	k.place = placeOf(k.dir, epoch)
	return k
}

func (k *kept) make(n int) error { return k.run(k.t.Context(), k.data, k.dir, n) }

// names lists what is in the folder.
func (k *kept) names() (list []string) {
	entries, err := os.ReadDir(k.dir)
	must(k.t, err)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// file makes a file in the folder, as another run left it.
func (k *kept) file(name string) string {
	must(k.t, os.WriteFile(filepath.Join(k.dir, name), []byte("x"), 0o600))
	return name
}

func (k *kept) at(moment time.Time) string {
	return k.file(k.place.stem + "-" + moment.UTC().Format(nameTime) + ".tar")
}

func TestABackupHasItsNameAfterItsProofAlone(t *testing.T) {
	var k *kept
	proofs := 0
	k = keep(t, func(ctx context.Context, path, scratch string) (*store.CheckReport, error) {
		if proofs++; len(k.names()) != 1 || path != k.place.unproven {
			t.Errorf("while it is proven there are %q", k.names())
		}
		return store.ProveBackup(ctx, path, scratch)
	})
	must(t, k.make(1))
	good, err := k.store.GoodBackup()
	must(t, err)
	if list := k.names(); proofs != 1 || len(list) != 1 || good == nil || good.File != filepath.Join(k.dir, list[0]) || good.Proven.Before(good.Made) {
		t.Fatalf("there are %q, and the record says %+v", k.names(), good)
	}
	info, err := store.VerifyBackup(good.File, nil)
	must(t, err)
	if stat, err := os.Stat(good.File); err != nil || stat.Mode().Perm() != 0o600 || stat.Size() != good.Bytes || !info.Made.Equal(good.Made) {
		t.Errorf("%v, %v; %+v", stat, err, info)
	}
}

func TestAnOldBackupGoesOnlyForAGoodNewOne(t *testing.T) {
	fails := errors.New("a page is damaged")
	var result error
	k := keep(t, func(context.Context, string, string) (*store.CheckReport, error) { return nil, result })
	oldest, older := k.at(time.Now().Add(-48*time.Hour)), k.at(time.Now().Add(-24*time.Hour))
	strange := []string{k.file("personasync-00000000-20260314T023000Z.tar"), k.file("notes.txt"), k.file(k.place.stem + "-by-hand.tar")}
	before := k.names()
	result = fails
	if err := k.make(1); !errors.Is(err, fails) || !strings.Contains(err.Error(), "the earlier ones are kept") {
		t.Errorf("a backup that does not restore: %v", err)
	}
	if good, err := k.store.GoodBackup(); err != nil || good != nil || !slices.Equal(k.names(), before) {
		t.Errorf("after it there are %q, and the record says %+v, %v", k.names(), good, err)
	}
	result = nil
	must(t, k.make(2))
	if list := k.names(); slices.Contains(list, oldest) || !slices.Contains(list, older) || len(list) != len(strange)+2 {
		t.Errorf("of three, two are kept: %q", list)
	}
	for _, name := range strange {
		if !slices.Contains(k.names(), name) {
			t.Errorf("%s is gone", name)
		}
	}
}

// TestTheNewestIsKeptHoweverTheClockWent: a name from a future that was an error is the last in order.
func TestTheNewestIsKeptHoweverTheClockWent(t *testing.T) {
	k := keep(t, nil)
	k.at(time.Now().Add(365 * 24 * time.Hour))
	must(t, k.make(1))
	good, err := k.store.GoodBackup()
	must(t, err)
	if list := k.names(); len(list) != 1 || filepath.Base(good.File) != list[0] {
		t.Errorf("there are %q", list)
	}
}

func TestWhatAnInterruptedRunLeftIsRemoved(t *testing.T) {
	k := keep(t, nil)
	must(t, os.WriteFile(k.place.unproven, []byte("half"), 0o600))
	must(t, os.MkdirAll(filepath.Join(k.place.scratch, "deep"), 0o700))
	must(t, k.make(1))
	if list := k.names(); len(list) != 1 || strings.HasPrefix(list[0], ".") {
		t.Errorf("there are %q", list)
	}
	ctx, cancel := context.WithCancel(t.Context())
	k.prove = func(ctx context.Context, _, scratch string) (*store.CheckReport, error) {
		must(t, os.Mkdir(scratch, 0o700))
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := k.run(ctx, k.data, k.dir, 1); !errors.Is(err, context.Canceled) || len(k.names()) != 1 {
		t.Errorf("a run that was stopped: %v; there are %q", err, k.names())
	}
}

func TestAFolderThatTakesNoBackup(t *testing.T) {
	k := keep(t, nil)
	file := filepath.Join(k.dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	missing := filepath.Join(k.dir, "missing")
	if err := k.run(t.Context(), k.data, missing, 1); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "mount its disk, or type install -d -m 700 -o USER "+missing) {
		t.Errorf("a missing folder: %v", err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if err := k.run(t.Context(), k.data, dir, 1); err == nil || !strings.Contains(err.Error(), "is not a folder: name one, and reload") {
			t.Errorf("%s, where there is a file: %v", dir, err)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the missing folder was made, perhaps where a disk is to be mounted: %v", err)
	}
	huge := store.Space{StateBytes: 1 << 55}
	if err := k.place.hasRoom(huge, k.data); !errors.Is(err, domain.ErrFull) || !strings.Contains(err.Error(), "lower backup.keep") {
		t.Errorf("a disk that is too small: %v", err)
	}
	near, far := k.place.hasRoom(store.Space{FloorBytes: 1 << 55}, k.data), placeOf("/dev", "0").hasRoom(store.Space{FloorBytes: 1 << 55}, k.data)
	if !errors.Is(near, domain.ErrFull) || far != nil && errors.Is(far, domain.ErrFull) && strings.Contains(far.Error(), "EiB") {
		t.Errorf("the reserve of ingest counts on the disk of the data alone: %v; %v", near, far)
	}
}

func TestABackupWaitsForOtherWorkOnTheWholeData(t *testing.T) {
	k := keep(t, nil)
	begun, end := make(chan struct{}), make(chan struct{})
	other := make(chan error, 1)
	go func() {
		_, err := k.store.Backup(t.Context(), waits{begun, end}, nil)
		other <- err
	}()
	<-begun
	made := make(chan error, 1)
	go func() { made <- k.make(1) }()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(k.place.unproven); err == nil {
			break // it has begun, and finds the store in use
		}
	}
	close(end)
	must(t, <-other)
	must(t, <-made)
}

// waits is a writer whose first write waits.
type waits struct{ begun, end chan struct{} }

func (w waits) Write(b []byte) (int, error) {
	select {
	case <-w.begun:
	default:
		close(w.begun)
	}
	<-w.end
	return len(b), nil
}

func TestWithoutAScheduleThereIsNoJob(t *testing.T) {
	c := config.Default()
	if jobs, err := (&Keeper{}).Jobs(c); err != nil || len(jobs) != 0 {
		t.Errorf("%v, %v", jobs, err)
	}
	c.Backup.Schedule, c.Schedule.CatchUp = "@daily", "once"
	if jobs, err := (&Keeper{}).Jobs(c); err != nil || len(jobs) != 1 || !jobs[0].CatchUp {
		t.Errorf("%+v, %v", jobs, err)
	}
}
