package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrNoFile means that no agent.toml was found at any of the usual places.
var ErrNoFile = errors.New("no agent.toml found")

// systemFile is where a package installs the configuration.
var systemFile = "/etc/personasync/agent.toml"

// Find returns the configuration file: the --config flag, or else $PERSONASYNC_CONFIG, or else agent.toml in
// the working directory, or else the system's. A file named by flag or variable must exist. Without any file
// the error is ErrNoFile; an agent can still run from the environment alone.
func Find(flag string, getenv func(string) string) (path string, err error) {
	named, by := flag, "--config"
	if named == "" {
		named, by = getenv(fileVariable), "$"+fileVariable
	}
	if named != "" {
		if _, err := os.Stat(named); err != nil {
			return "", fmt.Errorf("%s names %s: %w", by, named, reason(err))
		}
		return named, nil
	}
	for _, path := range []string{"agent.toml", systemFile} {
		_, err := os.Stat(path)
		switch {
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", &fs.PathError{Op: "look for", Path: path, Err: reason(err)}
		}
	}
	return "", fmt.Errorf("%w, neither here nor at %s: write one with `personasync config init`, or name one with --config", ErrNoFile, systemFile)
}

// reason strips the path from an error whose message names it anyway.
func reason(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// maxFile is the largest configuration file in bytes. A larger file is something else.
const maxFile = 4 << 20

// readFile reads at most maxFile bytes. Its errors say what to do, because most commands show them.
func readFile(path string) (doc []byte, mode fs.FileMode, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, &fs.PathError{Op: "read", Path: path, Err: reason(err)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", path, reason(err))
	}
	if info.IsDir() {
		return nil, 0, fmt.Errorf("read %s: it is a folder: name the file in it, usually agent.toml", path)
	}
	doc, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", path, reason(err))
	}
	if len(doc) > maxFile {
		return nil, 0, fmt.Errorf("read %s: larger than %d bytes, which is too large for an agent.toml", path, maxFile)
	}
	return doc, info.Mode(), nil
}

// errDenied means that this user may not read a file. Another user may.
var errDenied = errors.New("this user may not read it: make its group that of the agent, with mode 0640")

// unreadable returns why a file cannot be read, without its path.
func unreadable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return errDenied
	}
	return fmt.Errorf("cannot be read: %w", reason(err))
}
