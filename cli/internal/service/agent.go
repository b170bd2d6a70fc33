package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"personasync/agent"
	"personasync/agent/config"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
)

// RestoreText says what a restore of a backup comes to. unit may be nil; will is the word for it: "will" or "would".
func RestoreText(dir, path string, info *store.BackupInfo, unit *Unit, will string) string {
	text := fmt.Sprintf("%s %s be put in place of everything in %s: %s and %s as of %s", term.Plain(path), will, term.Plain(dir),
		term.Plural(info.Users, "user"), term.Plural(info.Received, "received event"), info.Made.Format(time.RFC3339))
	switch {
	case unit != nil && unit.wasUp():
		text = unit.Name + " " + will + " be stopped, and started again after the restore. " + text
	case unit != nil:
		text += "; " + unit.Name + " is stopped, and stays so"
	}
	return text
}

// sameData refuses if the running agent has other data than this configuration says, as with a setting in the environment of
// its unit.
func sameData(ctx context.Context, env *command.Env, places *config.Config) error {
	client, err := agent.DialAgent(ctx, places, env.Version)
	if err != nil {
		return nil // it is not running, or hangs, which is a reason to restore
	}
	defer client.Close()
	theirs, err := client.Configuration(ctx)
	if err != nil {
		return nil
	}
	for _, s := range theirs.Settings {
		for _, own := range places.Effective() {
			if s.Key == "data_dir" && own.Key == s.Key && own.Value != s.Value {
				return exit.Usage("the running agent has data_dir = %s (%s), and this configuration says %s: set it in the same way here", s.Value, s.Origin, own.Value)
			}
		}
	}
	return nil
}

// readyPatience is how long a started unit may take to accept events before it is left to itself.
const readyPatience = time.Minute

// awaitAgent waits until the agent of a started unit accepts events. Only a unit that ends is an error: an agent that runs
// and is not ready says why in its status.
func awaitAgent(ctx context.Context, env *command.Env, places *config.Config, unit *Unit) error {
	why := "nothing answers at " + places.Socket(env.Getenv)
	for deadline := time.Now().Add(readyPatience); time.Now().Before(deadline); {
		if client, err := agent.DialAgent(ctx, places, env.Version); err == nil {
			s, err := client.Status(ctx)
			_ = client.Close()
			if err == nil && s.Ready {
				return nil
			}
			why = s.Unready
		}
		if err := unit.failed(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	env.Remark("%s runs, and does not accept events yet: %s; `personasync status` shows more", unit.Name, why)
	return nil
}

// UnitOf returns the unit that runs the agent of a configuration; nil if there is none that this process may stop. With a name, it is
// that unit.
func UnitOf(ctx context.Context, places *config.Config, name string) (*Unit, error) {
	switch {
	case name != "" && !Booted():
		return nil, exit.Usage("--unit %s: systemd does not run this host: stop the agent, restore as its user without --unit, and start it", name)
	case name != "" && os.Geteuid() != 0:
		return nil, exit.Usage("--unit %s: only root may stop a unit: run this with sudo", name)
	case os.Geteuid() != 0 || !Booted():
		return nil, nil
	}
	path, err := filepath.Abs(places.Path)
	if places.Path == "" {
		path = ""
	}
	if err != nil {
		return nil, err
	}
	unit, err := Find(ctx, path, name)
	if errors.Is(err, ErrNoUnit) && name == "" {
		return nil, nil
	}
	return unit, exit.Incurable(err)
}

// RestoreUnder restores the backup at path over the data of an agent that runs in a unit, after confirm agrees to a sentence.
func RestoreUnder(ctx context.Context, env *command.Env, places *config.Config, unit *Unit, path string, confirm func(what string) error) (result Restored, err error) {
	if path == store.Stdin {
		return result, exit.Usage("%s is stopped only for a backup that was checked before, and the standard input can be read once: write it to a file", unit.Name)
	}
	if err := sameData(ctx, env, places); err != nil {
		return result, err
	}
	bar := env.Progress()
	info, err := store.VerifyBackup(path, bar.Tell)
	bar.End()
	if err != nil {
		return result, fmt.Errorf("%w: nothing was stopped or changed", err)
	}
	if err := confirm(RestoreText(places.DataDir, path, &info, unit, "will")); err != nil {
		return result, err
	}
	f, err := os.Open(path)
	if err != nil {
		return result, err
	}
	defer f.Close()
	config, err := filepath.Abs(places.Path)
	if err != nil {
		return result, err
	}
	r := Restoration{
		Unit: unit, Config: config, Backup: f, Say: env.Remark,
		Ready: func(ctx context.Context) error { return awaitAgent(ctx, env, places, unit) },
	}
	return r.run(ctx)
}
