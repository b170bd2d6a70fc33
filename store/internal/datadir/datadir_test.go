package datadir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// says reports whether err has all the words.
func says(err error, words ...string) bool {
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			return false
		}
	}
	return true
}

// logs returns a log, and the text that it wrote.
func logs() (*slog.Logger, *bytes.Buffer) {
	var text bytes.Buffer
	return slog.New(slog.NewTextHandler(&text, nil)), &text
}

func TestADirectoryIsMadeButNoFolderAboveIt(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "data")
	must(t, MakeDir(dir))
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 || !info.IsDir() {
		t.Errorf("made %v, %v", info, err)
	}
	must(t, MakeDir(dir))
	mount := filepath.Join(top, "disk")
	if err := MakeDir(filepath.Join(mount, "data")); !errors.Is(err, ErrNoPlace) || !says(err, mount+" does not exist", "mount its disk") {
		t.Errorf("below a mount point that is missing: %v", err)
	}
	link := filepath.Join(top, "link")
	must(t, os.Symlink(mount, link))
	if err := MakeDir(link); !errors.Is(err, ErrNoPlace) || !says(err, link+" points to a folder that does not exist") {
		t.Errorf("a link that leads nowhere: %v", err)
	}
	if _, err := os.Stat(mount); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the mount point was made: %v", err)
	}
	file := filepath.Join(top, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if err := MakeDir(filepath.Join(file, "data")); err == nil || errors.Is(err, ErrNoPlace) || errors.Is(err, ErrNoRoom) {
		t.Errorf("below a file: %v", err)
	}
	if os.Getuid() != 0 {
		closed := filepath.Join(top, "closed")
		must(t, os.Mkdir(closed, 0o500))
		if err := MakeDir(filepath.Join(closed, "data")); !errors.Is(err, ErrNoPlace) || !says(err, "may not make it") {
			t.Errorf("in a folder that is closed to us: %v", err)
		}
	}
}

func TestOneProcessHasADirectory(t *testing.T) {
	dir := t.TempDir()
	for command, want := range map[string]string{
		"":               fmt.Sprintf("held by process %d", os.Getpid()),
		"user forget x":  fmt.Sprintf("held by process %d (`personasync user forget x`)", os.Getpid()),
		"db restore a b": fmt.Sprintf("held by process %d (`personasync db restore a b`)", os.Getpid()),
	} {
		lock, err := LockDir(dir, command)
		must(t, err)
		_, err = LockDir(dir, "db check")
		var used *InUseError
		if !errors.As(err, &used) || !errors.Is(err, boltfile.ErrInUse) || !strings.HasSuffix(err.Error(), want) || !says(err, dir) {
			t.Errorf("%q: %v", command, err)
		} else if used.Dir != dir || used.Command != command || used.PID != os.Getpid() || used.IsAgent() != (command == "") {
			t.Errorf("%q: %+v", command, used)
		}
		must(t, boltfile.Unlock(lock))
	}
	must(t, os.WriteFile(filepath.Join(dir, LockFile), []byte(strings.Repeat("9", 100)), 0o600)) // a longer text than ours
	lock, err := LockDir(dir, "")
	must(t, err)
	if text, err := os.ReadFile(filepath.Join(dir, LockFile)); err != nil || string(text) != fmt.Sprint(os.Getpid()) {
		t.Errorf("the lock file says %q, %v", text, err)
	}
	must(t, boltfile.Unlock(lock))
}

