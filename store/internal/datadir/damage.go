package datadir

import (
	"errors"
	"log/slog"
	"sync"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/wire"
)

// Damage collects the errors of a running store that speak of damaged files or of a failing disk. It notes them
// in the shutdown marker, so that the next start reads the files before it trusts them. Its methods may be called
// concurrently.
type Damage struct {
	log        *slog.Logger
	marker     *ShutdownMarker
	broken     chan struct{} // closed when the writer or the inbox met damage
	brokenOnce sync.Once
	readOnce   sync.Once
}

// NewDamage returns a Damage that notes errors in marker.
func NewDamage(log *slog.Logger, marker *ShutdownMarker) *Damage {
	return &Damage{log: log, marker: marker, broken: make(chan struct{})}
}

// Note takes in an error of a write, which may be nil. An error that says a file is damaged closes Broken.
func (d *Damage) Note(err error) {
	d.marker.Note(err)
	if errors.Is(err, wire.ErrDamaged) {
		d.brokenOnce.Do(func() {
			d.log.Error("the files are damaged; start the agent again: it then saves what can be saved", "err", err, "stack", boltfile.Stack(err))
			close(d.broken)
		})
	}
}

// NoteRow takes in damage that a transaction passed over. The writer goes on.
func (d *Damage) NoteRow(err error) { d.marker.Note(err) }

// NoteRead takes in damage that a reader met, and logs the first. The writer goes on, because it may never come
// to that place.
func (d *Damage) NoteRead(err error) {
	d.marker.Note(err)
	d.readOnce.Do(func() {
		d.log.Error("the requested data is damaged; start the agent again, which then reads the files and saves all that can be read", "err", err, "stack", boltfile.Stack(err))
	})
}

// Broken is closed when damage was met by a write. The store answers errors from then on.
func (d *Damage) Broken() <-chan struct{} { return d.broken }

// IsBroken reports whether Broken is closed.
func (d *Damage) IsBroken() bool {
	select {
	case <-d.broken:
		return true
	default:
		return false
	}
}
