package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/repair"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// lastRunOf writes what the last run is to have left behind.
func lastRunOf(t testing.TB, dir string, l datadir.LastRun) {
	t.Helper()
	text, err := json.Marshal(l)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, datadir.RunFile), text, 0o600))
}

func TestFilesAreReadOnlyWhenThereIsAReason(t *testing.T) {
	onFiles(t)
	text, err := os.ReadFile(datadir.BootFile)
	if err != nil {
		t.Skip("this kernel does not say which run of the machine it is")
	}
	boot := strings.TrimSpace(string(text))
	for _, tc := range []struct {
		name    string
		last    datadir.LastRun
		checked bool
	}{
		{"a clean stop", datadir.LastRun{Boot: boot, Phase: datadir.PhaseStopped}, false},
		{"a clean stop before the machine went down", datadir.LastRun{Boot: "another", Phase: datadir.PhaseStopped}, false},
		{"kill -9", datadir.LastRun{Boot: boot, Phase: datadir.PhaseRunning, Unclean: 1}, false},
		{"kill -9 again and again", datadir.LastRun{Boot: boot, Phase: datadir.PhaseRunning, Unclean: 3}, true},
		{"the machine went down", datadir.LastRun{Boot: "another", Phase: datadir.PhaseRunning, Unclean: 1}, true},
		{"a start that ended while it opened the files", datadir.LastRun{Boot: boot, Phase: datadir.PhaseOpening, Unclean: 1}, true},
		{"an error of the disk, and a clean stop", datadir.LastRun{Boot: boot, Phase: datadir.PhaseStopped, IOError: "EIO"}, true},
		{"nothing is known", datadir.LastRun{}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			checks := 0
			reopen := func() {
				s, err := Open(dir, Options{Log: query.Discard, CheckInChild: func(context.Context, string) (*repair.CheckReport, error) {
					checks++
					return &repair.CheckReport{}, nil
				}})
				must(t, err)
				must(t, s.Close())
			}
			reopen()
			lastRunOf(t, dir, tc.last)
			checks = 0
			reopen()
			if (checks == 1) != tc.checked || checks > 1 {
				t.Errorf("read %d times", checks)
			}
			checks = 0
			reopen()
			if checks != 0 {
				t.Error("read again after a clean stop")
			}
		})
	}
}

func TestUncleanStopsInARowAreCounted(t *testing.T) {
	onFiles(t)
	dir := t.TempDir()
	for n := range 7 {
		w, err := datadir.OpenShutdownMarker(dir)
		must(t, err)
		why := w.RecheckReason()
		if want := n%datadir.UncleanTolerated == 0; (why != "") != want && w.Boot != "" { // at first nothing is known
			t.Errorf("start %d: %q", n, why)
		}
		must(t, w.Begin(why != ""))
		must(t, w.Opened())
	}
}