func TestATextThatIsNotALocksNamesNoProcess(t *testing.T) {
	for text, want := range map[string]Holding{
		"": {}, "12": {PID: 12}, " 12 \n": {PID: 12}, "12\nuser forget\n": {PID: 12, Command: "user forget"}, "x\nuser forget": {}, "\x00\x00": {},
	} {
		if got := readHolding([]byte(text)); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
	if s := (Holding{}).String(); s != "another process" || (Holding{}).IsAgent() {
		t.Error(s)
	}
}

func TestThePlacesOfOurFilesTakeNothingElse(t *testing.T) {
	for _, name := range []string{LockFile, RunFile, StateFile} {
		dir := t.TempDir()
		must(t, syscall.Mkfifo(filepath.Join(dir, name), 0o600))
		if lock, err := LockDir(dir, ""); err == nil || !says(err, name) {
			t.Errorf("%s is a pipe: %v", name, err)
			must(t, boltfile.Unlock(lock))
		}
	}
}

func TestALineOfLocksIsOfOneProcessAndOneFile(t *testing.T) {
	const list = "1: FLOCK  ADVISORY  WRITE 4931 08:01:131090 0 EOF\n2: POSIX  ADVISORY  WRITE 4932 08:01:7 0 EOF\n3: FLOCK  ADVISORY  READ 4933 08:01:8 0 EOF\n4: FLOCK\n"
	for _, tc := range []struct {
		pid   int
		inode uint64
		want  bool
	}{{4931, 131090, true}, {4931, 1090, false}, {493, 131090, false}, {4932, 7, false}, {4933, 8, false}} {
		if got := lists([]byte(list), tc.pid, tc.inode); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

// run is one run of an agent, which ended goes through its phases.
func run(t *testing.T, dir string, phases ...func(w *ShutdownMarker)) *ShutdownMarker {
	t.Helper()
	w, err := OpenShutdownMarker(dir)
	must(t, err)
	for _, p := range phases {
		p(w)
	}
	must(t, w.Close())
	w, err = OpenShutdownMarker(dir)
	must(t, err)
	return w
}

func TestAStartKnowsHowTheLastRunEnded(t *testing.T) {
	begun := func(w *ShutdownMarker) { must(t, w.Begin(false)) }
	opened := func(w *ShutdownMarker) { must(t, w.Opened()) }
	ended := func(w *ShutdownMarker) { must(t, w.Ended(0)); w.file = nil }
	elsewhere := func(w *ShutdownMarker) { w.Boot = "another"; begun(w); opened(w) }
	for _, tc := range []struct {
		name   string
		phases []func(w *ShutdownMarker)
		want   string // of the reason
	}{
		{"a new directory", nil, "not known"},
		{"stopped", []func(*ShutdownMarker){begun, opened, ended}, ""},
		{"killed while it opened", []func(*ShutdownMarker){begun}, "while it opened the files"},
		{"killed once", []func(*ShutdownMarker){begun, opened}, ""},
		{"power lost", []func(*ShutdownMarker){elsewhere}, "the machine went down"},
		{"a full disk", []func(*ShutdownMarker){begun, opened, func(w *ShutdownMarker) { w.Note(syscall.ENOSPC) }}, ""},
		{"an I/O error", []func(*ShutdownMarker){begun, opened, func(w *ShutdownMarker) { w.Note(fmt.Errorf("page 7: %w", syscall.EIO)) }, func(w *ShutdownMarker) { w.Note(syscall.EBADMSG) }, ended}, "page 7: input/output error"},
	} {
		if got := run(t, t.TempDir(), tc.phases...).RecheckReason(); tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q", tc.name, got)
		}
	}
	dir := t.TempDir()
	for n := 1; n <= UncleanTolerated; n++ {
		w := run(t, dir, begun, opened)
		if why := w.RecheckReason(); (why != "") != (n == UncleanTolerated) || w.Last.Unclean != n {
			t.Errorf("after %d kills: %q, %+v", n, why, w.Last)
		}
	}
	if w := run(t, dir, func(w *ShutdownMarker) { must(t, w.Begin(true)) }, opened); w.RecheckReason() != "" || w.Last.Unclean != 1 {
		t.Errorf("after a start that read the files: %+v", w.Last)
	}
	must(t, os.WriteFile(filepath.Join(dir, RunFile), []byte("{half"), 0o600))
	if why := run(t, dir).RecheckReason(); !strings.Contains(why, "not known") {
		t.Errorf("a note that cannot be read: %q", why)
	}
	must(t, os.Remove(filepath.Join(dir, RunFile)))
	must(t, os.Mkdir(filepath.Join(dir, RunFile), 0o700))
	if _, err := OpenShutdownMarker(dir); err == nil {
		t.Error("a folder in its place is no error")
	}
}

func TestAStartThatIsRefusedLeavesTheMarkerAsItWas(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, RunFile)
	give := func() {
		w, err := OpenShutdownMarker(dir)
		must(t, err)
		must(t, w.Begin(false))
		must(t, w.GiveUp())
	}
	give()
	if found, _ := boltfile.Exists(path); found {
		t.Error("it was not there, and is now")
	}
	must(t, os.WriteFile(filepath.Join(dir, StateFile), []byte("x"), 0o600))
	w, err := OpenShutdownMarker(dir)
	must(t, err)
	must(t, errors.Join(w.Begin(false), w.Opened(), w.Ended(0)))
	before, err := os.ReadFile(path)
	must(t, err)
	give()
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) || len(after) != 512 {
		t.Errorf("%v\n%s\n%s", err, before, after)
	}
	w, err = OpenShutdownMarker(dir)
	must(t, err)
	if at := ChangedAt(filepath.Join(dir, StateFile)); at == 0 || w.Last.Changed != at || w.Last.Unclean != 0 {
		t.Errorf("%+v, the state was changed at %d", w.Last, at)
	}
	w, err = OpenShutdownMarker(dir)
	must(t, errors.Join(err, w.GiveUp())) // before anything was written
	w, err = OpenShutdownMarker(filepath.Join(dir, "missing"))
	must(t, err)
	if err := w.Begin(false); !errors.Is(err, fs.ErrNotExist) || !says(err, "remember that the agent runs") {
		t.Errorf("without its folder: %v", err)
	}
}

