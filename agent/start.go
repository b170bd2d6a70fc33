package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"personasync/agent/api"
	"personasync/agent/backup"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/agent/ingest"
	"personasync/agent/inspect"
	"personasync/agent/internal/place"
	"personasync/agent/internal/servicemanager"
	"personasync/agent/metrics"
	"personasync/agent/notify"
	"personasync/agent/page"
	"personasync/agent/sending"
	"personasync/agent/verify"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// Run runs the agent until ctx is done, or until it cannot go on. Before it returns, every goroutine that it started has
// ended, every request in flight is settled, and the data directory is unlocked.
func Run(ctx context.Context, c *config.Config, o RunOptions) error {
	ballast := make([]byte, ballastBytes)
	defer runtime.KeepAlive(ballast)
	if c.Store.OnPostgres() {
		return runShared(ctx, c, o)
	}
	_, err := live(ctx, c, life{RunOptions: o})
	return err
}

// live runs the agent until ctx is done, it cannot go on, or its role ends. It returns the configuration that was in force
// then.
func live(ctx context.Context, c *config.Config, o life) (*config.Config, error) {
	p, err := start(ctx, c, o)
	if err != nil {
		inherited{o.Ingest, o.admin}.close()
	}
	stopped := context.Cause(ctx)
	if err != nil && stopped != nil && (o.shared != nil || errors.Is(err, stopped)) { // a database may fail first, and ctx end then
		o.Log.Info("stopped before the start was over", "error", err)
		return c, nil
	}
	if err != nil {
		return c, err
	}
	err = p.run(ctx)
	return p.config.Load(), err
}

// ballastBytes are allocated and never touched. They take no memory, but the garbage collector counts them as live and
// lets as many bytes of garbage gather before it runs. The live data of an agent is a few megabytes, for which the
// collector ran 50 times a second under load and took a sixth of the processor time of an acknowledgement, measured. The
// price is at most as much more memory, and only under load.
const ballastBytes = 24 << 20

// start opens everything in order, or nothing.
func start(ctx context.Context, c *config.Config, o life) (_ *process, err error) {
	if err := place.CheckOwner(c.DataDir); err != nil {
		return nil, err
	}
	if o.Ingest != nil && !o.kept {
		if err := takeOver(c, o.RunOptions); err != nil {
			return nil, err
		}
	}
	if o.Missed != "" {
		o.Log.Error("no socket was inherited: events are taken at ingest.listen alone, and the agent is unready", "ingest.listen", c.Ingest.Listen, "why", o.Missed)
	}
	if err := place.OrElsewhere(ctx, c, nil); err != nil {
		return nil, err // store.Open would make an empty folder where the moved one is to come back
	}
	p := &process{o: o, opened: make(chan struct{}), notifier: &servicemanager.Notifier{Log: o.Log}, listeners: &listeners{log: o.Log}}
	data, err := openStore(ctx, c, o, p.notifier)
	if err != nil && o.shared != nil {
		return nil, fmt.Errorf("open the data in PostgreSQL: %w", err)
	}
	if err != nil {
		return nil, place.OpenError(c.DataDir, err)
	}
	if why := place.Passing(c.DataDir); why != "" && o.shared == nil {
		o.Log.Warn("data_dir does not last: mount a disk or a volume there, or set data_dir to a folder on one", "why", why)
	}
	if o.room != nil {
		o.room.Close()
		o.outside.fail(nil)
	}
	defer func() {
		if err != nil {
			p.listeners.close()
			err = errors.Join(err, data.Close())
		}
	}()
	before, elsewhere := data.SendTo(ctx, c.Workspace())
	if elsewhere != nil && !errors.Is(elsewhere, domain.ErrOtherWorkspace) {
		return nil, elsewhere
	}
	if elsewhere != nil {
		o.Log.Error("nothing is sent, and events are received and kept: `personasync status` says what to do", "error", elsewhere)
	}
	if before != "" {
		o.Log.Warn("changes go to another workspace of MoEngage from now on, which knows nothing of what the one before was told: `personasync audience reconcile --all` sends it everything",
			"workspace", c.Workspace().ID, "before", before)
	}
	if p.parts, err = newParts(c, o, data, elsewhere); err != nil {
		return nil, err
	}
	return p, p.connect(ctx, c)
}

