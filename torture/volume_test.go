package torture

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"personasync/agent/condition"
)

const (
	volumeSize = 512 << 20
	clients    = 32 // concurrent connections
)

// loss is how a host is lost.
type loss struct {
	name   string
	within int  // the largest number of writes and flushes of the volume until then
	dark   bool // the surviving half's power fails too
	fenced bool // the host lives on without its volume
}

var losses = []loss{
	{name: "the host dies at work", within: 400},
	{name: "both lose power at work, and one comes back", within: 400, dark: true},
	{name: "the volume is taken from a host that lives on", within: 400, fenced: true},
	{name: "the host dies soon", within: 40},
	{name: "the host dies during a compaction", within: 150},
	{name: "the host dies during a start", within: 60},
}

// TestHostLoss runs an agent under load on ext4, on a block device that is kept on two hosts. The volume is cut away in
// the middle of its writes, with one half of it. The other host assembles it of the half that is left, checks and mounts
// the file system, and starts an agent. Everything acknowledged must be at MoEngage in each user's order and applied
// once, the ledger must balance, nothing may have been salvaged, and `db check` finds nothing.
func TestHostLoss(t *testing.T) {
	t.Parallel()
	p := planned(t, 6, 120)
	h := newVolumeHost(t, product, p.seed, 0)
	lost := 0
	for ; int64(lost) < p.count && time.Now().Before(p.until); lost++ {
		l := losses[lost%len(losses)]
		took, err := h.hostLoss(l)
		if err != nil {
			t.Fatalf("loss %d, %s: %v", lost, l.name, err)
		}
		t.Logf("%s: %s", l.name, took)
	}
	p.did(t, lost)
	t.Logf("%d hosts lost, %d transitions of %d connections, %d events came twice; answers by status %v", lost, h.posted, clients, h.repeats, h.answers)
}

// TestHostLossIsNoticed is the control. The same test must fail soon on a volume whose other half is 30 writes behind, and
// for an agent that does not sync, whether its host dies or only loses the volume.
func TestHostLossIsNoticed(t *testing.T) {
	t.Parallel()
	p := planned(t, 10, 10)
	unsynced := withoutFsync(t)
	for name, c := range map[string]struct {
		lag    int
		binary string
		loss   loss
	}{
		"with an asynchronous replica":           {30, product, losses[0]},
		"without fsync, of a host that dies":     {0, unsynced, losses[0]},
		"without fsync, of a host that lives on": {0, unsynced, losses[2]},
	} {
		t.Run(name, func(t *testing.T) {
			h := newVolumeHost(t, c.binary, p.seed, c.lag)
			h.broken = true
			for n := range p.count {
				if _, err := h.hostLoss(c.loss); err != nil {
					t.Logf("loss %d: %s", n+1, brief(err))
					return
				}
			}
			t.Errorf("%d losses were survived: the test proves nothing", p.count)
		})
	}
}

// TestTwoHostsOnOneVolume shows what no agent can notice: its lock of the data directory does not reach another host. So
// both agents start and answer 200, and each overwrites what the other wrote. ext4's multiple mount protection refuses
// the second mount.
func TestTwoHostsOnOneVolume(t *testing.T) {
	t.Parallel()
	p := planned(t, 1, 1)
	for _, protected := range []bool{false, true} {
		t.Run(map[bool]string{false: "unprotected", true: "with multiple mount protection"}[protected], func(t *testing.T) {
			features := []string{}
			if protected {
				features = []string{"-O", "mmp", "-E", "mmp_update_interval=1"}
			}
			a := newVolumeHost(t, product, p.seed, 0, features...)
			if _, err := a.until("the first agent", idle); err != nil {
				t.Fatal(err)
			}
			b := newHost(t, product, p.seed+1)
			err := b.mount(a.disk, func(dir string) (func() error, error) { return mountFile(a.half(), dir) })
			if protected {
				if err == nil || !strings.Contains(err.Error(), "MMP: device currently active") {
					t.Errorf("the second mount: %v", err)
				}
				return
			}
			if err := errors.Join(err, b.start()); err != nil {
				t.Fatal(err)
			}
			if _, err := b.until("the second agent", idle); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for _, h := range []*host{a, b} {
				if err := h.postingBy(ctx, h.posters(crowd), 20)(); err != nil {
					t.Fatalf("%v: %v", err, h.answers)
				}
			}
			a.kill()
			b.down()
			found := a.disk.Survivor(a.rnd, false)
			a.down()
			if err := a.mount(found, func(dir string) (func() error, error) { return mountVolume(found, dir) }); err != nil {
				t.Logf("afterwards: %v", err)
				return
			}
			err = a.start()
			s, waited := a.until("what is left", idle)
			t.Logf("%d deliveries were answered 200; afterwards an agent has %d (%v)", a.accepted()+b.accepted(), s.Events.Accepted, errors.Join(err, waited))
			if s.Events.Accepted >= uint64(a.accepted()+b.accepted()) {
				t.Error("nothing was lost: the documentation warns of what does not happen")
			}
		})
	}
}

// newVolumeHost returns a host whose disk is a new volume, formatted with these options, with an agent on it.
func newVolumeHost(t *testing.T, binary string, seed uint64, lag int, format ...string) *host {
	t.Helper()
	h := newHost(t, binary, seed)
	for _, tool := range []string{"losetup", "mkfs.ext4", "e2fsck"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("NOT TESTED: %v", err)
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skipf("NOT TESTED: a block device takes %v", err)
	}
	v := NewVolume(volumeSize, lag)
	made := func(dir string) (func() error, error) { return mountVolume(v, dir, format...) }
	if err := errors.Join(h.mount(v, made), h.start()); err != nil {
		t.Fatal(err)
	}
	return h
}

