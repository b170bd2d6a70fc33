package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/agent/internal/place"
	"personasync/agent/internal/waiting"
	"personasync/agent/notify"
	"personasync/store"
)

// Where several agents share a store in PostgreSQL, one of them is its writer, and the others are doors. When the role of an
// agent ends, the process ends all its parts in order and starts them again in the other role, as a restart would. So a
// take-over is nothing but a start: it settles what the last writer left under way, and cron catches up. The sockets of
// ingest and admin stay open meanwhile, and deliveries wait in the queue.

// lifeRetry is the pause before a life that could not begin is tried again, as while PostgreSQL is away or a standby is
// promoted.
const lifeRetry = time.Second

// life is what an agent begins with: the options of the process and, where several agents share the store, what its lives pass
// on.
type life struct {
	RunOptions
	shared  *store.Shared // nil: the store is in files
	room    *waiting.Room // answers until the store is open; nil in files
	outside *outside      // tells people what the writer cannot; nil in files
	kept    bool          // Ingest is of this process, which keeps it while it changes its role
	admin   net.Listener  // the socket of admin.listen, kept likewise; nil: it listens itself
}

// runShared runs an agent whose store several agents share, until ctx is done or it cannot go on. While the store cannot be
// opened a room answers in its place. At a start that lasts only for what waiting may cure.
func runShared(ctx context.Context, c *config.Config, options RunOptions) (err error) {
	o := life{RunOptions: options}
	if err := errors.Join(place.CheckOwner(c.DataDir), store.MakeDir(c.DataDir)); err != nil {
		return err
	}
	kept, err := host.Keep(ctx, "ingest.listen", c.Ingest.Listen, o.Ingest)
	if err != nil {
		return err
	}
	defer kept.Close()
	o.kept = o.Ingest == nil
	admin := &host.Kept{}
	if c.Admin.Listen != "" {
		if admin, err = host.Keep(ctx, "admin.listen", c.Admin.Listen, nil); err != nil {
			return err
		}
	}
	defer admin.Close()
	if announce := o.Ready; announce != nil {
		var once sync.Once
		o.Ready = func(at Addresses) { once.Do(func() { announce(at) }) }
	}
	o.outside = newOutside(c, options)
	telling, endTelling := context.WithCancel(ctx)
	defer o.outside.wait()
	defer endTelling()
	o.outside.begin(telling)
	o.room = &waiting.Room{Config: c, Version: o.Version, Log: o.Log, Ingest: kept, Admin: admin}
	defer func() { o.room.Close() }()
	defer func() { o.shared.Close() }()
	for begun := false; ; {
		o.room.Expect()
		if o.shared == nil {
			o.shared, err = connectStore(ctx, c, options)
		}
		if o.shared != nil {
			if o.Ingest, err = kept.Again(); err != nil {
				return err
			}
			if o.admin, err = admin.Again(); err != nil {
				return err
			}
			c, err = live(ctx, c, o)
		}
		switch ended := errors.Is(err, errRoleEnded); {
		case ctx.Err() != nil && (ended || o.shared == nil):
			return nil
		case ctx.Err() != nil || !begun && !ended && !store.Passes(err):
			return err
		case ended:
			begun = true
			o.Log.Info("the role of this agent has ended, and the next begins", "error", err)
		default:
			o.room.Say(err)
			o.outside.fail(err)
			if next := reloadedMeanwhile(ctx, c, o); next != nil {
				o.shared.Close()
				o.room.Close()
				o.shared, o.room.Config, c = nil, next, next
			}
		}
	}
}

// reloadedMeanwhile is the pause before the store is opened again. It returns the configuration that a reload brought meanwhile, nil
// if none did. Only what is open keeps its place. The store may be another one: its address may be what is wrong.
func reloadedMeanwhile(ctx context.Context, c *config.Config, o life) *config.Config {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(lifeRetry):
		return nil
	case <-o.Reload:
	}
	next, err := o.Load()
	if err == nil {
		err = next.SucceedWaiting(c)
	}
	o.outside.refused.Store(refusedReload(err))
	if err != nil {
		o.Log.Error("the configuration was not reloaded, the old one goes on", "error", err)
		return nil
	}
	o.outside.Reconfigure(outsideConfig(next, o.Version))
	if o.Relog != nil {
		o.Relog(next.Log)
	}
	o.Log.Info("configuration reloaded, while the agent waits for its store")
	return next
}

