package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/agent/inspect"
	"personasync/agent/internal/place"
	"personasync/agent/sending"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

const (
	// lockPatience is how long a question waits for the socket of an agent that already holds the files, or for the files
	// that a stopping agent still holds.
	lockPatience = 3 * time.Second
)

// Open finds what can answer about the agent of c: the agent itself when it runs, else its files. running says which. The
// caller closes done.
func Open(ctx context.Context, c *config.Config, version string) (i api.Inspector, done io.Closer, running bool, err error) {
	socket := c.Socket(os.Getenv)
	for deadline := time.Now().Add(lockPatience); ; {
		client, err := api.Dial(ctx, socket, version)
		if err == nil {
			return client, client, true, nil
		}
		if !errors.Is(err, api.ErrNotRunning) {
			return nil, nil, false, err
		}
		local, err := openLocal(c, version)
		if err == nil {
			return local, io.NopCloser(nil), false, nil
		}
		if !errors.Is(err, store.ErrInUse) {
			return nil, nil, false, place.OrElsewhere(ctx, c, err)
		}
		if time.Now().After(deadline) {
			return nil, nil, false, inUseError(c.DataDir, socket, err)
		}
		if err := pause(ctx, lockPoll); err != nil {
			return nil, nil, false, err
		}
	}
}

// inUseError says why neither socket nor the files in dir can answer.
func inUseError(dir, socket string, err error) error {
	if by, held := store.Holder(dir); held && !by.IsAgent() {
		return fmt.Errorf("%w: %v works on them: ask again when it has ended", err, by)
	}
	if err := noSocket(socket); err != nil {
		return err
	}
	return fmt.Errorf("%w, and nothing answers at %s: is an agent with another admin.socket running?", err, socket)
}

// errNoSocket says that the path of the agent's socket is something else.
var errNoSocket = errors.New("the agent cannot be reached")

// noSocket returns errNoSocket if the path socket is something other than a socket; nil if it does not exist.
func noSocket(socket string) error {
	info, err := os.Lstat(socket)
	if err != nil || info.Mode()&fs.ModeSocket != 0 {
		return nil
	}
	path := domain.ShellWord(socket)
	return fmt.Errorf("%w: its socket %s is %s now: type mv %s %s, and a running agent makes its socket again within a second",
		errNoSocket, socket, host.KindOf(info.Mode()), path, domain.ShellWord(socket+".aside"))
}

// ErrStarting says that an agent holds the data and does not answer yet.
var ErrStarting = errors.New("the agent is starting")

// DialAgent greets the agent of c. It returns ErrStarting while the agent starts, which takes long if it reads all its
// files first, and otherwise the errors of api.Dial.
func DialAgent(ctx context.Context, c *config.Config, version string) (*api.Client, error) {
	client, err := api.Dial(ctx, c.Socket(os.Getenv), version)
	by, held := store.Holder(c.DataDir)
	switch {
	case !errors.Is(err, api.ErrNotRunning):
		return client, err
	case !held:
		return nil, place.OrElsewhere(ctx, c, err)
	case by.IsAgent() && noSocket(c.Socket(os.Getenv)) != nil:
		return nil, noSocket(c.Socket(os.Getenv))
	case by.IsAgent():
		return nil, fmt.Errorf("%w: %v holds the data and does not answer yet; try again in a moment", ErrStarting, by)
	}
	return nil, fmt.Errorf("%w; %v works on its data: start it when that has ended", err, by)
}

// absent says why the agent with data in dir does not answer.
func absent(dir string) string {
	by, held := store.Holder(dir)
	switch {
	case !held:
		return api.ErrNotRunning.Error()
	case by.IsAgent():
		return fmt.Sprintf("%v (%v)", ErrStarting, by)
	}
	return fmt.Sprintf("%v, and %v works on its data", api.ErrNotRunning, by)
}

// openLocal answers from the files in c's data_dir, after it has read them once.
func openLocal(c *config.Config, version string) (*inspect.Local, error) {
	files := fileSource(c, version)
	v, done, err := files.Open()
	if err != nil {
		return nil, err
	}
	counts, err := v.Counts()
	if err := errors.Join(err, done()); err != nil {
		return nil, err
	}
	if counts.Unapplied > 0 {
		files.Where += fmt.Sprintf(", where %d received events wait for it to be applied", counts.Unapplied)
	}
	open := files.Open
	files.Open = func() (*store.View, func() error, error) {
		v, done, err := open()
		if errors.Is(err, store.ErrInUse) {
			err = fmt.Errorf("the agent has started meanwhile, so that its files cannot be read on: ask again (%w)", err)
		}
		return v, done, err
	}
	return inspect.New(files), nil
}

