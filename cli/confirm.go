package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"personasync/cli/internal/exit"
)

// confirm asks the person at the terminal. Where nobody sits, --yes must have said so.
func confirm(w *terminal, what string) error {
	if !attended() {
		return exit.Usage("%s: nothing was done, because nobody is there to be asked; --yes does it unasked", what)
	}
	fmt.Fprintf(w.err, "%s. Go on? [y/N] ", what)
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// attended reports whether somebody sits at the terminal, to be asked.
func attended() bool { return term.IsTerminal(int(os.Stdin.Fd())) }
