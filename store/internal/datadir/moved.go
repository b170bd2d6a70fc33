package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
)

// MovedFile says that no agent may open the store of a directory, because it was moved elsewhere, or not all of it has
// come here yet.
const MovedFile = "moved"

// MovedError says where a store was moved to, or from where it is being moved here. One of the two is empty.
type MovedError struct {
	Place string    `json:"-"` // that is not to be opened
	To    string    `json:"to,omitempty"`
	From  string    `json:"from,omitempty"`
	At    time.Time `json:"at"`
}

// ErrMovedAway is every MovedError.
var ErrMovedAway = errors.New("no store to open")

// Error implements error.
func (e *MovedError) Error() string {
	if e.To != "" {
		there := `[store] engine = "postgres", and its address as url_file or as the credential store_url`
		if filepath.IsAbs(e.To) {
			there = fmt.Sprintf(`data_dir = %q, and [store] engine = "bbolt"`, e.To)
		}
		return fmt.Sprintf("%v: that in %s was moved to %s at %s: write into agent.toml %s",
			ErrMovedAway, e.Place, e.To, domain.Timestamp(e.At), there)
	}
	return fmt.Sprintf("%v: the move from %s to %s, begun at %s, did not come to its end: run the move again, with the configuration of the old place",
		ErrMovedAway, e.From, e.Place, domain.Timestamp(e.At))
}

// Unwrap makes it ErrMovedAway.
func (e *MovedError) Unwrap() error { return ErrMovedAway }

// CheckMoved returns a *MovedError if no agent may open the store in dir. moving lets one be opened that was moved away.
func CheckMoved(dir string, moving bool) error {
	text, err := os.ReadFile(filepath.Join(dir, MovedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	e := &MovedError{Place: dir}
	if err == nil {
		err = json.Unmarshal(text, e)
	}
	if err != nil {
		return fmt.Errorf("read where the store was moved to: %w", err)
	}
	if moving && e.To != "" {
		return nil
	}
	return e
}

// MarkMoved has CheckMoved return e for dir from now on, whatever happens to this process.
func MarkMoved(dir string, e MovedError) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, MovedFile+".*")
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, MovedFile))
	}
	if err != nil {
		return errors.Join(Translate(err), os.Remove(f.Name()))
	}
	return boltfile.SyncDir(dir)
}

// UnmarkMoved lets the store in dir be opened again.
func UnmarkMoved(dir string) error {
	if err := os.Remove(filepath.Join(dir, MovedFile)); err != nil {
		return err
	}
	return boltfile.SyncDir(dir)
}
