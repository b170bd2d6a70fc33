package command

import (
	"context"
	"syscall"

	"personasync/agent/backup"
	"personasync/store"
)

// CheckFiles is a hidden command. The agent starts itself with it to read files that may be damaged, because a
// damaged page can end the process that reads it.
const CheckFiles = "check-files"

// ProveBackup is a hidden command. The agent starts itself with it to restore a backup that it wrote, and to check the
// result.
const ProveBackup = "prove-backup"

// Checker reads the files in a child process. It is nil if this program cannot start itself.
func (env *Env) Checker() func(ctx context.Context, dir string) (*store.CheckReport, error) {
	if env.Again == nil || store.IsChecking() {
		return nil
	}
	return func(ctx context.Context, dir string) (*store.CheckReport, error) {
		return store.CheckInChild(ctx, env.Again(ctx, CheckFiles, dir))
	}
}

// Prover proves a backup in a child process, in a process group of its own for its priority. It is nil if this program
// cannot start itself.
func (env *Env) Prover() backup.Prover {
	if env.Again == nil || store.IsChecking() {
		return nil
	}
	return func(ctx context.Context, path, scratch string) (*store.CheckReport, error) {
		child := env.Again(ctx, ProveBackup, path, scratch)
		child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		return store.CheckInChild(ctx, child)
	}
}
