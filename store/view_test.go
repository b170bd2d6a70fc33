package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"personasync/store/internal/datadir"
	"personasync/store/internal/wire"
)

// TestAReaderOfACutFileSaysWhatToDo: of an empty state.db it said "bad file descriptor" and of a short one "file size too
// small", and nothing else.
func TestAReaderOfACutFileSaysWhatToDo(t *testing.T) {
	onFiles(t)
	b, _ := busyStore(t)
	inboxes, err := filepath.Glob(filepath.Join(b.dir, "inbox-*.db"))
	must(t, err)
	for _, path := range []string{inboxes[0], filepath.Join(b.dir, datadir.StateFile)} {
		for _, size := range []int64{4096, 100, 0} {
			must(t, os.Truncate(path, size))
			if v, err := OpenReadOnly(b.dir); err == nil {
				must(t, v.Close())
				t.Errorf("%s of %d bytes is opened", filepath.Base(path), size)
			} else if !strings.Contains(err.Error(), "the data is damaged") || !strings.Contains(err.Error(), "`personasync db check`") || strings.Contains(err.Error(), "descriptor") {
				t.Errorf("%s of %d bytes: %v", filepath.Base(path), size, err)
			}
		}
	}
}

// TestDamageThatIsMetWhileReadingSaysWhatToDo: it was "invalid memory address or nil pointer dereference" alone.
func TestDamageThatIsMetWhileReadingSaysWhatToDo(t *testing.T) {
	if err := ExplainDamage(fmt.Errorf("row: %w", wire.ErrDamaged)); !errors.Is(err, wire.ErrDamaged) || !strings.Contains(err.Error(), "`personasync db check`") {
		t.Error(err)
	}
	for _, other := range []error{nil, io.EOF, ErrNotFound} {
		if err := ExplainDamage(other); err != other {
			t.Errorf("%v became %v", other, err)
		}
	}
}
