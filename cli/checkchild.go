package cli

import (
	"context"
	"os/exec"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"personasync/cli/internal/command"
	"personasync/store"
)

func checkFilesCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:   command.CheckFiles,
		Hidden: true,
		Usage:  "read the database files of a directory, and print their faults",
		Action: env.Action(func(env *command.Env, c *urfave.Context) error {
			return store.AnswerCheck(c.Context, env.Out, c.Args().First())
		}, "a directory"),
	}
}

func proveBackupCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:   command.ProveBackup,
		Hidden: true,
		Usage:  "restore a backup into a scratch folder, check the result, and remove it",
		Action: env.Action(func(env *command.Env, c *urfave.Context) error {
			_ = unix.Setpriority(unix.PRIO_PGRP, 0, afterIngest) // a unit's filter of system calls may refuse it
			return store.AnswerProof(c.Context, env.Out, c.Args().Get(0), c.Args().Get(1))
		}, "a backup", "a folder"),
	}
}

// afterIngest is the nice value of work that must not delay an acknowledgement.
const afterIngest = 10

// Again starts this program again. /proc/self/exe is the same program even after an upgrade has replaced the file.
// Only the program itself may call it; in a test it would be the test binary.
func Again(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "/proc/self/exe", args...)
}
