package cli

import (
	"context"
	"os/exec"

	urfave "github.com/urfave/cli/v2"

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
