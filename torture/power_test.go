package torture

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A moment is when the power fails, and the largest number of disk operations until then.
type moment struct {
	name   string
	within int
}

var moments = []moment{
	{"during the first start", 60},
	{"soon after the first start", 130}, // which takes 59
	{"during a start", 30},
	{"at work", 200},
	{"during a compaction", 60},
	{"at work, soon", 40},
	{"as an inbox file fills up", 60},
	{"after an fsync that failed", 20},
}

func momentNamed(name string) moment {
	return moments[slices.IndexFunc(moments, func(m moment) bool { return m.name == name })]
}

// TestPowerLoss cuts an agent's power at any disk operation and restarts it on a possible state of the disk. It
// must open without salvage. Everything acknowledged must be at MoEngage in each user's order and applied once,
// and the ledger must balance.
func TestPowerLoss(t *testing.T) {
	p := planned(t, 24, 480)
	var turn, cuts, repeats atomic.Int64
	tally := make([]atomic.Int64, len(moments))
	began := time.Now()
	t.Run("hosts", func(t *testing.T) {
		for i := range 4 {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				h := newHost(t, product, p.seed+uint64(i))
				for time.Now().Before(p.until) {
					n := int(turn.Add(1) - 1)
					if int64(n) >= p.count {
						break
					}
					if err := h.powerLoss(moments[n%len(moments)]); err != nil {
						t.Fatalf("cut %d, %s: %v", n, moments[n%len(moments)].name, err)
					}
					cuts.Add(1)
					tally[n%len(moments)].Add(1)
				}
				repeats.Add(int64(h.repeats))
			})
		}
	})
	p.did(t, int(cuts.Load()))
	t.Logf("%d cuts in %s, %d events came twice", cuts.Load(), time.Since(began).Round(time.Second), repeats.Load())
	for i, m := range moments {
		t.Logf("%5d %s, within %d operations", tally[i].Load(), m.name, m.within)
	}
}

// TestPowerLossIsNoticedWithoutFsync is the control. The same test must fail soon, at every moment, for an
// agent that does not sync.
func TestPowerLossIsNoticedWithoutFsync(t *testing.T) {
	p := planned(t, 20, 20)
	control(t, p, withoutFsync(t), moments)
}

// TestPowerLossIsNoticedWithoutFsyncOfTheFolder is the control for names. An agent that syncs files but not
// their directory must fail where files get names.
func TestPowerLossIsNoticedWithoutFsyncOfTheFolder(t *testing.T) {
	p := planned(t, 60, 60)
	control(t, p, withoutFolderSync(t), []moment{momentNamed("soon after the first start")})
}

// control cuts the power of a broken agent at each moment until the test notices.
func control(t *testing.T, p plan, binary string, at []moment) {
	for i, m := range at {
		t.Run(m.name, func(t *testing.T) {
			h := newHost(t, binary, p.seed+uint64(i))
			h.broken = true
			for n := range p.count {
				if err := h.powerLoss(m); err != nil {
					t.Logf("cut %d: %s", n+1, brief(err))
					return
				}
			}
			t.Errorf("the broken agent survived %d cuts: the test proves nothing", p.count)
		})
	}
}

// powerLoss makes one cut and runs the agent after it.
func (h *host) powerLoss(m moment) error {
	fresh := strings.HasSuffix(m.name, "the first start")
	if h.unmount == nil || fresh {
		h.down()
		h.posted = 0
		disk := NewDisk(4 << 30)
		if fresh {
			h.cutAfter(disk, 1+h.rnd.IntN(m.within))
		}
		if err := h.up(disk); err != nil {
			return err
		}
	}
	if m.name == "during a start" {
		h.kill()
		h.cutAfter(h.disk, 1+h.rnd.IntN(m.within))
		if err := h.start(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	fat := 0
	switch {
	case m.name == "after an fsync that failed":
		if err := h.failedFsync(ctx, 1+h.rnd.IntN(m.within)); err != nil {
			return err
		}
		h.cutAfter(h.disk, 1+h.rnd.IntN(m.within))
	case m.name == "as an inbox file fills up":
		fat = 3
		if err := h.fatten(ctx, 4); err != nil {
			return err
		}
		fallthrough
	case m.name == "during a compaction", strings.HasPrefix(m.name, "at work"):
		if _, err := h.until("the agent", idle); err != nil {
			return err
		}
		h.cutAfter(h.disk, 1+h.rnd.IntN(m.within))
	}
	posters, posted := h.posting(ctx, 10)
	if fat > 0 {
		_ = h.fatten(ctx, fat) // until the power is cut
	}
	if m.name == "during a compaction" {
		_ = h.command("db", "compact").Run() // it may lose its agent
	}
	select {
	case <-h.gone:
	case <-time.After(300 * time.Millisecond): // there are fewer operations
		h.disk.Cut()
		h.kill()
	}
	found := h.disk.After(h.rnd)
	found.Reboot()
	h.down()
	if err := h.up(found); err != nil {
		return err
	}
	if _, err := h.until("the agent to open what the disk holds", idle); err != nil {
		return err
	}
	if err := posted(); err != nil {
		return fmt.Errorf("%w: %v", err, h.answers)
	}
	s, err := h.until("everything to be delivered", idle)
	if err != nil {
		return err
	}
	return h.compare(posters, s)
}

// fatten posts n ordinary events of 4 MiB to fill a file of the inbox.
func (h *host) fatten(ctx context.Context, n int) error {
	body := fmt.Appendf(nil, `{"type":"track","userId":"fat","event":"Fat","messageId":"fat","timestamp":"2026-01-02T03:04:05Z","properties":{"pad":%q}}`, strings.Repeat("x", 4<<20))
	for range n {
		if h.postOnce(ctx, body) != http.StatusOK {
			return errors.New("an event of 4 MiB was not accepted")
		}
	}
	return nil
}

// failedFsync makes the nth fsync from now fail once and waits for recovery. The data of that fsync stays off
// the disk.
func (h *host) failedFsync(ctx context.Context, n int) error {
	if _, err := h.until("the agent", idle); err != nil {
		return err
	}
	var syncs atomic.Int64
	h.disk.Before(func(op Op, _ string, _ int) syscall.Errno {
		if op == OpSync && syncs.Add(1) == int64(n) {
			return syscall.EIO
		}
		return 0
	})
	posters, posted := h.posting(ctx, 5)
	if err := posted(); err != nil {
		return fmt.Errorf("%w: %v", err, h.answers)
	}
	s, err := h.until("everything to be delivered", idle)
	if err != nil {
		return err
	}
	h.disk.Before(nil)
	return h.compare(posters, s)
}

// cutAfter cuts the power before the nth operation from now.
func (h *host) cutAfter(disk *Disk, n int) {
	disk.Before(func(_ Op, _ string, at int) syscall.Errno {
		if at < n {
			return 0
		}
		disk.Cut()
		h.mu.Lock()
		cmd := h.cmd
		h.mu.Unlock()
		if cmd != nil {
			_ = cmd.Process.Kill()
		}
		return syscall.EIO
	})
}