// fileSource is what the files of a stopped agent answer from.
func fileSource(c *config.Config, version string) inspect.Source {
	return inspect.Source{
		Open: opener(c, version),
		Process: func() condition.Process {
			by, held := store.Holder(c.DataDir)
			p := condition.Stopped(held && by.IsAgent())
			if !host.Booted() {
				p.Runner = new(condition.Runner)
			}
			if c.Store.OnPostgres() {
				p.Store = askStore(c, version)
			}
			return p
		},
		Config:   func() *config.Config { return c },
		Endpoint: func(e domain.Endpoint) syncer.Config { return sending.Config(c, e) },
		Plan:     filedPlan(c),
		Version:  version,
		Where:    absent(c.DataDir) + ": this is from " + dataOf(c),
	}
}

// opener is how the data of a stopped agent is opened to be read.
func opener(c *config.Config, version string) func() (*store.View, func() error, error) {
	if c.Store.OnPostgres() {
		return func() (*store.View, func() error, error) { return openDatabase(c, version) }
	}
	return takingTurns(func() (*store.View, func() error, error) { return openFiles(c.DataDir) })
}

// dataOf names the data of a stopped agent.
func dataOf(c *config.Config) string {
	if c.Store.OnPostgres() {
		return "PostgreSQL, where another agent may be at work"
	}
	return "its files in " + c.DataDir
}

const (
	// readTurn is how long the files of a stopped agent are read before they are closed for a readPause. An agent that
	// starts tries their locks every 50 ms (bbolt's flockRetryTimeout). A reader that opened them again at once would keep
	// it out until it gives up, after 30 s.
	readTurn  = 200 * time.Millisecond
	readPause = 75 * time.Millisecond
)

// takingTurns makes open pause after its views were open for a turn.
func takingTurns(open func() (*store.View, func() error, error)) func() (*store.View, func() error, error) {
	var held time.Duration
	return func() (*store.View, func() error, error) {
		if held >= readTurn {
			time.Sleep(readPause)
			held = 0
		}
		began := time.Now()
		v, done, err := open()
		if err != nil {
			return nil, nil, err
		}
		return v, func() error {
			err := done()
			held += time.Since(began)
			return err
		}, nil
	}
}

func openFiles(dir string) (*store.View, func() error, error) {
	v, err := store.OpenReadOnly(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, nil, host.Denied("the agent's data", dir, err)
	case errors.Is(err, store.ErrNoData):
		return nil, nil, place.NoDataError(dir, err)
	case err != nil:
		return nil, nil, fmt.Errorf("open %s: %w", dir, err)
	}
	return v, v.Close, nil
}

// openDatabase opens the store that several agents share to read it.
func openDatabase(c *config.Config, version string) (*store.View, func() error, error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectPatience)
	defer cancel()
	shared, err := store.Connect(ctx, sharedConfig(c, "", version, slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, nil, fmt.Errorf("store.url: %w", err)
	}
	v, err := shared.OpenReadOnly(ctx)
	if err != nil {
		shared.Close()
		return nil, nil, err
	}
	return v, v.Close, nil
}

// askStore asks PostgreSQL how the store of a stopped agent is.
func askStore(c *config.Config, version string) *condition.Store {
	ctx, cancel := context.WithTimeout(context.Background(), connectPatience)
	defer cancel()
	h, err := store.AskDatabase(ctx, sharedConfig(c, "", version, slog.New(slog.DiscardHandler)))
	return condition.SharedStore(nil, &c.Store, &h, err, time.Now())
}

// connectPatience is how long a command waits for PostgreSQL.
const connectPatience = 10 * time.Second

// DeniedConfig adds to err who may read the configuration, if its mode caused err.
func DeniedConfig(err error) error {
	if at := (*fs.PathError)(nil); errors.As(err, &at) && errors.Is(err, fs.ErrPermission) {
		return host.Denied("the configuration", at.Path, err)
	}
	return err
}
