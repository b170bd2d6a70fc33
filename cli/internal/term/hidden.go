package term

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// ReadHidden reads a line from the terminal on standard input, which shows nothing of it. A signal that would end the program
// meanwhile first makes the terminal show the typed letters again.
func ReadHidden() (string, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	defer close(done)
	defer signal.Stop(stop)
	go func() {
		select {
		case <-done:
		case <-stop:
			_ = term.Restore(fd, before)
			os.Exit(130)
		}
	}()
	text, err := term.ReadPassword(fd)
	return string(text), err
}
