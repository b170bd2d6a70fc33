package postgres

import (
	"log/slog"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"personasync/store/postgres/pgtest"
)

// TestAConnectionToALostHostEndsSoon: a lost host does not say so, and the kernel is patient.
func TestAConnectionToALostHostEndsSoon(t *testing.T) {
	db, err := Connect(t.Context(), Config{URL: newProxy(t, pgtest.URL(t)).URL(), Replicated: "no", Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	defer db.Close()
	c, err := db.connect(t.Context())
	must(t, err)
	defer closeNow(c)
	raw, err := c.Conn().(*net.TCPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		if ms, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || ms != int(sendTimeout.Milliseconds()) {
			t.Errorf("it may take %d ms: %v", ms, err)
		}
	}))
}
