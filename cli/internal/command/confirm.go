package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

// Confirm asks at the terminal. Without a terminal, it refuses unless --yes was given. The end of ctx is a no.
func Confirm(ctx context.Context, w *term.Terminal, what string) error {
	if !term.Attended() {
		return exit.Usage("%s: nothing was done, because nobody is there to be asked; --yes does it unasked", what)
	}
	fmt.Fprintf(w.Err, "%s. Go on? [y/N] ", term.PlainLines(what))
	answer, err := bufio.NewReader(term.Until(ctx, os.Stdin)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}