func TestOnlyAFailingDiskIsAnIOError(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.EIO: true, syscall.EUCLEAN: true, syscall.EBADMSG: true, syscall.ENXIO: true, syscall.EREMOTEIO: true, syscall.ESTALE: true, wire.ErrDamaged: true,
		syscall.ENOSPC: false, syscall.EROFS: false, fs.ErrNotExist: false,
	} {
		if got := IsIOError(fmt.Errorf("x: %w", err)); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
	if s := FirstBytes("aé", 2); s != "a" || FirstBytes("abc", 9) != "abc" || FirstBytes("abc", 3) != "abc" {
		t.Errorf("%q", s)
	}
}

// TestAllDamageIsAReasonToCheckTheFiles, after a clean stop as well.
func TestAllDamageIsAReasonToCheckTheFiles(t *testing.T) {
	for name, note := range map[string]func(*Damage, error){"a write": (*Damage).Note, "a read": (*Damage).NoteRead, "a row": (*Damage).NoteRow} {
		dir := t.TempDir()
		w, err := OpenShutdownMarker(dir)
		must(t, err)
		must(t, w.Begin(true))
		log, _ := logs()
		note(NewDamage(log, w), fmt.Errorf("page 3: %w", wire.ErrDamaged))
		must(t, w.Ended(7))
		if w, err = OpenShutdownMarker(dir); err != nil || !strings.Contains(w.RecheckReason(), "page 3") {
			t.Errorf("%s: the next start is told %q, %v", name, w.RecheckReason(), err)
		}
	}
}

func TestDamageIsNotedOnceAndOnlyAWriteEndsTheStore(t *testing.T) {
	dir := t.TempDir()
	w, err := OpenShutdownMarker(dir)
	must(t, err)
	must(t, w.Begin(false))
	log, text := logs()
	d := NewDamage(log, w)
	d.Note(nil)
	d.Note(syscall.ENOSPC)
	d.Note(syscall.EIO) // the disk fails, and the files are not known to be damaged
	d.NoteRead(fmt.Errorf("page 3: %w", wire.ErrDamaged))
	d.NoteRead(fmt.Errorf("page 4: %w", wire.ErrDamaged))
	d.NoteRow(fmt.Errorf("a row: %w", wire.ErrDamaged))
	if d.IsBroken() {
		t.Error("a read ends the store")
	}
	if strings.Contains(text.String(), "page 4") || !strings.Contains(text.String(), "page 3") {
		t.Errorf("the first alone is to be logged: %s", text)
	}
	d.Note(fmt.Errorf("page 5: %w", wire.ErrDamaged))
	d.Note(fmt.Errorf("page 6: %w", wire.ErrDamaged))
	<-d.Broken()
	if !d.IsBroken() || strings.Count(text.String(), "start the agent again: it then saves") != 1 {
		t.Errorf("broken %v, logged %s", d.IsBroken(), text)
	}
	must(t, w.Close())
	if w = run(t, dir); !strings.Contains(w.RecheckReason(), syscall.EIO.Error()) {
		t.Errorf("the first trouble is to be kept: %q", w.RecheckReason())
	}
}