// takeOver makes c say where the inherited socket listens, and holds it against that: a socket unit must not open to
// the network what the configuration may not.
func takeOver(c *config.Config, o RunOptions) error {
	address := host.ListenAddress(o.Ingest)
	if c.Ingest.Listen != address {
		o.Log.Warn("ingest.listen is not used: systemd listens, and its socket unit says where", "ingest.listen", c.Ingest.Listen, "socket", address)
	}
	return c.ListenAt(address)
}

// openStore opens the agent's store, and waits for a command that works on it.
func openStore(ctx context.Context, c *config.Config, o life, manager *servicemanager.Notifier) (s *store.Store, err error) {
	options := storeOptions(c, o.Log)
	options.CheckInChild, options.Start = o.CheckInChild, ctx
	if o.shared != nil {
		return openShared(ctx, c, o, options)
	}
	next := time.Duration(0)
	err = waitForCommand(ctx, c.DataDir, func(by store.Holding, since time.Duration) {
		if since < next {
			return
		}
		next = since + waitNotedEvery
		o.Log.Warn("the data is in use: the start waits until that command has ended", "holder", by.String(), "for", since.Round(time.Second).String())
		manager.Tell(fmt.Sprintf("STATUS=waiting for %v, which works on the data", by), fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (2*waitNotedEvery).Microseconds()))
	}, func() (err error) {
		s, err = store.Open(c.DataDir, options)
		return err
	})
	return s, err
}

// newParts makes the parts and connects them. Nothing runs yet.
func newParts(c *config.Config, o life, data *store.Store, elsewhere error) (*parts, error) {
	p := &parts{log: o.Log, started: time.Now(), store: data, metrics: metrics.New(), elsewhere: elsewhere, linesDropped: o.LinesDropped}
	p.config.Store(c)
	if o.outside != nil {
		p.refused.Store(o.outside.refused.Load())
	}
	if p.linesDropped == nil {
		p.linesDropped = func() uint64 { return 0 }
	}
	p.readiness = &readiness{refusal: data.Refusal, away: data.Away, missed: o.Missed, now: time.Now, phase: condition.Starting}
	p.ingest = ingest.New(ingestConfig(c), data, o.Log.With("part", "ingest"))
	p.ingest.Clock, p.ingest.Appended, p.ingest.Observe = ingest.NewClock(data.Written()), p.readiness.note, p.metrics.Ingest
	p.ingest.SetUnready(condition.Starting)
	var err error
	settled := func(l domain.EventLedger) {
		p.ingest.Applied(l, time.Now())
		p.readiness.unready() // notes since when
	}
	if p.recorder, err = page.NewRecorder(data, o.Log.With("part", "page"), p.started, settled); err != nil {
		return nil, err
	}
	p.senders = sending.New(c, p.senderConfig, data, o.Log.With("part", "sync"))
	if err := (pauser{store: data, senders: p.senders}).begin(); err != nil {
		return nil, err
	}
	p.verifier = verify.New(data, sending.Config(c, domain.EndpointTransition), o.Log.With("part", "verify"))
	p.keeper = backup.New(data, o.ProveInChild, o.Log.With("part", "backup"))
	list, err := p.jobs(c)
	if err != nil {
		return nil, err
	}
	p.scheduler = scheduler.New(o.Log.With("part", "scheduler"), ledger{data}, list...)
	return p, nil
}