// connectStore connects to the store that several agents share.
func connectStore(ctx context.Context, c *config.Config, o RunOptions) (*store.Shared, error) {
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("ask for the name of this host: %w", err)
	}
	if c.Admin.Listen != "" {
		name += " (admin.listen = " + c.Admin.Listen + ")"
	}
	shared, err := store.Connect(ctx, sharedConfig(c, name, o.Version, o.Log))
	if err != nil {
		return nil, fmt.Errorf("store.url: %w", err)
	}
	return shared, nil
}

// outside sends the notifications that the writer cannot send: no agent writes, this agent cannot open its store, or its own
// configuration is wrong. It lives as long as the process, so that the one that told of a beginning tells of the end, even
// if it is the writer by then. The heartbeat is the writer's: it proves that changes leave.
type outside struct {
	*notify.Notifier
	running sync.WaitGroup
	look    atomic.Pointer[func(context.Context) (condition.Status, error)]
	refused atomic.Pointer[condition.RefusedReload] // as the last life of the process had it
}

// refusedReload is the last reload, nil if err is: it was not refused.
func refusedReload(err error) *condition.RefusedReload {
	if err == nil {
		return nil
	}
	return &condition.RefusedReload{At: time.Now(), Error: strings.Join(strings.Fields(err.Error()), " "), AtStart: errors.Is(err, config.ErrAtStart)}
}

// ofAgent are the conditions of an agent that it tells of itself in either role, and the writer of no other agent.
var ofAgent = []string{condition.ConfigRefused, condition.OtherWorkspace}

// toldFile is the file in data_dir that keeps what outside told.
const toldFile = "told.json"

func newOutside(c *config.Config, o RunOptions) *outside {
	out := new(outside)
	out.fail(nil)
	out.Notifier = notify.New(outsideConfig(c, o.Version), func(ctx context.Context) (condition.Status, error) { return (*out.look.Load())(ctx) },
		&noticeFile{path: filepath.Join(c.DataDir, toldFile)}, o.Log.With("part", "notify"))
	return out
}

// outsideConfig is that of the notifications without the heartbeat.
func outsideConfig(c *config.Config, version string) notify.Config {
	n := notifyConfig(c, version)
	n.HeartbeatURL = ""
	return n
}

func (out *outside) begin(ctx context.Context) { out.running.Go(func() { _ = out.Run(ctx) }) }
func (out *outside) wait()                     { out.running.Wait() }

// fail has people told that the store cannot be opened; nil: it can, and the writer tells all.
func (out *outside) fail(why error) {
	look := func(context.Context) (condition.Status, error) { return condition.Status{Ready: true}, why }
	out.look.Store(&look)
}

// everyoneTells is how long there may be no writer before every door tells of it. Until then the first one does, which
// may be the one that is broken.
const everyoneTells = 10 * time.Minute

// receive has people told what the agent sees: of itself, and as a door that nobody writes, or that its store gives no
// answer. The writer tells of the latter with all else.
func (out *outside) receive(status func(context.Context) (condition.Status, error), writer bool) {
	last := condition.Status{Unready: condition.Starting}
	look := func(ctx context.Context) (condition.Status, error) {
		s, err := status(ctx)
		if err != nil && writer {
			return last, nil
		}
		speaks := !writer && s.Store != nil && s.Store.NoWriterSince != nil && (s.Store.Speaks || time.Since(*s.Store.NoWriterSince) > everyoneTells)
		s.Conditions = slices.DeleteFunc(slices.Clone(s.Conditions), func(c condition.Condition) bool {
			return !slices.Contains(ofAgent, c.Name) && (c.Name != condition.NoWriter || !speaks)
		})
		last = s
		return s, err
	}
	out.look.Store(&look)
}

// withoutOwn leaves out what outside tells.
func withoutOwn(status func(context.Context) (condition.Status, error)) func(context.Context) (condition.Status, error) {
	return func(ctx context.Context) (condition.Status, error) {
		s, err := status(ctx)
		s.Conditions = slices.DeleteFunc(slices.Clone(s.Conditions), func(c condition.Condition) bool { return slices.Contains(ofAgent, c.Name) })
		return s, err
	}
}

// storeRetry is the pause before a store that another agent is making is opened again.
const storeRetry = 250 * time.Millisecond

// openShared opens the shared store in the role that this agent has now.
func openShared(ctx context.Context, c *config.Config, o life, options store.Options) (*store.Store, error) {
	for {
		s, err := o.shared.Open(ctx, c.DataDir, options)
		if !errors.Is(err, store.ErrBusy) {
			return s, err
		}
		if pause(ctx, storeRetry) != nil {
			return nil, cmp.Or(context.Cause(ctx), err)
		}
	}
}
