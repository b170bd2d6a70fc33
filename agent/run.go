package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"personasync/agent/internal/servicemanager"
	"personasync/store"
	syncer "personasync/sync"
)

const (
	// drainPatience is how long a stop waits for deliveries that are being received. A delivery takes
	// one fsync; this is for a slow sender.
	drainPatience = 10 * time.Second

	// adminPatience is how long a stop waits for answers at each of the two admin listeners.
	adminPatience = time.Second

	// closePatience is what the store may take to close, and the log to be read to its end.
	closePatience = 5 * time.Second
)

// errRoleEnded ends one life of the process. It is syncer.ErrTakenOver, so that no request goes on beside those of the next
// writer.
var errRoleEnded error = roleEnded{}

type roleEnded struct{}

func (roleEnded) Error() string { return "the role of this agent ended" }
func (roleEnded) Unwrap() error { return syncer.ErrTakenOver }

// process is a running agent.
type process struct {
	*parts
	o           life
	listeners   *listeners
	reloader    *reloader
	housekeeper *housekeeper
	notifier    *servicemanager.Notifier

	open   sync.Once
	opened chan struct{} // closed by open: there is an answer to give at ingest
}

// run works until ctx is done or a part fails, then stops in order.
func (p *process) run(ctx context.Context) error {
	var sides errgroup.Group // they answer until the end
	sides.Go(p.listeners.socket.Run)
	if p.listeners.admin != nil {
		sides.Go(p.listeners.admin.Run)
	}
	notified, endNotifying := context.WithCancel(context.WithoutCancel(ctx))
	defer endNotifying()
	sides.Go(func() error { return p.notifier.Run(notified) })

	ctx, end := context.WithCancel(ctx)
	defer end()
	lanes, work := errgroup.WithContext(ctx)
	var syncing sync.WaitGroup
	sending, keeping := p.writing()
	for _, part := range sending {
		syncing.Add(1)
		lanes.Go(func() error {
			defer syncing.Done()
			return part(work)
		})
	}
	for _, part := range append(keeping, p.serveIngest, p.listeners.keepSockets, p.endWhenBroken, p.endWithRole) {
		lanes.Go(func() error { return part(work) })
	}
	lanes.Go(func() error {
		err := p.accept(work)
		end()
		if !errors.Is(context.Cause(work), errRoleEnded) {
			p.log.Info("stopping")
			p.notifier.Tell(daemon.SdNotifyStopping, "STATUS=stopping")
		}
		if p.o.Ingest != nil && p.o.shared == nil { // another agent waits for the term, and takes deliveries meanwhile
			p.listeners.ingest.Drain() // later connections wait for the next process
		}
		p.unready("stopping")
		syncing.Wait() // meanwhile ingest answers 503: a refused connection would look like an outage
		return errors.Join(err, p.listeners.ingest.Stop(drainPatience))
	})
	err := lanes.Wait()

	err = errors.Join(ignoreEnd(err), p.listeners.socket.Stop(adminPatience), p.listeners.admin.Stop(adminPatience))
	endNotifying()
	err = errors.Join(err, sides.Wait(), p.store.Close())
	p.verifier.Close()
	p.log.Info("stopped")
	return err
}

// writing returns the parts of an agent that write to the store, the senders among them, and those that keep it in order. A door
// has neither: the writer does their work.
func (p *process) writing() (sending, keeping []func(context.Context) error) {
	if !p.store.Role().Writer {
		return nil, []func(context.Context) error{p.knowComputations}
	}
	return []func(context.Context) error{p.senders.Run, p.scheduler.Run}, []func(context.Context) error{p.housekeeper.run, p.recorder.Run, p.notify.Run}
}

// ignoreEnd drops the error that only says that ctx is done.
func ignoreEnd(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// serveIngest serves deliveries once the start is over. Until then senders wait in the kernel's queue: a start takes
// milliseconds, and a 503 would send them away for minutes.
func (p *process) serveIngest(ctx context.Context) error {
	select {
	case <-p.opened:
		return p.listeners.ingest.Run()
	case <-ctx.Done():
		return nil
	}
}

// endWhenBroken ends the process when its files turn out to be corrupt. The next start salvages them, which cannot be
// done while they are in use.
func (p *process) endWhenBroken(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-p.store.Broken():
		return errors.New("the data is damaged: restart the agent, which salvages it")
	}
}

// accept takes events until ctx is done, and reloads at each signal. No event is taken before the rules that it is
// treated by are on disk.
func (p *process) accept(ctx context.Context) error {
	if err := p.recordRules(ctx); err != nil {
		return err
	}
	p.housekeeper.noteRules()
	p.ready()
	return p.reloader.run(ctx, p.o.Reload)
}

// rulesRetry is how long a start waits between two tries to write to a full disk.
const rulesRetry = time.Second

// recordRules records the rules in the inbox. A full disk keeps the agent from accepting events and not from starting:
// it goes on as soon as there is room.
func (p *process) recordRules(ctx context.Context) error {
	record := func() error { return p.store.SetRules(ctx, p.config.Load().Rules()) }
	err := record()
	if errors.Is(err, store.ErrFull) {
		p.log.Error("no room to record the rules: no event is accepted until there is; it is retried every second", "error", err)
		p.unready(err.Error())
		p.answer() // with 503 and the reason
	}
	for errors.Is(err, store.ErrFull) && pause(ctx, rulesRetry) == nil {
		err = record()
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("record the rules: %w", err)
	}
	return ctx.Err()
}

// unready has ingest answer 503 and says why; "" has it take events.
func (p *process) unready(why string) {
	p.ingest.SetUnready(why)
	p.readiness.enter(why)
}

// answer ends the start: from here on ingest answers, if only with 503.
func (p *process) answer() {
	p.open.Do(func() { close(p.opened) })
	p.notifier.Tell(daemon.SdNotifyReady, p.notifier.Status())
}

// ready has ingest take events.
func (p *process) ready() {
	p.unready("")
	at := p.listeners.addresses()
	attrs := []any{"version", p.o.Version, "data_dir", p.config.Load().DataDir, "ingest", at.Ingest.String(), "socket", at.Socket}
	if at.Admin != nil {
		attrs = append(attrs, "admin", at.Admin.String())
	}
	p.log.Info("ready", attrs...)
	p.answer()
	if p.o.Ready != nil {
		p.o.Ready(at)
	}
}

// endWithRole ends the life of the process with its role.
func (p *process) endWithRole(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-p.store.RoleEnded():
		p.unready("the agent changes its role")
		if why := p.store.RoleEndedBy(); why != nil {
			return fmt.Errorf("%w: %w", errRoleEnded, why)
		}
		return errRoleEnded
	}
}

// knowEvery is the pause between two looks at the computations.
const knowEvery = time.Minute

// knowComputations has the ingest of a door know the computations, as the housekeeper of a writer does.
func (p *process) knowComputations(ctx context.Context) error {
	for {
		if seen, err := p.store.Computations(); err == nil {
			p.ingest.Know(seen)
		}
		if pause(ctx, knowEvery) != nil {
			return nil
		}
	}
}