func TestNamesOfOurOwnAreKnownOnEveryWay(t *testing.T) {
	top := t.TempDir()
	dir, other := filepath.Join(top, "data"), filepath.Join(top, "other")
	must(t, errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(other, 0o700), os.Mkdir(filepath.Join(dir, RestoreDir), 0o700), os.WriteFile(filepath.Join(dir, StateFile), nil, 0o600)))
	link := filepath.Join(top, "link")
	must(t, os.Symlink(dir, link))
	for _, tc := range []struct{ path, own, in string }{
		{filepath.Join(dir, "state.db"), "state.db", "state.db"},
		{filepath.Join(dir, "state.db.compact"), "state.db.compact", "state.db.compact"},
		{filepath.Join(dir, "inbox-1"), "inbox-1", "inbox-1"},
		{filepath.Join(link, "lock"), "lock", "lock"},
		{filepath.Join(dir, RestoreDir, "backup.tar"), RestoreDir, RestoreDir},
		{filepath.Join(dir, "backup.tar"), "", ""},
		{filepath.Join(other, "backup.tar"), "", ""},
		{filepath.Join(other, "state.db"), "state.db", ""},
		{filepath.Join(other, "inbox-7"), "inbox-7", ""},
		{filepath.Join(other, "replaced-x"), "replaced-x", ""},
	} {
		if got := OwnName(tc.path); got != tc.own {
			t.Errorf("OwnName(%s) is %q", tc.path, got)
		}
		if got := NameIn(dir, tc.path); got != tc.in {
			t.Errorf("NameIn(%s) is %q", tc.path, got)
		}
		if got := NameInData(tc.path); got != tc.in {
			t.Errorf("NameInData(%s) is %q", tc.path, got)
		}
	}
	if got := NameIn(filepath.Join(top, "missing"), filepath.Join(dir, "lock")); got != "" {
		t.Errorf("%q in a folder that is missing", got)
	}
}

// open makes a place with a state.db in it.
func open(t *testing.T, log *slog.Logger) (p *Place, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	p, err := OpenPlace(dir, "", log)
	must(t, err)
	t.Cleanup(func() { p.Close() })
	must(t, os.WriteFile(filepath.Join(dir, StateFile), []byte("old"), 0o600))
	must(t, p.OpenedState())
	p.SetInbox(func() error { return nil })
	return p, dir
}

func TestAPlaceIsLostAndFoundAgain(t *testing.T) {
	log, text := logs()
	p, dir := open(t, log)
	must(t, errors.Join(p.Compare(), p.AfterCommit(), p.Check(), p.Refusal()))
	must(t, os.Rename(dir, dir+".away"))
	for range 2 {
		err := p.AfterCommit()
		if !errors.Is(err, boltfile.ErrMoved) || !errors.Is(p.Refusal(), boltfile.ErrMoved) || !errors.Is(p.Check(), boltfile.ErrMoved) {
			t.Errorf("moved: %v, %v, %v", err, p.Refusal(), p.Check())
		}
		if !says(err, "put it back where it was", "install -d -m 700", dir, "`personasync db backup FILE`", "`personasync db restore FILE`") {
			t.Errorf("it does not say what to do: %v", err)
		}
		if n := strings.Count(text.String(), "events are refused until it is"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	}
	must(t, os.Mkdir(dir, 0o700))
	if err := p.AfterCommit(); !errors.Is(err, boltfile.ErrMoved) || says(err, "install -d") {
		t.Errorf("another folder is in its place: %v", err)
	}
	must(t, errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)))
	must(t, errors.Join(p.AfterCommit(), p.Refusal(), p.Check()))
	if !strings.Contains(text.String(), "where it was again: events are taken") {
		t.Errorf("logged %s", text)
	}
	moved := fmt.Errorf("inbox: %w", boltfile.ErrMoved)
	p.SetInbox(func() error { return moved })
	if err := p.Compare(); !errors.Is(err, moved) {
		t.Errorf("the inbox was moved: %v", err)
	}
}