// half is the file of the volume that is mounted at data.
func (h *host) half() string { return filepath.Join(h.data()+".half", volumeFile) }

// mountVolume mounts v's file system at dir. If there is none yet, it makes one with these options.
func mountVolume(v *Disk, dir string, format ...string) (unmount func() error, err error) {
	half := dir + ".half"
	if err := os.Mkdir(half, 0o700); err != nil {
		return nil, err
	}
	unattached, err := v.Mount(half)
	if err != nil {
		return nil, err
	}
	detach := func() error { return errors.Join(unattached(), os.Remove(half)) }
	file := filepath.Join(half, volumeFile)
	if v.Used() == 0 {
		_, err = tool("mkfs.ext4", append([]string{"-q", "-E", "nodiscard", file}, format...)...)
	}
	if err != nil {
		return nil, errors.Join(err, detach())
	}
	unmounted, err := mountFile(file, dir)
	if err != nil {
		return nil, errors.Join(err, detach())
	}
	return func() error { return errors.Join(unmounted(), detach()) }, nil
}

// mountFile does what a host does with a volume: it checks the file system of file, and mounts it at dir.
func mountFile(file, dir string) (unmount func() error, err error) {
	device, err := tool("losetup", "--find", "--show", file)
	if err != nil {
		return nil, err
	}
	detach := func() error { _, err := tool("losetup", "--detach", device); return err }
	if _, err = tool("e2fsck", "-p", device); err == nil {
		err = syscall.Mount(device, dir, "ext4", 0, "")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s: %w", device, err), detach())
	}
	return func() error { return errors.Join(syscall.Unmount(dir, syscall.MNT_DETACH), detach()) }, nil
}

// tool runs a program of the system and returns what it prints. That e2fsck repaired something is no error.
func tool(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	var exit *exec.ExitError
	if name == "e2fsck" && errors.As(err, &exit) && exit.ExitCode() == 1 {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// outage is how long Segment's deliveries were not accepted.
type outage struct{ mounted, accepted time.Duration }

func (o outage) String() string {
	return fmt.Sprintf("mounted %s after the loss, answers 200 after %s", o.mounted.Round(time.Millisecond), o.accepted.Round(time.Millisecond))
}

// hostLoss loses the host once and continues on the other.
func (h *host) hostLoss(l loss) (took outage, err error) {
	if _, err := h.until("the agent", idle); err != nil {
		return took, err
	}
	if strings.HasSuffix(l.name, "during a start") {
		h.kill()
	}
	lost := make(chan struct{})
	h.loseAfter(1+h.rnd.IntN(l.within), lost, l.fenced)
	if strings.HasSuffix(l.name, "during a start") {
		if err := h.start(); err != nil {
			return took, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	posters := h.posters(clients)
	posted := h.postingBy(ctx, posters, 20)
	if strings.HasSuffix(l.name, "during a compaction") {
		_ = h.command("db", "compact").Run() // it may lose its agent
	}
	select {
	case <-lost:
	case <-time.After(2 * time.Second): // there are fewer operations
		h.disk.Cut()
	}
	at := time.Now()
	if l.fenced {
		time.Sleep(500 * time.Millisecond) // a 200 of this time would be lost
	}
	h.kill()
	found := h.disk.Survivor(h.rnd, l.dark)
	h.down()
	if err := h.mount(found, func(dir string) (func() error, error) { return mountVolume(found, dir) }); err != nil {
		return took, err
	}
	if err := anotherMachine(h.data()); err != nil {
		return took, err
	}
	took.mounted = time.Since(at)
	if err := h.start(); err != nil {
		return took, err
	}
	if _, err := h.until("the agent", func(s condition.Status) bool { return s.Ready }); err != nil {
		return took, err
	}
	first := h.posters(1) // the others may have posted everything
	if err := h.postingBy(ctx, first, 1)(); err != nil {
		return took, fmt.Errorf("%w: %v", err, h.answers)
	}
	took.accepted = time.Since(at)
	if err := posted(); err != nil {
		return took, fmt.Errorf("%w: %v", err, h.answers)
	}
	s, err := h.until("everything to be delivered", idle)
	if err != nil {
		return took, err
	}
	if err := h.compare(append(posters, first...), s); err != nil {
		return took, err
	}
	if out, err := h.command("db", "check").CombinedOutput(); err != nil {
		return took, fmt.Errorf("db check: %w: %s", err, out)
	}
	return took, nil
}

// loseAfter cuts the volume before its nth operation from now, and kills the agent unless it is fenced.
func (h *host) loseAfter(n int, lost chan<- struct{}, fenced bool) {
	disk := h.disk
	disk.Before(func(_ Op, _ string, at int) syscall.Errno {
		if at < n {
			return 0
		}
		disk.Cut()
		h.mu.Lock()
		cmd := h.cmd
		h.mu.Unlock()
		if cmd != nil && !fenced {
			_ = cmd.Process.Kill()
		}
		if at == n {
			close(lost)
		}
		return syscall.EIO
	})
}

func (h *host) accepted() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answers[http.StatusOK]
}

// anotherMachine changes the boot id in the agent's shutdown marker, because this is the same machine.
func anotherMachine(dir string) error {
	path := filepath.Join(dir, "running")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, after, ok := strings.Cut(string(text), `"boot":"`)
	if !ok {
		return fmt.Errorf("%s names no boot: %s", path, text)
	}
	return os.WriteFile(path, []byte(before+`"boot":"00000000`+after[8:]), 0o600)
}
