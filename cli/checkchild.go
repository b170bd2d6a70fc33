package cli

import (
	"context"
	"os/exec"
	"syscall"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"personasync/agent/backup"
	"personasync/cli/internal/command"
	"personasync/store"
)

// checkFiles is a hidden command. The agent starts itself with it to read files that may be damaged, because a
// damaged page can end the process that reads it.
const checkFiles = "check-files"

func checkFilesCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:   checkFiles,
		Hidden: true,
		Usage:  "read the database files of a directory, and print their faults",
		Action: func(c *urfave.Context) error {
			if err := command.Arguments(c, "a directory"); err != nil {
				return err
			}
			return store.AnswerCheck(c.Context, env.Out, c.Args().First())
		},
	}
}

// proveBackup is a hidden command. The agent starts itself with it to restore a backup that it wrote, and to check the
// result.
const proveBackup = "prove-backup"

func proveBackupCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:   proveBackup,
		Hidden: true,
		Usage:  "restore a backup into a scratch folder, check the result, and remove it",
		Action: func(c *urfave.Context) error {
			if err := command.Arguments(c, "a backup", "a folder"); err != nil {
				return err
			}
			_ = unix.Setpriority(unix.PRIO_PGRP, 0, afterIngest) // a unit's filter of system calls may refuse it
			return store.AnswerProof(c.Context, env.Out, c.Args().Get(0), c.Args().Get(1))
		},
	}
}

// afterIngest is the nice value of work that must not delay an acknowledgement.
const afterIngest = 10

// prover proves a backup in a child process, in a process group of its own for its priority. It is nil if this program
// cannot start itself.
func prover(env *command.Env) backup.Prover {
	if env.Again == nil || store.IsChecking() {
		return nil
	}
	return func(ctx context.Context, path, scratch string) (*store.CheckReport, error) {
		child := env.Again(ctx, proveBackup, path, scratch)
		child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		return store.CheckInChild(ctx, child)
	}
}

// checker reads the files in a child process. It is nil if this program cannot start itself.
func checker(env *command.Env) func(ctx context.Context, dir string) (*store.CheckReport, error) {
	if env.Again == nil || store.IsChecking() {
		return nil
	}
	return func(ctx context.Context, dir string) (*store.CheckReport, error) {
		return store.CheckInChild(ctx, env.Again(ctx, checkFiles, dir))
	}
}

// Again starts this program again. /proc/self/exe is the same program even after an upgrade has replaced the file.
// Only the program itself may call it; in a test it would be the test binary.
func Again(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "/proc/self/exe", args...)
}