// TestACommitComparesNothingInAFolderThatStayedAsItWas: it would cost a stat of each file.
func TestACommitComparesNothingInAFolderThatStayedAsItWas(t *testing.T) {
	log, _ := logs()
	p, dir := open(t, log)
	looks := 0
	p.SetInbox(func() error { looks++; return nil })
	for i, changed := range []time.Duration{-time.Hour, -2 * time.Hour, time.Hour} {
		at := time.Now().Add(changed)
		must(t, os.Chtimes(dir, at, at))
		if must(t, errors.Join(p.AfterCommit(), p.AfterCommit(), p.AfterCommit())); looks != i+1 {
			t.Errorf("%d looks after %d changes", looks, i+1)
		}
	}
}

func TestTheStateIsReplacedOnlyWhereItIsStill(t *testing.T) {
	log, _ := logs()
	p, dir := open(t, log)
	state, next := filepath.Join(dir, StateFile), filepath.Join(dir, CompactFile)
	must(t, os.WriteFile(next, []byte("new"), 0o600))
	called := ""
	must(t, p.ReplaceState(next, func(path string) { called = path }))
	if text, err := os.ReadFile(state); err != nil || string(text) != "new" || called != state {
		t.Errorf("%q, %v, called with %q", text, err, called)
	}
	must(t, p.Compare())
	if err := p.ReplaceState(next, func(string) { t.Error("called") }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	must(t, os.Mkdir(next, 0o700))
	if err := p.ReplaceState(next, func(string) { t.Error("called") }); err == nil {
		t.Error("a folder takes its place")
	}
	must(t, errors.Join(os.Remove(next), p.Compare()))
	must(t, errors.Join(os.WriteFile(next, []byte("copy"), 0o600), os.Rename(next, state)))
	if err := p.Compare(); !errors.Is(err, boltfile.ErrMoved) {
		t.Errorf("another file has its name: %v", err)
	}
	must(t, os.WriteFile(next, []byte("newer"), 0o600))
	if err := p.ReplaceState(next, func(string) { t.Error("called") }); !errors.Is(err, boltfile.ErrMoved) {
		t.Errorf("replaced one that is not ours: %v", err)
	}
	if text, _ := os.ReadFile(state); string(text) != "copy" {
		t.Errorf("the other file holds %q", text)
	}
}

func TestALockFileThatIsRemovedIsMadeAgain(t *testing.T) {
	log, text := logs()
	p, dir := open(t, log)
	path := filepath.Join(dir, LockFile)
	must(t, os.Remove(path))
	must(t, p.Compare())
	if !strings.Contains(text.String(), "it was made again") {
		t.Errorf("logged %s", text)
	}
	if _, err := LockDir(dir, ""); !errors.Is(err, boltfile.ErrInUse) {
		t.Errorf("a second agent is told %v", err)
	}
	must(t, os.Remove(path))
	other, err := LockDir(dir, "db check")
	must(t, err)
	if err := p.Compare(); !errors.Is(err, boltfile.ErrMoved) || !errors.Is(err, boltfile.ErrInUse) {
		t.Errorf("another process has it: %v", err)
	}
	must(t, boltfile.Unlock(other))
	must(t, p.Compare())
}

func TestAWatchSeesAMoveAndEnds(t *testing.T) {
	log, _ := logs()
	p, dir := open(t, log)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { p.Watch(ctx); close(ended) }()
	must(t, os.Rename(dir, dir+".away"))
	for p.Refusal() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-ended
}

func TestAPlaceIsGivenBack(t *testing.T) {
	log, _ := logs()
	p, dir := open(t, log)
	if _, err := OpenPlace(dir, "db check", log); !errors.Is(err, boltfile.ErrInUse) {
		t.Errorf("a second is told %v", err)
	}
	must(t, p.Close())
	if err := p.held.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the folder stays open: %v", err)
	}
	again, err := OpenPlace(dir, "db check", log)
	must(t, err)
	must(t, again.Close())
}

