package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// commandPatience is how long a command may take. Then it and its child processes are killed.
const commandPatience = 30 * time.Second

// runner runs a command with the message on its standard input.
type runner struct{ config Config }

// deliver runs the command once, and returns its output. The command has no terminal, and none of our variables, which
// may hold secrets.
func (r *runner) deliver(ctx context.Context, m *Message) (answer string, err error) {
	stdin, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	argv := r.config.Command
	ctx, cancel := context.WithTimeoutCause(ctx, commandPatience, errHangs)
	defer cancel()
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out beginning
	c.Stdin, c.Stdout, c.Stderr, c.Env = bytes.NewReader(append(stdin, '\n')), &out, &out, environment(os.Environ())
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second // for programs that it started and left with our pipes
	err = c.Run()
	answer = excerpt(out.kept, r.config.secrets())
	if errors.Is(context.Cause(ctx), errHangs) {
		return answer, &failure{why: fmt.Sprintf("it did not end within %v and was killed%s", commandPatience, said(answer)), do: "make it end sooner"}
	}
	// A command that ends well and does not read its input, or leaves a child with its pipes, did its work.
	if err == nil || errors.Is(err, exec.ErrWaitDelay) || errors.Is(err, syscall.EPIPE) && c.ProcessState.Success() {
		return answer, nil
	}
	exit := (*exec.ExitError)(nil)
	switch {
	case errors.As(err, &exit):
		return answer, &failure{why: fmt.Sprintf("it ended with %v%s", exit.ProcessState, said(answer)), do: "run it by hand with a message on stdin"}
	case errors.Is(err, fs.ErrNotExist):
		return answer, &failure{why: "it was not found", do: "correct notify.command, or install it"}
	case errors.Is(err, fs.ErrPermission):
		return answer, &failure{why: "it may not be run by this user", do: "chmod +x it; the packaged unit of systemd needs it in ExecPaths= too (systemctl edit personasync)"}
	case errors.Is(err, syscall.ENOEXEC):
		return answer, &failure{why: "it is not a program", do: "begin the script with #!/bin/sh, or name the interpreter in notify.command"}
	}
	return answer, &failure{why: err.Error(), do: "correct notify.command"}
}

var errHangs = errors.New("the command hangs")

func said(answer string) string {
	if answer == "" {
		return ""
	}
	return ", and said: " + answer
}

// environment leaves our variables out.
func environment(all []string) (kept []string) {
	for _, pair := range all {
		if !strings.HasPrefix(pair, "PERSONASYNC_") && !strings.HasPrefix(pair, "CREDENTIALS_DIRECTORY=") && !strings.HasPrefix(pair, "NOTIFY_SOCKET=") {
			kept = append(kept, pair)
		}
	}
	return kept
}

// beginning keeps the first bytes that are written to it, and discards the rest.
type beginning struct{ kept []byte }

func (t *beginning) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[:min(len(p), maxAnswer-len(t.kept))]...)
	return len(p), nil
}