func TestOnlyTroubleOfTheDiskIsNoted(t *testing.T) {
	onFiles(t)
	for err, want := range map[error]bool{
		fmt.Errorf("write: %w", syscall.EIO): true, fmt.Errorf("page 3: %w", wire.ErrDamaged): true,
		syscall.ENOSPC: false, domain.ErrFull: false, io.EOF: false, ErrBusy: false,
	} {
		if got := datadir.IsIOError(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestDamageMetAtWorkEndsTheWriterAndIsCheckedNext(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	err := b.writer.Do(t.Context(), func(*state.Tx) error { panic("page 7 is not what it should be") }, nil)
	if !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("the command was told %v", err)
	}
	<-b.Broken()
	if err := b.Applied(t.Context()); err != nil {
		t.Errorf("what was applied before still is: %v", err)
	}
	if _, _, err := b.Take(t.Context(), everything(noon)); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("afterwards: %v", err)
	}
	must(t, b.Close())
	w, err := datadir.OpenShutdownMarker(b.dir)
	must(t, err)
	if why := w.RecheckReason(); !strings.Contains(why, "page 7") {
		t.Errorf("the next start is told %q", why)
	}
	b.Store = openQuietly(t, b.dir)
	b.receive(event("ann", "vip", false, 2))
	b.balance()
}

// TestAFileThatEndsItsReaderIsMadeAnew has the checking process die of a store in which nothing is
// found to be wrong: opening it would end the agent, start after start.
func TestAFileThatEndsItsReaderIsMadeAnew(t *testing.T) {
	onFiles(t)
	dir := filepath.Join(t.TempDir(), "data")
	copyStore(t, sample(t, 12), dir)
	before, err := Open(dir, Options{Log: query.Discard})
	must(t, err)
	kept, err := before.Sample(time.Now())
	must(t, err)
	must(t, before.KeepSample(t.Context(), kept))
	must(t, before.Applied(t.Context())) // what the sample left in the inbox is in the trail, too
	trail, err := before.Activity(query.ActivityFilter{})
	must(t, err)
	must(t, before.Close())
	must(t, os.Remove(filepath.Join(dir, "running"))) // as if nobody knew how the last run ended
	var children int
	o := Options{Log: query.Discard, CheckInChild: func(ctx context.Context, _ string) (*repair.CheckReport, error) {
		children++
		return repair.CheckInChild(ctx, exec.CommandContext(ctx, "sh", "-c", "kill -BUS $$"))
	}}
	for range 2 {
		s, err := Open(dir, o)
		must(t, err)
		must(t, s.Applied(t.Context()))
		list, err := s.Salvages()
		must(t, err)
		if len(list) != 1 || !list[0].Whole() || list[0].Saved.Users == 0 {
			t.Errorf("%+v", list)
		}
		if samples, err := s.Samples(time.Time{}); err != nil || len(samples) != 1 {
			t.Errorf("%d samples were saved, error %v", len(samples), err)
		}
		if after, err := s.Activity(query.ActivityFilter{}); err != nil || !reflect.DeepEqual(after.Items, trail.Items) || len(trail.Items) == 0 {
			t.Errorf("the trail is another: %v\n%+v\n%+v", err, after.Items, trail.Items)
		}
		must(t, s.Close())
	}
	if children != 1 {
		t.Errorf("%d processes were started", children)
	}
}

func TestAProcessThatChecksFilesStartsNoOther(t *testing.T) {
	onFiles(t)
	t.Setenv(repair.CheckingVariable, "1")
	mark := filepath.Join(t.TempDir(), "started")
	if _, err := repair.CheckInChild(t.Context(), exec.Command("touch", mark)); err == nil {
		t.Error("no error")
	}
	if found, _ := boltfile.Exists(mark); found {
		t.Error("it did")
	}
}

func TestAnAnswerCrossesTheProcesses(t *testing.T) {
	onFiles(t)
	dir := filepath.Join(t.TempDir(), "data")
	copyStore(t, sample(t, 12), dir)
	ask := func(dir string) (*repair.CheckReport, error) {
		var answer bytes.Buffer
		must(t, repair.AnswerCheck(t.Context(), &answer, dir))
		child := exec.Command("cat")
		child.Stdin = &answer
		return repair.CheckInChild(t.Context(), child)
	}
	if r, err := ask(dir); err != nil || !r.OK() || r.Users == 0 {
		t.Errorf("%+v %v", r, err)
	}
	blow{file: datadir.StateFile, at: 30, value: 1}.strike(t, dir)
	if r, err := ask(dir); err != nil || len(r.DamagedFiles) != 1 || len(r.Findings) == 0 || r.Findings[0].File != datadir.StateFile {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := ask(t.TempDir()); !errors.Is(err, datadir.ErrNoData) {
		t.Errorf("nothing there: %v", err)
	}
}

func TestNothingLeftIsRefusedAndLeftAsItIs(t *testing.T) {
	onFiles(t)
	origin := sample(t, 12)
	for _, tc := range []struct {
		name string
		harm func(body []byte) []byte
	}{
		{"zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
		{"empty", func([]byte) []byte { return nil }},
		{"a text", func([]byte) []byte { return []byte("not a database") }},
	} {
		for _, name := range []string{datadir.StateFile, "inbox-00000001.db"} {
			t.Run(tc.name+" "+name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "data")
				copyStore(t, origin, dir)
				lastRunOf(t, dir, datadir.LastRun{Phase: datadir.PhaseStopped}) // found although nothing gave a reason to look
				path := filepath.Join(dir, name)
				body, err := os.ReadFile(path)
				must(t, err)
				body = tc.harm(body)
				must(t, os.WriteFile(path, body, 0o600))
				for range 2 {
					_, err = Open(dir, Options{Log: query.Discard})
					if !errors.Is(err, ErrUnsalvageable) || !strings.Contains(err.Error(), "personasync db restore FILE") {
						t.Errorf("got %v", err)
					}
				}
				after, err := os.ReadFile(path)
				must(t, err)
				if !bytes.Equal(after, body) {
					t.Error("the file was changed")
				}
			})
		}
	}
}

func TestRecordsLostBeforeTheyWereAppliedAreInTheLedger(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	must(t, b.Close())
	in, err := wal.Open(b.dir, wal.Config{Epoch: b.inbox.Epoch(), First: 1, Records: record.InboxRecords})
	must(t, err)
	for i := range 4 { // as a crash leaves them: appended, not applied
		must(t, in.Append(t.Context(), record.AppendEvent(nil, event("bob", "vip", i%2 == 0, 2+i))))
	}
	in.Close()
	path := filepath.Join(b.dir, "inbox-00000001.db")
	body, err := os.ReadFile(path)
	must(t, err)
	frame := record.AppendEvent(nil, event("bob", "vip", true, 4))
	for at := 0; ; { // older versions of the page included
		next := bytes.Index(body[at:], frame)
		if next < 0 {
			break
		}
		at += next + len(frame)
		body[at-len(frame)-1] ^= 0x40 // its length, so that where it ends cannot be told
	}
	must(t, os.WriteFile(path, body, 0o600))
	must(t, os.Remove(filepath.Join(b.dir, datadir.RunFile)))

	b.Store = openQuietly(t, b.dir)
	must(t, b.Applied(t.Context()))
	list, err := b.Salvages()
	must(t, err)
	if len(list) != 1 || len(list[0].RecordsLost) != 1 || list[0].RecordsLost[0] != (repair.RecordRange{First: 5, Last: 5}) || list[0].Unapplied != 1 {
		t.Errorf("%+v", list)
	}
	if c := b.balance(); c.Events.Lost != 1 || c.Events.Accepted != 5 {
		t.Errorf("%+v", c.Events)
	}
	if m, _, err := b.Members("vip", "", 0); err != nil || len(m) != 1 { // bob left last
		t.Errorf("%+v %v", m, err)
	}
}

func TestNewerFilesAreRefusedByName(t *testing.T) {
	onFiles(t)
	origin := sample(t, 12)
	for _, name := range []string{datadir.StateFile, "inbox-00000001.db"} {
		for _, phase := range []string{datadir.PhaseStopped, ""} {
			dir := filepath.Join(t.TempDir(), "data")
			copyStore(t, origin, dir)
			lastRunOf(t, dir, datadir.LastRun{Phase: phase})
			db, err := bbolt.Open(filepath.Join(dir, name), 0o600, nil)
			must(t, err)
			must(t, db.Update(func(tx *bbolt.Tx) error {
				return firstError(tx.Bucket(state.BucketMeta).Put(boltfile.MetaFormat, []byte{0, 0, 0, datadir.Format + 1}), boltfile.Seal(tx))
			}))
			must(t, db.Close())
			_, err = Open(dir, Options{Log: slog.New(slog.DiscardHandler)})
			if !errors.Is(err, wire.ErrNewer) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestDamageThatACleanStopHidIsSalvagedToo hits the pages that every start reads.
func TestDamageThatACleanStopHidIsSalvagedToo(t *testing.T) {
	onFiles(t)
	origin := sample(t, 12)
	for name, page := range map[string]func(m boltpage.Meta) uint64{
		"the root":               func(m boltpage.Meta) uint64 { return m.Root },
		"the list of free pages": func(m boltpage.Meta) uint64 { return m.Freelist },
	} {
		for _, file := range []string{datadir.StateFile, "inbox-00000001.db"} {
			t.Run(name+" of "+file, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "data")
				copyStore(t, origin, dir)
				lastRunOf(t, dir, datadir.LastRun{Phase: datadir.PhaseStopped})
				p, err := boltpage.Open(filepath.Join(dir, file))
				must(t, err)
				m, _ := p.Newest()
				p.Close()
				blow{file: file, at: int64(page(m))*p.PageSize + 8, value: 0xFF}.strike(t, dir) // what kind of page it is
				s := openQuietly(t, dir)
				list, err := s.Salvages()
				must(t, err)
				if len(list) != 1 || list[0].File != file || list[0].Lost != (repair.Stock{}) {
					t.Errorf("%+v", list)
				}
				serves(t, s, blow{file: file})
			})
		}
	}
}

// TestAStartWaitsForABackupOfTheFiles: it gave up after half a minute, with the code of what a restart
// does not cure, and the agent stayed down.
func TestAStartWaitsForABackupOfTheFiles(t *testing.T) {
	onFiles(t)
	t.Parallel()
	b := open(t, rules(domain.SendNone))
	must(t, b.Store.Close())
	v, err := OpenReadOnly(b.dir)
	must(t, err)
	var said journal
	opened := make(chan error, 1)
	go func() {
		s, err := Open(b.dir, Options{Log: slog.New(slog.NewTextHandler(&said, nil))})
		b.Store = s
		opened <- err
	}()
	for !strings.Contains(said.String(), "the start waits for it") {
		select {
		case err := <-opened:
			t.Fatalf("it did not wait: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	must(t, v.Close())
	must(t, <-opened)
}

// TestAStartThatIsStoppedOpensNoFilesThatAreRead: else it would write to what a backup copies.
func TestAStartThatIsStoppedOpensNoFilesThatAreRead(t *testing.T) {
	onFiles(t)
	t.Parallel()
	b := open(t, rules(domain.SendNone))
	b.receive(event("ann", "vip", true, 1))
	must(t, b.Store.Close())
	v, err := OpenReadOnly(b.dir)
	must(t, err)
	defer v.Close()
	why := errors.New("the agent stops")
	start, stop := context.WithCancelCause(t.Context())
	stop(why)
	s, err := Open(b.dir, Options{Log: slog.New(slog.DiscardHandler), Start: start})
	if err == nil {
		must(t, s.Close())
	}
	if !errors.Is(err, why) {
		t.Errorf("the start ended with %v", err)
	}
	if _, err := v.User("ann"); err != nil {
		t.Errorf("the reader cannot go on: %v", err)
	}
}

// journal is a log that may be read while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// TestADamagedEventMetAtWorkIsSalvagedByTheNextStart: it was taken out of its user's queue, counted as
// pending for ever, and nothing said that a restart would fix it.
func TestADamagedEventMetAtWorkIsSalvagedByTheNextStart(t *testing.T) {
	onFiles(t)
	for name, damage := range map[string]func(v []byte) []byte{
		"flipped": func(v []byte) []byte { v[len(v)/2] ^= 0xFF; return v },
		"cut":     func(v []byte) []byte { return v[:3] },
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, rules(domain.SendEvent))
			b.receive(event("ann", "vip", true, 1), event("ann", "vip", false, 2), event("bob", "vip", true, 1))
			must(t, b.writer.Do(t.Context(), func(x *state.Tx) error {
				k, v := x.Queue.Cursor().Seek(state.UserKey("ann"))
				return x.Queue.Put(bytes.Clone(k), damage(bytes.Clone(v)))
			}, nil))
			b.drain()
			c, err := b.Counts()
			must(t, err)
			if c.Changes.Delivered != 2 || c.Changes.Pending != 1 {
				t.Fatalf("what is whole did not leave, or what is not did: %+v", c.Changes)
			}
			must(t, b.Close())
			s := openQuietly(t, b.dir)
			reports, err := s.Salvages()
			must(t, err)
			if len(reports) != 1 || reports[0].Whole() {
				t.Fatalf("%d salvages: %+v", len(reports), reports)
			}
			serves(t, s, blow{file: "a damaged event met at work"})
		})
	}
}

// TestDamageMetAtWorkIsSalvagedByTheNextStart: what waited for a user whose row was set aside, or whose
// rows could not be found because a byte of the page around them had changed, was out of reach for ever and
// counted as pending, because nobody took that for a reason to read the files.
func TestDamageMetAtWorkIsSalvagedByTheNextStart(t *testing.T) {
	onFiles(t)
	ann := state.UserKey("ann")
	rename := func(in engine.Bucket, from, to []byte) error {
		v := bytes.Clone(in.Get(from))
		return errors.Join(in.Delete(from), in.Put(to, v))
	}
	for name, harm := range map[string]func(x *state.Tx) error{
		"a row's bytes": func(x *state.Tx) error {
			key := state.RowKey(ann, state.BlockIndex)
			row := bytes.Clone(x.Rows.Get(key))
			row[2] ^= 0xFF
			return x.Rows.Put(key, row)
		},
		"a row's key, longer": func(x *state.Tx) error {
			return rename(x.Rows, state.RowKey(ann, 0), append(state.RowKey(ann, 0), "more"...))
		},
		"a row's key": func(x *state.Tx) error { return rename(x.Rows, state.RowKey(ann, 0), state.RowKey(ann, 7)) },
		"a head's key": func(x *state.Tx) error {
			return rename(x.Rows, state.RowKey(ann, state.BlockIndex), state.RowKey(state.UserKey("anm"), state.BlockIndex))
		},
		"an event's key, longer": func(x *state.Tx) error {
			k, _ := x.Queue.Cursor().Seek(ann)
			return rename(x.Queue, bytes.Clone(k), append(bytes.Clone(k), "more"...))
		},
		"an event that is gone": func(x *state.Tx) error {
			k, _ := x.Queue.Cursor().Seek(ann)
			return x.Queue.Delete(k)
		},
		"a due entry, cut off": func(x *state.Tx) error {
			k, _ := x.Due.Cursor().First()
			return rename(x.Due, bytes.Clone(k), bytes.Clone(k[:len(k)-2]))
		},
		"another user's due entry": func(x *state.Tx) error {
			k, _ := x.Due.Cursor().First()
			lane, second, _ := state.DueParts(k)
			return rename(x.Due, bytes.Clone(k), state.DueKey(domain.EndpointTransition, lane, second, state.UserKey("nobody")))
		},
		"due entries that are gone": func(x *state.Tx) error {
			c := x.Due.Cursor()
			for k, _ := c.First(); k != nil; k, _ = c.First() {
				if err := x.Due.Delete(bytes.Clone(k)); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, rules(domain.SendBoth))
			b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1))
			must(t, b.writer.Do(t.Context(), harm, nil))
			b.drain()
			if c, err := b.Counts(); err != nil || c.Changes.Pending == 0 {
				t.Fatalf("the damage did no harm: %+v %v", c.Changes, err)
			}
			must(t, b.Close())
			s := openQuietly(t, b.dir)
			reports, err := s.Salvages()
			must(t, err)
			if len(reports) != 1 {
				t.Fatalf("%d salvages", len(reports))
			}
			serves(t, s, blow{file: name})
		})
	}
}

// TestDamageThatAReaderMeetsIsSalvagedByTheNextStart: a start that trusted its files could show nothing for
// ever where a page was damaged that only questions read, and nothing asked for another start.
func TestDamageThatAReaderMeetsIsSalvagedByTheNextStart(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 1))
	b.drain()
	if err := b.look(func(engine.Tx) error { panic("as bbolt does about a page") }); !errors.Is(err, wire.ErrDamaged) {
		t.Fatal(err)
	}
	must(t, b.Close())
	checked := 0
	s, err := Open(b.dir, Options{Log: query.Discard, CheckInChild: func(context.Context, string) (*repair.CheckReport, error) {
		checked++
		return &repair.CheckReport{}, nil
	}})
	must(t, err)
	must(t, s.Close())
	if checked != 1 {
		t.Errorf("the next start read the files %d times", checked)
	}
}