func TestAHomeIsOfOneFileAndOneRunOfTheMachine(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	must(t, errors.Join(os.WriteFile(a, nil, 0o600), os.WriteFile(b, nil, 0o600)))
	home := HomeOf(a)
	if bytes.Equal(home, HomeOf(b)) {
		t.Error("two files have one home")
	}
	must(t, os.Rename(a, filepath.Join(dir, "c")))
	if !bytes.Equal(home, HomeOf(filepath.Join(dir, "c"))) {
		t.Error("a file has another home under another name")
	}
	boot, _ := os.ReadFile(BootFile)
	if gone := HomeOf(a); string(gone) != strings.TrimSpace(string(boot)) || len(home) != len(gone)+16 {
		t.Errorf("of a file that is missing: %q", gone)
	}
	if ChangedAt(a) != 0 || ChangedAt(b) == 0 {
		t.Error("when a file was changed is not told")
	}
}

func TestAFullDiskIsOneErrorForAll(t *testing.T) {
	other := errors.New("other")
	if Translate(nil) != nil || Translate(other) != other || Roomless(other) != other {
		t.Error("another error is not itself")
	}
	full := Translate(fmt.Errorf("write: %w", syscall.ENOSPC))
	if !errors.Is(full, domain.ErrFull) || !errors.Is(full, syscall.ENOSPC) || Translate(full) != full {
		t.Errorf("%v", full)
	}
	if err := Roomless(syscall.ENOSPC); !errors.Is(err, ErrNoRoom) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if err := Roomless(nil); err != nil {
		t.Error(err)
	}
}

func TestASegmentIsSmallBesideASmallLimit(t *testing.T) {
	for limit, want := range map[int64]int64{
		0: wal.SegmentBytes, 1: SmallestSegment, 16 * SmallestSegment: SmallestSegment, 16*SmallestSegment + 16: SmallestSegment + 1, 1 << 50: wal.SegmentBytes,
	} {
		if got := NewDiskBudget(limit).Segment(); got != want {
			t.Errorf("limit %d: %d", limit, got)
		}
	}
}

func TestABudgetIsMeasuredSoonAfterManyBytes(t *testing.T) {
	r := NewDiskBudget(0)
	asked := func() bool {
		select {
		case <-r.Hurry:
			return true
		default:
			return false
		}
	}
	r.Note(measureAfter, nil)
	r.Note(measureAfter, errors.New("not written"))
	if asked() {
		t.Error("too early")
	}
	if r.Note(1, nil); !asked() || asked() {
		t.Error("it is to be asked for once")
	}
	r.Look()
	if r.Look(); !asked() || asked() { // asked twice is once
		t.Error("a look that is asked for twice is to be one")
	}
	if r.Note(1, nil); asked() {
		t.Error("the count does not begin again")
	}
	space := Space{DataBytes: 5, FreeBytes: 1 << 40}
	if r.Judge(space, time.Now()); r.Measured() != space {
		t.Errorf("%+v", r.Measured())
	}
}

