package cases

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

// Result is how one case went: a line of `config test --json`.
type Result struct {
	Case  string `json:"case"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"` // why it could not be tried
	Diff  string `json:"diff,omitempty"`  // from the expected outcome to the one that came
}

const wantSuffix = ".want.json"

// List lists the deliveries in a folder, by name. Its errors have exit codes.
func List(dir string) (names []string, err error) {
	files, err := os.ReadDir(dir)
	if info, statErr := os.Stat(dir); statErr == nil && !info.IsDir() {
		return nil, exit.Usage("%s is a file: give the folder that it is in, or show this one with `personasync preview %s --as-if never`", dir, term.Argument(dir))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exit.With(exit.NotFound, err)
	}
	if err != nil {
		return nil, err
	}
	wants := map[string]bool{}
	for _, f := range files {
		name := f.Name()
		switch {
		case f.IsDir():
		case strings.HasSuffix(name, wantSuffix):
			wants[strings.TrimSuffix(name, wantSuffix)] = true
		case isDelivery(name):
			names = append(names, name)
		}
	}
	for _, name := range names {
		delete(wants, caseName(name))
	}
	switch {
	case len(wants) > 0:
		alone := term.SortedKeys(wants)[0]
		return nil, exit.Usage("%s has no delivery beside it: put what Segment posts into %s.json, or remove it", filepath.Join(dir, alone+wantSuffix), alone)
	case len(names) == 0:
		return nil, exit.Nothing("%s has no cases: put a delivery into NAME.json, or a captured request into NAME.http, and `personasync config test %s --update` writes what comes of it", dir, term.Argument(dir))
	}
	for i, name := range names[1:] {
		if caseName(names[i]) == caseName(name) {
			return nil, exit.Usage("%s and %s are two deliveries of one name, and share %s: rename one", names[i], name, caseName(name)+wantSuffix)
		}
	}
	return names, nil
}

func isDelivery(name string) bool {
	return slices.Contains([]string{".json", ".http"}, filepath.Ext(name))
}

func caseName(file string) string { return strings.TrimSuffix(file, filepath.Ext(file)) }

// Try tries one delivery of a folder, and compares the result with the expectation, or writes it.
func Try(ctx context.Context, conf *config.Config, dir, name string, update bool) Result {
	r := try(ctx, conf, filepath.Join(dir, name), update)
	r.Case = name
	return r
}

func try(ctx context.Context, conf *config.Config, path string, update bool) (r Result) {
	at := caseName(path) + wantSuffix
	want, err := readExpectation(at)
	if errors.Is(err, fs.ErrNotExist) && !update {
		err = fmt.Errorf("%s does not exist: --update writes it", at)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Result{Error: err.Error()}
	}
	got, err := tryCase(ctx, conf, path, want)
	if err != nil {
		return Result{Error: fmt.Sprintf("%s: %v", path, err)}
	}
	if update {
		if err := writeExpectation(at, got); err != nil {
			return Result{Error: err.Error()}
		}
		return Result{OK: true}
	}
	wantText, err := canonical(want)
	if err != nil {
		return Result{Error: fmt.Sprintf("%s: %v", at, err)}
	}
	gotText, err := canonical(got)
	if err != nil {
		return Result{Error: err.Error()}
	}
	r.Diff = lineDiff(wantText, gotText)
	r.OK = r.Diff == ""
	return r
}

// ReadDelivery reads the file of a delivery; - is standard input. Its errors have exit codes.
func ReadDelivery(ctx context.Context, path string) ([]byte, error) {
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); errors.Is(err, fs.ErrNotExist) {
			return nil, exit.With(exit.NotFound, err)
		} else if err != nil {
			return nil, err
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.IsDir() {
			return nil, exit.Usage("%s is a folder: give one file, or try a folder of cases with `personasync config test %s`", path, term.Argument(path))
		}
	}
	body, err := io.ReadAll(io.LimitReader(term.Until(ctx, file), api.MaxPreviewBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > api.MaxPreviewBytes:
		return nil, exit.Usage("%s has more than %d MiB: a delivery has at most ingest.max_body_bytes", path, api.MaxPreviewBytes>>20)
	case len(bytes.TrimSpace(body)) == 0:
		return nil, exit.Usage("%s is empty: give what Segment posts, a JSON object or an array of them", path)
	}
	return body, nil
}
