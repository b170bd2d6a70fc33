package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"personasync/agent/condition"
)

// TestDRBD kills a virtual machine whose agent is under load. Its volume is real: ext4 on DRBD with protocol C. The other
// machine notices, takes the volume over by the commands of docs/high-availability.md, and continues. drbd/run prepares it.
func TestDRBD(t *testing.T) {
	made := os.Getenv("PERSONASYNC_DRBD")
	if made == "" {
		t.Skip("NOT TESTED: two machines with DRBD take torture/drbd/run")
	}
	const each = 60
	h := newHost(t, product, planned(t, 1, 1).seed)
	l, err := net.Listen("tcp", h.ingest) // the address that moves
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var serving atomic.Pointer[machine]
	go forward(l, &serving)

	link := freeAddress(t)
	a := boot(t, made, "a", h.moengage, "listen="+link)
	b := boot(t, made, "b", h.moengage, "connect="+link)
	a.wait(t, "status")
	b.wait(t, "ready")
	serving.Store(a)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	posters := h.posters(clients)
	posted := h.postingBy(ctx, posters, each)
	for h.accepted() < clients*each/3 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	a.kill()
	at, before := time.Now(), h.accepted()
	serving.Store(b)
	b.wait(t, "lost")
	noticed := time.Since(at)
	b.wait(t, "mounted")
	mounted := time.Since(at)
	for h.accepted() == before && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	t.Logf("%d of %d answered 200 when the machine was killed; noticed after %s, mounted after %s, the first 200 after %s", before, clients*each,
		noticed.Round(10*time.Millisecond), mounted.Round(10*time.Millisecond), time.Since(at).Round(10*time.Millisecond))
	if err := posted(); err != nil {
		t.Fatalf("%v: %v", err, h.answers)
	}
	var s condition.Status
	for until := time.Now().Add(patience); !idle(s) || s.Events.Transitions < clients*each; {
		err := json.Unmarshal([]byte(b.wait(t, "status ")), &s) // the kernel may write in between
		if time.Now().After(until) {
			t.Fatalf("waited for everything to be delivered: %v %+v", err, s)
		}
	}
	if err := h.compare(posters, s); err != nil {
		t.Error(err)
	}
	if check := b.wait(t, "check "); !strings.HasPrefix(check, "0 ") {
		t.Errorf("db check: %s", check)
	}
	t.Logf("%d transitions, %d events came twice; answers by status %v", h.posted, h.repeats, h.answers)
}

// forward connects every client of l to the machine that serves at that time.
func forward(l net.Listener, serving *atomic.Pointer[machine]) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer client.Close()
			m := serving.Load()
			if m == nil {
				return
			}
			agent, err := net.Dial("tcp", m.ingest)
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(agent, client); agent.Close() }()
			_, _ = io.Copy(client, agent)
		}()
	}
}

// machine is a virtual machine. Its first process is drbd/init.
type machine struct {
	ingest string
	kill   func()

	mu    sync.Mutex
	lines []string // that its first process said, and wait has not seen
}

// boot boots a machine of what drbd/run made. link is its end of the cable to the other one.
func boot(t *testing.T, made, name, moengage, link string) *machine {
	t.Helper()
	disk := filepath.Join(made, name)
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 256<<20); err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(moengage)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{ingest: freeAddress(t)}
	c := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "512", "-M", "q35", "-nographic", "-nodefaults", "-no-reboot", "-serial", "stdio",
		"-kernel", filepath.Join(made, "kernel"), "-initrd", filepath.Join(made, "initrd"),
		"-append", fmt.Sprintf("root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 init=/init.test host=%s moengage=%s", name, to.Port()),
		"-drive", "if=virtio,format=raw,snapshot=on,file="+filepath.Join(made, "root"),
		"-drive", "if=virtio,format=raw,file="+disk,
		"-netdev", "socket,id=other,"+link, "-device", "virtio-net-pci,netdev=other,mac=52:54:00:00:00:0"+name,
		"-netdev", "user,id=test,hostfwd=tcp:"+m.ingest+"-10.0.2.15:8480", "-device", "virtio-net-pci,netdev=test")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var console lockedBuffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			fmt.Fprintln(&console, s.Text())
			if _, said, ok := strings.Cut(s.Text(), "TEST "); ok {
				m.mu.Lock()
				m.lines = append(m.lines, said)
				m.mu.Unlock()
			}
		}
	}()
	m.kill = sync.OnceFunc(func() {
		_ = c.Process.Kill()
		<-read
		_ = c.Wait()
	})
	t.Cleanup(func() {
		m.kill()
		if text := console.String(); t.Failed() {
			t.Logf("the console of %s ends:\n%s", name, text[max(0, len(text)-6000):])
		}
	})
	return m
}

// wait returns the rest of the next line that begins with what.
func (m *machine) wait(t *testing.T, what string) string {
	t.Helper()
	for until := time.Now().Add(5 * time.Minute); time.Now().Before(until); time.Sleep(10 * time.Millisecond) { // an emulated machine is slow
		m.mu.Lock()
		for len(m.lines) > 0 {
			said := m.lines[0]
			m.lines = m.lines[1:]
			if rest, ok := strings.CutPrefix(said, what); ok {
				m.mu.Unlock()
				return rest
			}
		}
		m.mu.Unlock()
	}
	t.Fatalf("waited for %q in vain", what)
	return ""
}
