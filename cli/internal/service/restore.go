package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"personasync/store"
)

// Restored is the result of a restore under a unit.
type Restored struct {
	store.RestoreReport
	Unit    string `json:"unit"`
	Started bool   `json:"started"` // false: it was stopped before, and stays so
}

// Restoration puts a backup in place of the data of a unit's agent.
type Restoration struct {
	Unit   *Unit
	Config string   // path of its configuration
	Backup *os.File // read from its beginning

	// Ready waits until the agent accepts events, or says why it does not. It is called once the unit was started.
	Ready func(context.Context) error

	Say func(format string, args ...any) // each step, before it is taken
}

// patience is how long the steps back may take once the way forward has failed.
const patience = 20 * time.Minute

// run stops the unit, restores as its user, starts it and waits until it is ready. If the restore fails, the data is as it
// was, and the unit is started with it. If the unit does not become ready with the restored data, the previous data is put
// back, and the unit is started again. systemd starts the unit even if this process is killed in between.
func (r *Restoration) run(ctx context.Context) (Restored, error) {
	u, up := r.Unit, r.Unit.wasUp()
	result := Restored{Unit: u.Name, Started: up}
	r.Say("stopping %s, and restoring as its user", u.Name)
	if err := r.as(ctx, r.Backup, &result.RestoreReport, "db", "restore", "-", "--yes", "--json"); err != nil {
		return result, r.startAgain(ctx, fmt.Errorf("the data is as it was: %w", err))
	}
	if !up {
		r.Say("%s was stopped before, and stays so: `systemctl start %s`", u.Name, u.Name)
		return result, nil
	}
	r.Say("starting %s", u.Name)
	err := u.start(ctx)
	if err == nil {
		err = r.Ready(ctx)
	}
	if err == nil {
		return result, nil
	}
	return result, r.putBack(ctx, result.Previous, fmt.Errorf("with the restored data %s does not become ready: %w", u.Name, err))
}

// as runs a command of this program as the unit's user while the unit is stopped, and decodes its answer.
func (r *Restoration) as(ctx context.Context, stdin io.Reader, into any, args ...string) error {
	out, err := r.Unit.runStopped(ctx, stdin, append([]string{"--config", r.Config}, args...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

// startAgain starts the unit with the data that is there, if it ran before, and adds to err whether that went well.
func (r *Restoration) startAgain(ctx context.Context, err error) error {
	if !r.Unit.wasUp() {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	r.Say("starting %s again", r.Unit.Name)
	if failed := r.Unit.start(ctx); failed != nil {
		return errors.Join(err, fmt.Errorf("%s does not restart (`journalctl -u %s -n 50` says why): %w", r.Unit.Name, r.Unit.Name, failed))
	}
	return fmt.Errorf("%w; %s runs again", err, r.Unit.Name)
}

// putBack makes the previous data the data again.
func (r *Restoration) putBack(ctx context.Context, previous string, err error) error {
	if previous == "" {
		return fmt.Errorf("%w (`journalctl -u %s -n 50` says why); there was no data before", err, r.Unit.Name)
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	r.Say("putting the previous data back")
	var aside string
	if failed := r.as(back, nil, &aside, "put-back", previous); failed != nil {
		return errors.Join(err, fmt.Errorf("the previous data is in %s, and could not be put back: %w", previous, failed))
	}
	return r.startAgain(ctx, fmt.Errorf("%w; the previous data is back, and the restored data is in %s", err, aside))
}