func TestARefusalSaysHowMuchAndWhatToDo(t *testing.T) {
	for _, tc := range []struct {
		space Space
		want  []string
	}{
		{Space{DataBytes: 95 << 20, MaxDataBytes: 100 << 20, FreeBytes: 1 << 40}, []string{"the data takes 95", "of the 100", "raise retention.max_data_bytes"}},
		{Space{DataBytes: 95 << 20, UnappliedBytes: 1 << 20, MaxDataBytes: 100 << 20, FreeBytes: 1 << 40}, []string{"1.0 MiB more are received and not applied yet"}},
		{Space{FreeBytes: 200 << 20, FloorBytes: 256 << 20}, []string{"the disk is full: 200", "256", "make room on it"}},
	} {
		if got := tc.space.Refusal(false); !says(errors.New(got), tc.want...) {
			t.Errorf("%+v: %q", tc.space, got)
		}
	}
	less := Space{DataBytes: 95 << 20, UnappliedBytes: 1<<20 - 1, MaxDataBytes: 100 << 20, FreeBytes: 1 << 40}
	if got := less.Refusal(false); strings.Contains(got, "not applied") {
		t.Errorf("%q", got)
	}
	for _, s := range []Space{{DataBytes: 90, MaxDataBytes: 100, FreeBytes: 1 << 40}, {FreeBytes: 256, FloorBytes: 256}} { // at the mark
		if got := s.Refusal(false); got != "" {
			t.Errorf("%+v: %q", s, got)
		}
	}
	free, floor, err := FreeBytes(t.TempDir())
	if err != nil || free <= 0 || floor <= 0 || floor > floorBytes {
		t.Errorf("%d, %d, %v", free, floor, err)
	}
	if _, _, err := FreeBytes(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestAStoreThatMovedIsNotOpened, and the refusal says what to write into the configuration instead. The move itself may open it again.
func TestAStoreThatMovedIsNotOpened(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		mark   MovedError
		says   string
		moving bool // may open it
	}{
		{MovedError{To: "/srv/new", At: at}, `was moved to /srv/new at 2026-03-14T09:00:00Z: write into agent.toml data_dir = "/srv/new", and [store] engine = "bbolt"`, true},
		{MovedError{To: "the schema x of db", At: at}, `write into agent.toml [store] engine = "postgres", and its address as url_file`, true},
		{MovedError{From: "/srv/old", At: at}, "the move from /srv/old to ", false},
	} {
		dir := t.TempDir()
		must(t, CheckMoved(dir, false))
		must(t, MarkMoved(dir, tc.mark))
		tc.mark.Place = dir
		var moved *MovedError
		if err := CheckMoved(dir, false); !errors.As(err, &moved) || *moved != tc.mark || !errors.Is(err, ErrMovedAway) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%v, want %q", err, tc.says)
		}
		if err := CheckMoved(dir, true); (err == nil) != tc.moving {
			t.Errorf("during a move: %v", err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("there are %v, %v", left, err)
		}
		must(t, UnmarkMoved(dir))
		must(t, CheckMoved(dir, false))
	}
}

// TestAMarkThatCannotBeReadRefusesTheStart: two agents on one store cost more than one that does not start.
func TestAMarkThatCannotBeReadRefusesTheStart(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, MovedFile), []byte("{"), 0o600))
	if err := CheckMoved(dir, true); err == nil || errors.Is(err, ErrMovedAway) {
		t.Errorf("rubbish: %v", err)
	}
	must(t, os.Remove(filepath.Join(dir, MovedFile)))
	must(t, os.MkdirAll(filepath.Join(dir, MovedFile, "in-the-way"), 0o700))
	if err := CheckMoved(dir, true); err == nil || errors.Is(err, ErrMovedAway) {
		t.Errorf("a folder: %v", err)
	}
	if err := MarkMoved(dir, MovedError{To: "/x"}); err == nil {
		t.Error("a mark that got no name is no mark")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, MovedFile+".*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	for what, err := range map[string]error{"mark": MarkMoved(filepath.Join(dir, "none"), MovedError{To: "/x"}), "remove": UnmarkMoved(filepath.Join(dir, "none"))} {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s in a missing folder: %v", what, err)
		}
	}
}

// TestNothingIsKnownOfWhatIsNotThere, and it is not taken for a time, a place or an empty disk.
func TestNothingIsKnownOfWhatIsNotThere(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	if at := ChangedAt(none); at != 0 {
		t.Errorf("it was changed at %d", at)
	}
	if _, err := stampOf(none); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), none) {
		t.Errorf("%v", err)
	}
	if free, floor, err := FreeBytes(none); err == nil || free != 0 || floor != 0 {
		t.Errorf("%d are free, %d are to stay so, %v", free, floor, err)
	}
}

// TestAMarkerThatWasGivenUpKeepsNobodyWaiting: an error of the disk may still be noted in it.
func TestAMarkerThatWasGivenUpKeepsNobodyWaiting(t *testing.T) {
	for _, known := range []bool{false, true} {
		dir := t.TempDir()
		w, err := OpenShutdownMarker(dir)
		must(t, err)
		if known {
			must(t, errors.Join(w.Begin(false), w.Opened(), w.Close()))
			w, err = OpenShutdownMarker(dir)
			must(t, err)
		}
		must(t, w.Begin(false))
		must(t, w.GiveUp())
		w.Note(syscall.EIO)
	}
}
