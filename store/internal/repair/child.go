package repair

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/wire"
)

// CheckingVariable is set in the environment of a process that checks files for another one. A process that has it starts
// no such process, so a mistake cannot make them multiply.
const CheckingVariable = "PERSONASYNC_CHECKING_FILES"

// IsChecking reports whether this process was started by CheckInChild.
func IsChecking() bool { return os.Getenv(CheckingVariable) != "" }

// childAnswer is the one JSON object that a checking process prints before it exits with 0. Any other end is a crash.
type childAnswer struct {
	Report *CheckReport `json:"report"`
	Error  string       `json:"error,omitempty"` // why there is no report
	Kind   int          `json:"kind,omitempty"`  // index of childErrors, from 1
}

// childErrors are the errors whose identity crosses from the child to the parent.
var childErrors = []error{wire.ErrNewer, boltfile.ErrInUse, datadir.ErrNoData, datadir.ErrForeign, os.ErrPermission, domain.ErrFull}

// childError is an error of the child, in its words.
type childError struct {
	words string
	kind  error
}

func (e *childError) Error() string { return e.words }
func (e *childError) Unwrap() error { return e.kind }

// ErrReaderDied means that the checking process was killed. Reading the files would do the same to the caller.
var ErrReaderDied = errors.New("reading the files ended the process that did")

// AnswerCheck is the work of a checking process. It checks the files in dir and prints the report.
func AnswerCheck(ctx context.Context, w io.Writer, dir string) error {
	r, err := Check(ctx, dir, nil)
	return Answer(w, r, err)
}

// Answer prints the report of a checking process, or why there is none.
func Answer(w io.Writer, r *CheckReport, err error) error {
	answer := childAnswer{Report: r}
	if err != nil {
		answer.Error = err.Error()
		for i, e := range childErrors {
			if errors.Is(err, e) {
				answer.Kind = i + 1
			}
		}
	}
	return json.NewEncoder(w).Encode(answer)
}

// CheckInChild runs child, a process that ends in AnswerCheck, and reads its report. It returns ErrReaderDied if a signal
// or Go's runtime killed the child.
func CheckInChild(ctx context.Context, child *exec.Cmd) (*CheckReport, error) {
	if IsChecking() {
		return nil, errors.New("this process is to check files itself, and starts no other for it")
	}
	var out, words bytes.Buffer
	child.Stdout, child.Stderr = &out, &words
	child.Env = append(child.Environ(), CheckingVariable+"=1")
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("start a process that checks the files: %w", err)
	}
	err := child.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var answer childAnswer
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &answer)
	}
	if err != nil {
		first, _, _ := strings.Cut(words.String(), "\n")
		return nil, fmt.Errorf("%w: %w: %s", ErrReaderDied, err, datadir.FirstBytes(first, 256))
	}
	switch {
	case answer.Kind > 0 && answer.Kind <= len(childErrors):
		return nil, &childError{answer.Error, childErrors[answer.Kind-1]}
	case answer.Error != "" || answer.Report == nil:
		return nil, errors.New(answer.Error)
	}
	return answer.Report, nil
}
