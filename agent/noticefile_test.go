package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"personasync/store"
)

// TestWhatADoorToldOutlivesARestart: its receivers were never told of the end.
func TestWhatADoorToldOutlivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), toldFile)
	of := func(receiver, name string) store.Notices {
		return store.Notices{Receiver: receiver, Open: []store.Notice{{Condition: name, Told: "began"}}}
	}
	f := &noticeFile{path: path}
	for _, n := range []store.Notices{of("url", "no_writer"), of("command", "no_writer"), of("url", "config_refused")} {
		if err := f.SetNotices(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	got, err := (&noticeFile{path: path}).Notices()
	if diff := cmp.Diff([]store.Notices{of("command", "no_writer"), of("url", "config_refused")}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if err := os.WriteFile(path, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Notices(); err == nil {
		t.Error("nothing is said of a file that was cut off")
	}
	if err := f.SetNotices(t.Context(), of("url", "no_writer")); err != nil {
		t.Errorf("it is not replaced: %v", err)
	}
}
