package store

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
	"personasync/store/internal/wal"
)

const sector = 512

// differing lists the sectors in which two images differ; one that is shorter ends in zeros.
func differing(a, b []byte) (list []int) {
	at := func(image []byte, from int) []byte {
		s := make([]byte, sector)
		if from < len(image) {
			copy(s, image[from:])
		}
		return s
	}
	for from := 0; from < max(len(a), len(b)); from += sector {
		if !bytes.Equal(at(a, from), at(b, from)) {
			list = append(list, from)
		}
	}
	return list
}

// TestATornCommitIsNoDamage: the start says what it did, keeps nothing aside, and loses nothing that was
// applied.
func TestATornCommitIsNoDamage(t *testing.T) {
	onFiles(t)
	dir := filepath.Join(t.TempDir(), "data")
	copyStore(t, sample(t, 12), dir)
	path := wal.Path(dir, 1)
	before, err := os.ReadFile(path)
	must(t, err)
	in, err := wal.Open(dir, wal.Config{Epoch: epochOf(t, dir), First: 1, Records: record.InboxRecords})
	must(t, err)
	end := in.Last()
	must(t, in.Append(t.Context(), record.AppendEvent(nil, event("torn", "vip", true, 1))))
	after, err := os.ReadFile(path)
	must(t, err)
	in.Close()
	sectors := differing(before, after[:len(before)])
	for _, from := range sectors[2:] { // the heads arrived, the pages did not
		copy(after[from:from+sector], before[from:])
	}
	must(t, os.WriteFile(path, after, 0o600))
	lastRunOf(t, dir, datadir.LastRun{Phase: datadir.PhaseRunning, Boot: "another"})

	var logged bytes.Buffer
	st, err := Open(dir, Options{Log: slog.New(slog.NewTextHandler(&logged, nil))})
	must(t, err)
	defer st.Close()
	if list, err := st.Salvages(); len(list) > 0 || err != nil {
		t.Errorf("%v %v", list, err)
	}
	if !strings.Contains(logged.String(), "was taken back") {
		t.Error(logged.String())
	}
	if got := st.inbox.Last(); got != end {
		t.Errorf("the inbox ends with record %d, want %d", got, end)
	}
}
