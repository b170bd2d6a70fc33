package torture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"personasync/sync/sandbox"
)

// settable builds the agent with a wall clock that is offset by the number of seconds in a file. Its monotonic
// clock and timers are unaffected, as when a real clock is set.
func settable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if !strings.Contains(string(text), now) {
		t.Fatalf("%s does not say %q any more", path, now)
	}
	const off = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var off = new(int64)

func init() {
	path, set := syscall.Getenv("PERSONASYNC_TEST_CLOCK")
	if !set {
		return
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		panic(err)
	}
	shared, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	off = (*int64)(unsafe.Pointer(&shared[0]))
}

func offBy() int64 { return atomic.LoadInt64(off) }
`
	patched, added := filepath.Join(dir, "time.go"), filepath.Join(dir, "off.go")
	overlay, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "personasync")
	err = errors.Join(
		os.WriteFile(patched, []byte(strings.Replace(string(text), now, now+"\tsec += offBy()\n", 1)), 0o600),
		os.WriteFile(added, []byte(off), 0o600),
		os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace":{%q:%q,%q:%q}}`, path, patched, filepath.Join(filepath.Dir(path), "off.go"), added), 0o600),
		build(binary, "-overlay="+overlay),
	)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

const (
	hour = time.Hour
	year = 366 * 24 * time.Hour
)

// clockShows lists the offsets of the agent's clock in turn: by hours, across a change of daylight saving time,
// and by years, back and ahead.
var clockShows = []time.Duration{0, hour, 0, -hour, 0, 25 * hour, -23 * hour, year, 0, -year, 0, 20 * year, -50 * year, 0, -3 * hour, 3 * hour}

// TestTheClockIsSet sets an agent's clock back and ahead while deliveries of the same users arrive, some of
// which are waiting for a retry. It sometimes restarts the agent under the wrong clock. No delivery may be
// taken for stale or wait for another year. All must reach MoEngage in order and be applied once.
func TestTheClockIsSet(t *testing.T) {
	settable := settable(t) // takes minutes if much of Go is rebuilt
	p := planned(t, 6, 96)
	h := newHost(t, settable, p.seed)
	clock, err := os.Create(filepath.Join(h.dir, "clock"))
	if err != nil {
		t.Fatal(err)
	}
	defer clock.Close()
	set := func(off time.Duration) {
		t.Helper()
		// In place, because the agent has the file mapped.
		if _, err := clock.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(int64(off/time.Second))), 0); err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	h.env = []string{"PERSONASYNC_TEST_CLOCK=" + clock.Name()}
	if err := h.up(NewDisk(4 << 30)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.until("the agent", idle); err != nil {
		t.Fatal(err)
	}
	var posters []*poster
	for i := range crowd {
		q := &poster{rnd: rand.New(rand.NewPCG(p.seed, uint64(i))), in: map[string]bool{}, posted: map[string][]string{}, now: time.Now}
		q.users = []string{fmt.Sprintf("u-%d-a", i), fmt.Sprintf("u-%d-b", i)}
		posters = append(posters, q)
	}
	began, steps, starts, longest := time.Now(), 0, 0, time.Duration(0)
	for ; steps < int(p.count) && time.Now().Before(p.until); steps++ {
		off := clockShows[(steps+1)%len(clockShows)]
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		h.box.Fail(sandbox.Fault{Status: http.StatusServiceUnavailable})
		posted := h.postingBy(ctx, posters, 6)
		time.Sleep(time.Duration(h.rnd.IntN(100)) * time.Millisecond) // some of it is waiting for a retry by now
		set(off)
		if h.rnd.IntN(3) == 0 {
			starts++
			h.kill()
			if err := h.start(); err != nil {
				t.Fatal(err)
			}
		}
		h.box.Heal()
		err := posted()
		healed := time.Now()
		s, waited := h.until("everything to be delivered", idle)
		longest = max(longest, time.Since(healed))
		h.posted = 0 // compare adds up all that each poster posted
		if err = errors.Join(err, waited); err == nil {
			err = h.compare(posters, s)
		}
		cancel()
		if err != nil {
			t.Fatalf("step %d, the clock off by %s: %v", steps, off, err)
		}
	}
	p.did(t, steps)
	t.Logf("the clock was set %d times in %s, with %d starts; %d transitions; everything had left at most %s after the last answer",
		steps, time.Since(began).Round(time.Second), starts, h.posted, longest.Round(time.Millisecond))
}