// connect gives the parts what looks at them from outside, and opens the listeners.
func (p *process) connect(ctx context.Context, c *config.Config) error {
	facts := &facts{parts: p.parts, runner: runner(), noSocket: p.o.Missed, lost: p.listeners.lostSockets}
	runs, err := runsOf(&p.store.View)
	if err != nil {
		return err
	}
	facts.missed.begin(runs)
	p.notifier.Status, p.notifier.Liveness = facts.statusLine, p.store.Liveness
	questions := p.inspector(facts)
	told := questions.Status
	if p.o.outside != nil {
		p.o.outside.receive(questions.Status, p.store.Role().Writer)
		told = withoutOwn(told)
	}
	p.notify = notify.New(notifyConfig(c, p.o.Version), told, p.store, p.log.With("part", "notify"))
	p.metrics.Read(metrics.Source{
		Version: p.o.Version, Config: p.config.Load, Store: p.store, Inspect: questions, Ingest: p.ingest, Plan: p.scheduler.Plan,
		Health: p.senders.Health, Deleting: p.senders.Deleting, Unready: p.readiness.unready, Refused: p.refused.Load, LinesDropped: p.linesDropped,
		ParkedByReason: p.recorder.ParkedByReason, Receivers: p.notify.Receivers,
	})
	shown := page.New(page.Source{
		Inspect: questions, Store: p.store, Recorder: p.recorder, Plan: p.scheduler.Plan,
		ShowUsers: func() bool { return p.config.Load().Admin.ShowUsers },
		PerMinute: func() int { m := p.config.Load().MoEngage; return min(m.UsersPerMinute, m.EventsPerMinute) },
		Command:   commandTo(p.o.ConfigFile), Explain: ExplainCode,
		Setup: func() page.Setup { return setup(p.config.Load()) },
	})
	p.listeners.unreachable = p.readiness.miss
	if err := p.listeners.open(ctx, c, inherited{p.o.Ingest, p.o.admin}, p.ingest, p.adminSide(questions, shown)); err != nil {
		return err
	}
	if p.listeners.admin != nil {
		p.listeners.admin.HTTP.RegisterOnShutdown(shown.Close)
	}
	p.housekeeper = &housekeeper{log: p.log, store: p.store, ingest: p.ingest, rules: make(chan struct{}, 1), judge: questions.Status,
		parked: func() time.Duration { return p.config.Load().Retention.Parked.Duration }}
	p.reloader = &reloader{parts: p.parts, outside: p.o.outside, certs: p.listeners.certs, notifier: p.notifier, load: p.o.Load, relog: p.o.Relog, recorded: p.housekeeper.noteRules, version: p.o.Version, inherited: p.o.Ingest != nil && !p.o.kept}
	return nil
}

// inspector answers questions from the live store.
func (p *process) inspector(f *facts) *inspect.Local {
	return inspect.New(inspect.Source{
		Open:     func() (*store.View, func() error, error) { return &p.store.View, func() error { return nil }, nil },
		Process:  f.process,
		Config:   p.config.Load,
		Endpoint: func(e domain.Endpoint) syncer.Config { return sending.Config(p.config.Load(), e) },
		Plan:     p.livePlan,
		Received: p.store.LastRecord,
		Version:  p.o.Version,
		Where:    "this is the agent",
	})
}

// adminSide answers people, scripts and operators.
func (p *process) adminSide(questions *inspect.Local, shown *page.Page) *api.Server {
	return &api.Server{
		Inspect: questions,
		Running: &operator{p.config.Load, p.store, questions, p.senders, p.verifier, p.o.Version, p.elsewhere},
		Orders:  orders{p.store, func() domain.Rules { return p.config.Load().Rules() }},
		Pauser:  pauser{p.store, p.senders, func() { p.housekeeper.noteRules() }},
		Upkeep:  p.store,

		Unready: p.readiness.unready,
		Refused: p.refused.Load,

		Version:   p.o.Version,
		ShowUsers: func() bool { return p.config.Load().Admin.ShowUsers },
		Log:       p.log.With("part", "admin"),
		Metrics:   p.metrics.Handler(),
		Page:      shown.Routes,
	}
}
