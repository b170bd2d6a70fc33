package servicemanager

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"personasync/store"
)

// TestTheWatchdogIsFedByCommitsAlone: a store that does not answer, or answers with an error, is reason to end the agent. A
// closed one is a stop, and no reason for a line in the log.
func TestTheWatchdogIsFedByCommitsAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	told := func() string {
		buf := make([]byte, 4096)
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	for _, tt := range []struct {
		name        string
		answers     error
		fed, logged bool
	}{
		{"commits complete", nil, true, false},
		{"it fails", errors.New("the disk is gone"), false, true},
		{"it does not answer", context.DeadlineExceeded, false, true},
		{"it is closed", store.ErrClosed, false, false},
		{"the agent stops", context.Canceled, false, false},
	} {
		var log bytes.Buffer
		n := &Notifier{Log: slog.New(slog.NewTextHandler(&log, nil)), Liveness: func(context.Context) error { return tt.answers }}
		n.feedWatchdog(t.Context(), time.Minute)
		n.Tell("the end", "of this case")
		heard := told()
		if fed := heard == "WATCHDOG=1"; fed != tt.fed {
			t.Errorf("%s: it heard %q", tt.name, heard)
		}
		if tt.fed {
			heard = told()
		}
		if heard != "the end\nof this case" {
			t.Errorf("%s: it heard %q", tt.name, heard)
		}
		if logged := strings.Contains(log.String(), "commits do not complete"); logged != tt.logged {
			t.Errorf("%s: the log has %q", tt.name, &log)
		}
	}
}
