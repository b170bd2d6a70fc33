package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"personasync/store"
	"personasync/sync/sandbox"
)

// TestADamagedFileIsSalvagedByTheNextStart kills an agent, hits the middle of its state.db as a disk
// does in a power failure, and starts it again: it checks the files in a child, saves what it can,
// keeps the damaged file, says what is gone, and works.
func TestADamagedFileIsSalvagedByTheNextStart(t *testing.T) {
	t.Parallel() // it waits
	w := newWorld(t)
	w.start()
	p := newPosters(1, 50)[0]
	for range 300 {
		w.post(p.next())
	}
	w.drained()
	w.kill()

	state := filepath.Join(w.dir, "data", "state.db")
	body, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	page := os.Getpagesize()
	for at := 2 * page; at < len(body); at += 5 * page { // every fifth page, but for the heads
		for i := range 300 {
			body[at+i] = byte(rnd.Uint32())
		}
	}
	damaged := bytes.Clone(body)
	if err := os.WriteFile(state, body, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, "data", "running")); err != nil { // another boot, as far as anybody knows
		t.Fatal(err)
	}

	w.start()
	w.post(p.next())
	after := w.drained()
	after.balance(t)
	text, err := w.command("status", "--json", "--config", w.config).Output()
	if err != nil {
		t.Fatal(err)
	}
	var said struct{ Salvages []store.Salvage }
	if err := json.Unmarshal(text, &said); err != nil {
		t.Fatal(err)
	}
	if len(said.Salvages) != 1 || said.Salvages[0].Whole() || said.Salvages[0].File != "state.db" {
		t.Fatalf("status says %s", text)
	}
	kept, err := os.ReadFile(filepath.Join(w.dir, "data", said.Salvages[0].KeptAs))
	if err != nil || !bytes.Equal(kept, damaged) {
		t.Errorf("the damaged file is not kept as it was: %v", err)
	}
	log, err := os.ReadFile(w.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"in_child=true", "salvaged"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if strings.Contains(string(log), "the process that was to check the files did not") {
		t.Error("the child did not do its work")
	}
	if out, err := w.command("status", "--config", w.config).CombinedOutput(); err != nil || !strings.Contains(string(out), "was damaged and made anew") {
		t.Errorf("status: %v\n%s", err, out)
	}
	w.kill()
	w.start() // and the next start is like any other
	w.drained()
}

