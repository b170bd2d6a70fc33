package cli

import (
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

// A table that goes into a pipe or a file was cut to 80 columns, ids included.
func TestNothingIsCutInAPipe(t *testing.T) {
	sh := testShell()
	table := sh.NewTable(false, changeTable...)
	row := make([]string, len(changeTable))
	for i := range row {
		row[i] = strings.Repeat("x", 100) + string(rune('a'+i))
	}
	if err := table.Print([][]string{row}); err != nil {
		t.Fatal(err)
	}
	for _, cell := range row {
		if got := sh.Out.(*strings.Builder).String(); !strings.Contains(got, cell) {
			t.Errorf("%q is cut:\n%s", cell, got)
		}
	}
}

// An id or a key that is cut cannot be typed again, on a terminal either.
func TestIdsAndKeysAreNeverCut(t *testing.T) {
	for name, columns := range map[string][]term.Column{"changes": changeTable, "members": memberTable, "waiting": waitingTable, "states": stateTable, "tail": tailColumns} {
		for _, c := range columns {
			if c.Flexible && slices.Contains([]string{"ID", "USER", "COMPUTATION", "KEY", "TRAIT", "ATTRIBUTE"}, c.Title) {
				t.Errorf("%s: the column %s is cut to fit", name, c.Title)
			}
		}
	}
}

func TestClosedPipeEndsQuietly(t *testing.T) {
	sh := testShell()
	for _, err := range []error{syscall.EPIPE, io.ErrClosedPipe, errors.Join(syscall.EPIPE)} {
		if code := report(sh.Terminal, err); code != exit.Done {
			t.Errorf("%v ended with %d", err, code)
		}
	}
	if said := sh.Err.(*strings.Builder).String(); said != "" {
		t.Errorf("it said %q", said)
	}
}