// TestDamageMakesNoCrashLoop flips a byte of a real agent's files, or cuts one off, after a clean stop, which
// they are trusted after, and after a kill of the machine, and starts the agent as its unit does: again,
// unless it said by exit code 2 that this cannot help. Within a few starts it works, or has said so.
func TestDamageMakesNoCrashLoop(t *testing.T) {
	p := planned(t, 8, 400)
	origin := filledData(t)
	var done, turn atomic.Int64
	var mu sync.Mutex
	tally := map[string]int{}
	t.Run("hosts", func(t *testing.T) {
		for i := range 2 {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				rnd := rand.New(rand.NewPCG(p.seed+uint64(i), 11))
				for turn.Add(1) <= p.count && time.Now().Before(p.until) && !t.Failed() {
					d := newDamage(rnd)
					outcome := w.survives(origin, d)
					done.Add(1)
					mu.Lock()
					tally[outcome]++
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("%d blows", done.Load())
	for _, outcome := range slices.Sorted(maps.Keys(tally)) {
		t.Logf("%4d %s", tally[outcome], outcome)
	}
}

// filledData is the data of an agent that was stopped while something waited.
func filledData(t *testing.T) (dir string) {
	t.Helper()
	w := newWorld(t)
	w.start()
	p := newPosters(1, 60)[0]
	for range 300 {
		w.post(p.next())
	}
	w.drained()
	w.box.Fail(sandbox.Fault{Status: http.StatusServiceUnavailable})
	for range 60 {
		w.post(p.next())
	}
	w.stop()
	dir = filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(w.dir, "data"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// stop ends the agent as systemd does.
func (w *world) stop() {
	w.Helper()
	if err := w.agent.Process.Signal(os.Interrupt); err != nil {
		w.Fatal(err)
	}
	<-w.gone
	w.agent = nil
}

// damage is one thing that befalls a file.
type damage struct {
	inbox, cut, trusted bool
	where               float64 // as a share of what is used of the file
	value               byte
}

func newDamage(rnd *rand.Rand) damage {
	return damage{rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.Float64(), byte(1 + rnd.IntN(255))}
}

func (d damage) String() string {
	return fmt.Sprintf("%s of %s %s", map[bool]string{true: "cut", false: "flip"}[d.cut], map[bool]string{true: "the inbox", false: "state.db"}[d.inbox],
		map[bool]string{true: "after a clean stop", false: "after the machine went down"}[d.trusted])
}

// strike damages a copy of the data: somewhere before the zeros that bbolt lays in advance.
func (d damage) strike(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "state.db")
	if d.inbox {
		found, err := filepath.Glob(filepath.Join(dir, "inbox-*.db"))
		if err != nil || len(found) == 0 {
			t.Fatal("no inbox", err)
		}
		path = found[0]
	}
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(body, "\x00"))
	at := int(d.where * float64(used))
	if d.cut {
		body = body[:at]
	} else {
		body[at] ^= d.value
	}
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	if !d.trusted {
		if err := os.Remove(filepath.Join(dir, "running")); err != nil {
			t.Fatal(err)
		}
	}
}

// startsAllowed is how often an agent may end itself over one blow: three times it takes it for kill -9.
const startsAllowed = 5

func (w *world) survives(origin string, d damage) (outcome string) {
	w.Helper()
	data := filepath.Join(w.dir, "data")
	if err := errors.Join(os.RemoveAll(data), os.CopyFS(data, os.DirFS(origin))); err != nil {
		w.Fatal(err)
	}
	d.strike(w.T, data)
	p := newPosters(1, 5)[0]
	for n := 1; ; n++ {
		if err := os.Truncate(w.log.Name(), 0); err != nil {
			w.Fatal(err)
		}
		if n > startsAllowed {
			w.Errorf("%s at %.6f ^ %#x: the agent ended %d times", d, d.where, d.value, n-1)
			return fmt.Sprintf("%s: a crash loop", d)
		}
		w.start()
		well, code := w.well(p)
		if code == 2 {
			log, _ := os.ReadFile(w.log.Name())
			if !bytes.Contains(log, []byte("db restore")) {
				w.Errorf("%s at %.6f ^ %#x: it refused and did not say what to do", d, d.where, d.value)
			}
			return fmt.Sprintf("%s: refused, saying what to do, at start %d", d, n)
		}
		if well {
			w.stop()
			return fmt.Sprintf("%s: works since start %d", d, n)
		}
	}
}

// well brings deliveries to the agent until it has accepted, delivered and balanced them, or has ended.
func (w *world) well(p *poster) (well bool, code int) {
	w.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-w.gone:
			code = w.agent.ProcessState.ExitCode()
			w.agent = nil
			return false, code
		default:
		}
		if !well {
			if well = w.postOnce(p.next()) == http.StatusOK; !well {
				continue
			}
		}
		out, err := w.command("status", "--json", "--config", w.config).Output()
		var s status
		if err != nil || json.Unmarshal(out, &s) == nil && s.Pending+s.Unapplied != 0 {
			if log, _ := os.ReadFile(w.log.Name()); bytes.Contains(log, []byte("restart the agent, which then checks")) && time.Until(deadline) < patience-2*time.Second {
				w.stop() // as it says: what hangs on a damaged row waits for that
				return false, 0
			}
		}
		if err == nil && s.Pending+s.Unapplied == 0 {
			s.balance(w.T)
			return true, 0
		}
	}
	w.Fatalf("waited %s for the agent to work or to end, in vain", patience)
	return false, 0
}
