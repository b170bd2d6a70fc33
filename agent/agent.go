// Package agent is the process and its doors: it takes Segment's deliveries in, lets the store apply
// them, the scheduler say when and the sender tell MoEngage, and shows people what became of it all.
//
// [Run] is the agent from start to stop. [ingest.Handler] is where Segment posts to, [Admin] where people look
// in; [Inspector] is what they can ask, of the running agent or of a stopped one's files: [Open]
// finds out which. This is the one package that knows all the others; adapters between them are here.
//
// Start: lock the files, then the socket, then the listeners, then ready. Stop: take nothing new,
// finish what is in flight, close the windows, close the store last.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/agent/ingest"
	"personasync/agent/inspect"
	"personasync/agent/page"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"

	syncer "personasync/sync"
)

// RunOptions is what an agent needs besides its configuration. Log is required.
type RunOptions struct {
	Log     *slog.Logger
	Version string

	// Ingest is where events come in if somebody listens for the agent already, see host.Inherited; nil: it
	// listens at ingest.listen. Run closes it.
	Ingest net.Listener

	// Missed says why Ingest is nil although it should not be: the agent is unready and says so.
	Missed string

	// Reload asks for the configuration to be read again by Load; nil: never.
	Reload <-chan os.Signal
	Load   func() (*config.Config, error)

	// Relog makes Log follow [log] of a new configuration; may be nil.
	Relog func(config.Log)

	// LinesDropped is how many lines Log has lost because nobody read them; nil: it does not lose any.
	LinesDropped func() uint64

	// CheckInChild is store.Options's; nil: files that may be damaged are checked in this process.
	CheckInChild func(ctx context.Context, dir string) (*store.CheckReport, error)

	// Ready is called once, when events are being accepted; may be nil.
	Ready func(Addresses)
}

// Addresses is where a running agent is reached.
type Addresses struct {
	Ingest net.Addr
	Admin  net.Addr // nil when admin.listen is ""
	Socket string
}

const (
	// drainPatience is how long a stop waits for deliveries that are being received. A delivery takes
	// one fsync; this is for a slow sender.
	drainPatience = 10 * time.Second

	// windowPatience is how long a stop waits for answers of the admin side, each of the two.
	windowPatience = time.Second

	// closePatience is what the store may take to close, and the log to be read to its end.
	closePatience = 5 * time.Second

	housekeepingEvery = time.Minute
)

// errStopping ends the orders that are being carried out at a stop.
var errStopping = fmt.Errorf("the agent is stopping: %w", store.ErrClosed)

// process is a running agent.
type process struct {
	log       *slog.Logger
	o         RunOptions
	config    atomic.Pointer[config.Config] // the one in force
	started   time.Time
	store     *store.Store
	readiness *readiness
	door      *ingest.Handler
	senders   *senders
	verifier  *verifier
	scheduler *scheduler.Scheduler
	certs     *host.Certificates                      // nil without TLS
	lost      atomic.Pointer[[]condition.LostSocket]  // sockets that nobody can connect to
	refused   atomic.Pointer[condition.RefusedReload] // the last reload was; nil: it was not
	missed    missedRuns
	dropped   grown // lines of the log
	recorder  *page.Recorder
	metrics   *metrics
	page      *page.Page
	inspect   *inspect.Local

	opening sync.Once
	open    chan struct{}               // closed once there is an answer to give at the door
	pulse   func(context.Context) error // of the store: nil while commits come to an end

	ingest, admin, socket *host.Server // admin nil when it is off
	sockets               []*host.SocketListener

	doubted string // why the clock may be wrong, as it was last said; belongs to housekeeping
}

// Run runs the agent until ctx is done, or until it cannot go on. Before it returns, every goroutine
// it started has ended, what was in flight is settled, and the data directory is free again.
func Run(ctx context.Context, c *config.Config, o RunOptions) error {
	ballast := make([]byte, ballastBytes)
	defer runtime.KeepAlive(ballast)
	p, err := start(ctx, c, o)
	if err != nil && o.Ingest != nil {
		_ = o.Ingest.Close()
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) {
		o.Log.Info("stopped before the start was over", "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	return p.run(ctx)
}

// ballastBytes are allocated and never touched: they take no memory, but the collector counts them,
// and lets as many bytes of garbage gather before it runs. What lives in an agent is a few megabytes,
// so that it would run 50 times a second under load: a sixth of the processor time of an
// acknowledgement, measured. The price is at most so much more memory, and only under load.
const ballastBytes = 24 << 20

// start opens everything in order, or nothing.
func start(ctx context.Context, c *config.Config, o RunOptions) (_ *process, err error) {
	if err := checkOwner(c.DataDir); err != nil {
		return nil, err
	}
	p := &process{log: o.Log, o: o, started: time.Now()}
	p.config.Store(c)
	if o.Ingest != nil {
		if err := p.takeOver(c); err != nil {
			return nil, err
		}
	}
	if o.Missed != "" {
		p.log.Error("no socket was inherited: events are taken at ingest.listen alone, and the agent is unready", "ingest.listen", c.Ingest.Listen, "why", o.Missed)
	}
	options := storeOptions(c, o.Log)
	options.CheckInChild = o.CheckInChild
	options.Start = ctx
	if err := orElsewhere(ctx, c, nil); err != nil {
		return nil, err // else an empty folder is made where the other's is to come back
	}
	if p.store, err = p.openStore(ctx, c.DataDir, options); err != nil {
		return nil, openError(c.DataDir, err)
	}
	p.pulse = p.store.Liveness
	defer func() {
		if err != nil {
			err = errors.Join(err, p.abandon())
		}
	}()
	if err := p.assemble(c); err != nil {
		return nil, err
	}
	return p, p.listen(ctx, c)
}

// assemble makes the parts and connects them; nothing runs yet.
func (p *process) assemble(c *config.Config) error {
	p.open = make(chan struct{})
	p.readiness = &readiness{refusal: p.store.Refusal, missed: p.o.Missed, now: time.Now, phase: "starting"}
	p.door = ingest.New(ingestConfig(c), p.store, p.log.With("part", "ingest"))
	p.door.Clock, p.door.Appended = ingest.NewClock(p.store.Written()), p.readiness.note
	p.door.SetUnready("starting")
	var err error
	if p.recorder, err = page.NewRecorder(p.store, p.log.With("part", "page"), p.started, func(l domain.EventLedger) { p.door.Applied(l, time.Now()) }); err != nil {
		return err
	}
	p.metrics = newMetrics(p)
	p.door.Observe = p.metrics.ingest
	p.senders = newSenders(c, p.senderConfig, p.store, p.log.With("part", "sync"))
	p.verifier = &verifier{store: p.store, reader: syncer.NewReader(senderConfig(c, domain.EndpointTransition)), log: p.log.With("part", "verify")}
	p.inspect = inspect.New(p.source())
	list, err := p.jobs(c)
	if err != nil {
		return err
	}
	runs, err := runsOf(&p.store.View)
	if err != nil {
		return err
	}
	p.missed.begin(runs)
	p.scheduler = scheduler.New(p.log.With("part", "scheduler"), ledger{p.store}, list...)
	return nil
}

// senderConfig is the sender's part of c, with what it tells of its requests counted.
func (p *process) senderConfig(c *config.Config, road domain.Endpoint) syncer.Config {
	s := senderConfig(c, road)
	s.Observe = func(r syncer.Report) {
		p.metrics.post(r)
		p.recorder.Answered(r)
	}
	return s
}

// listen opens the socket, then the listeners: whoever finds the agent locked finds it at the socket.
func (p *process) listen(ctx context.Context, c *config.Config) error {
	p.page = page.New(page.Source{
		Inspect: p.inspect, Store: p.store, Recorder: p.recorder, Plan: p.scheduler.Plan,
		ShowUsers: func() bool { return p.config.Load().Admin.ShowUsers },
		PerMinute: func() int { m := p.config.Load().MoEngage; return min(m.UsersPerMinute, m.EventsPerMinute) },
	})
	side := p.adminSide()
	socket, err := host.ListenSocket(c.Socket(os.Getenv))
	if err != nil {
		return err
	}
	atDoor, atWindow := host.ConnectionLimits()
	p.keep(socket, false)
	p.socket = host.NewServer(p.log, "socket", socket, atWindow, side.Socket())
	p.socket.HTTP.ConnContext = api.WithPeer
	orders, end := context.WithCancelCause(context.Background())
	p.socket.HTTP.BaseContext = func(net.Listener) context.Context { return orders }
	p.socket.HTTP.RegisterOnShutdown(func() { end(errStopping) })
	if c.Admin.Listen != "" {
		l, err := host.Listen(ctx, "admin.listen", c.Admin.Listen)
		if err != nil {
			return err
		}
		p.keep(l, false)
		p.admin = host.NewServer(p.log, "admin", l, atWindow, side.Listener(c.Admin.Listen))
		p.admin.HTTP.RegisterOnShutdown(p.page.Close)
	}
	l := p.o.Ingest
	if l == nil {
		if l, err = host.Listen(ctx, "ingest.listen", c.Ingest.Listen); err != nil {
			return err
		}
		p.keep(l, true)
	}
	p.ingest = host.NewServer(p.log, "ingest", l, atDoor, p.door)
	if c.Ingest.TLSCert != "" {
		if p.certs, err = host.NewCertificates(&c.Ingest); err != nil {
			return err
		}
		p.ingest.HTTP.TLSConfig = p.certs.Config()
	}
	return nil
}

// takeOver makes c say where the inherited socket listens, and holds it against that: a socket unit
// must not open to the network what the configuration may not.
func (p *process) takeOver(c *config.Config) error {
	address := host.ListenAddress(p.o.Ingest)
	if c.Ingest.Listen != address {
		p.log.Warn("ingest.listen is not used: systemd listens, and its socket unit says where", "ingest.listen", c.Ingest.Listen, "socket", address)
	}
	return c.ListenAt(address)
}

// keep has keepSockets look after l, if it is a unix socket.
func (p *process) keep(l net.Listener, ingest bool) {
	if socket, ok := l.(*host.SocketListener); ok {
		socket.Ingest = ingest
		p.sockets = append(p.sockets, socket)
	}
}

// adminSide answers people, scripts and operators.
func (p *process) adminSide() *api.Server {
	return &api.Server{
		Inspect: p.inspect,
		Running: &operator{p.config.Load, p.store, p.inspect, p.senders, p.verifier},
		Orders:  orders{p.store, func() domain.Rules { return p.config.Load().Rules() }},
		Upkeep:  p.store,

		Unready: p.readiness.unready,
		Refused: p.refused.Load,

		Version:   p.o.Version,
		ShowUsers: func() bool { return p.config.Load().Admin.ShowUsers },
		Log:       p.log.With("part", "admin"),
		Metrics:   p.metrics.handler(),
		Page:      p.page.Routes,
	}
}

// source is what the running agent answers questions from.
func (p *process) source() inspect.Source {
	return inspect.Source{
		Open:     func() (*store.View, func() error, error) { return &p.store.View, func() error { return nil }, nil },
		Process:  p.facts,
		Config:   p.config.Load,
		Endpoint: func(e domain.Endpoint) syncer.Config { return senderConfig(p.config.Load(), e) },
		Plan:     p.livePlan,
		Received: p.store.LastRecord,
		Version:  p.o.Version,
		Where:    "this is the agent",
	}
}

// facts is what the process knows beyond its store.
func (p *process) facts() condition.Process {
	now, c, health, plan := time.Now(), p.config.Load(), p.senders.Health(), p.scheduler.Plan()
	facts := condition.Process{
		Unready: p.readiness.unready(), Started: p.started,
		NextFlush: nextFlush(plan),
		MoEngage: condition.Reachability{
			State: health.State, LastError: health.LastError, Since: condition.Timestamp(health.Since.Truncate(time.Second)),
			LastErrorAt: condition.Timestamp(health.LastErrorAt.Truncate(time.Second)), Stopped: health.State == "failing" && health.Stopped,
		},
		Intake:  p.door.Lately(now),
		DataDir: c.DataDir, Schedules: schedules(c, p.senders),
		Refused:    p.refused.Load(),
		ClockDoubt: p.door.Clock.Doubt(),
		Missed:     p.missed.lately(plan, now), UsualSilence: p.recorder.UsualSilence(),
	}
	if facts.MoEngage.State == "failing" && health.NextProbe.After(now) { // one that is past had nothing to send
		facts.MoEngage.NextTry = condition.Timestamp(health.NextProbe.Truncate(time.Second))
	}
	facts.NoSocket = p.o.Missed
	facts.DataMoved = errors.Is(p.store.Refusal(), store.ErrMoved)
	if lost := p.lost.Load(); lost != nil {
		facts.LostSockets = *lost
	}
	if dropped := p.linesDropped(); p.dropped.lately(dropped, now) {
		facts.LinesDropped = dropped
	}
	facts.Space, facts.Forecast = p.diskFacts(now, c.MoEngage)
	return facts
}

// diskFacts are what a running agent knows of its disk.
func (p *process) diskFacts(now time.Time, m config.MoEngage) (*store.Space, condition.Forecast) {
	space := p.store.Space()
	return &space, p.recorder.Forecast(now, space, min(m.UsersPerMinute, m.EventsPerMinute))
}

// linesDropped counts the lines of the log that were lost.
func (p *process) linesDropped() uint64 {
	if p.o.LinesDropped == nil {
		return 0
	}
	return p.o.LinesDropped()
}

// run works until ctx is done or a part fails, then stops in order.
func (p *process) run(ctx context.Context) error {
	var windows errgroup.Group
	windows.Go(p.socket.Run)
	if p.admin != nil {
		windows.Go(p.admin.Run)
	}

	supervised, endSupervision := context.WithCancel(context.WithoutCancel(ctx))
	defer endSupervision()
	windows.Go(func() error { return p.supervise(supervised) })

	ctx, end := context.WithCancel(ctx)
	defer end()
	lanes, work := errgroup.WithContext(ctx)
	var syncing sync.WaitGroup
	for _, part := range []func(context.Context) error{p.senders.Run, p.scheduler.Run} {
		syncing.Add(1)
		lanes.Go(func() error {
			defer syncing.Done()
			return part(work)
		})
	}
	lanes.Go(func() error { return p.serveIngest(work) })
	lanes.Go(func() error { return p.housekeeping(work) })
	lanes.Go(func() error { return p.recorder.Run(work) })
	lanes.Go(func() error { return p.keepSockets(work) })
	lanes.Go(func() error { return p.endWhenBroken(work) })
	lanes.Go(func() error {
		err := p.accept(work)
		end()
		p.log.Info("stopping")
		p.tellManager(daemon.SdNotifyStopping, "STATUS=stopping")
		if p.o.Ingest != nil {
			p.ingest.Drain() // what comes from now on waits for the next process
		}
		p.unready("stopping")
		syncing.Wait() // meanwhile the door answers 503: a refused connection would look like an outage
		return errors.Join(err, p.ingest.Stop(drainPatience))
	})
	err := lanes.Wait()

	err = errors.Join(ignoreEnd(err), p.socket.Stop(windowPatience), p.admin.Stop(windowPatience))
	endSupervision()
	err = errors.Join(err, windows.Wait(), p.store.Close())
	p.verifier.reader.Close()
	p.log.Info("stopped")
	return err
}

// serveIngest serves the door once the start is over. Until then senders wait, in the kernel's queue:
// a start takes milliseconds, and a 503 would send them away for minutes.
func (p *process) serveIngest(ctx context.Context) error {
	select {
	case <-p.open:
		return p.ingest.Run()
	case <-ctx.Done():
		return nil
	}
}

// endWhenBroken ends the process when its files turn out to be damaged: the next start saves what can
// be saved, which cannot be done while they are in use.
func (p *process) endWhenBroken(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-p.store.Broken():
		return errors.New("the data is damaged: start the agent again, and it saves what can be saved")
	}
}

// accept takes events until ctx is done, and the configuration again when it is asked to. No event is
// taken before the rules it will be treated by are on disk.
func (p *process) accept(ctx context.Context) error {
	if err := p.recordRules(ctx); err != nil {
		return err
	}
	p.ready()
	return p.reloads(ctx)
}

// rulesRetry is how long a start waits for a full disk to get room.
const rulesRetry = time.Second

// recordRules writes the rules down. A full disk keeps the agent from accepting events, not from
// starting: it goes on as soon as there is room.
func (p *process) recordRules(ctx context.Context) error {
	record := func() error { return p.store.SetRules(ctx, p.config.Load().Rules()) }
	err := record()
	if errors.Is(err, store.ErrFull) {
		p.log.Error("no room to record the rules: no event is accepted until there is; it is tried again every second", "error", err)
		p.unready(err.Error())
		p.answer() // and say why not
	}
	for errors.Is(err, store.ErrFull) && pause(ctx, rulesRetry) == nil {
		err = record()
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("record the rules: %w", err)
	}
	return ctx.Err()
}

// unready closes the door and says why; the empty reason opens it.
func (p *process) unready(why string) {
	p.door.SetUnready(why)
	p.readiness.enter(why)
}

// answer ends the start: from here on the door answers, if only with 503.
func (p *process) answer() {
	p.opening.Do(func() { close(p.open) })
	p.tellManager(daemon.SdNotifyReady, p.statusLine())
}

// ready opens the door.
func (p *process) ready() {
	p.unready("")
	at := Addresses{Ingest: p.ingest.Addr(), Socket: p.socket.Addr().String()}
	attrs := []any{"version", p.o.Version, "data_dir", p.config.Load().DataDir, "ingest", at.Ingest.String(), "socket", at.Socket}
	if p.admin != nil {
		at.Admin = p.admin.Addr()
		attrs = append(attrs, "admin", at.Admin.String())
	}
	p.log.Info("ready", attrs...)
	p.answer()
	if p.o.Ready != nil {
		p.o.Ready(at)
	}
}

// housekeeping removes what retention no longer covers, and gives the room back.
func (p *process) housekeeping(ctx context.Context) error {
	var announced time.Time
	for {
		if now := time.Now(); now.Sub(announced) >= announceEvery {
			announced = now
			p.announceExpiry(now)
		}
		p.watchClock()
		if seen, err := p.store.Computations(); err == nil { // prune says what is wrong with the store
			p.door.Know(seen)
		}
		if err := p.prune(ctx); err != nil {
			p.log.Error("removing what is past its retention went wrong; it is tried again in a minute", "error", err)
		}
		if err := p.store.EraseIfDue(ctx, time.Now()); err != nil && ctx.Err() == nil {
			p.log.Error("erasing whom Segment had deleted went wrong; it is tried again in a minute", "error", err)
		}
		if _, _, err := p.store.CompactIfSparse(ctx); err != nil && ctx.Err() == nil {
			p.log.Error("compacting the state went wrong; it is tried again in a minute", "error", err)
		}
		if pause(ctx, housekeepingEvery) != nil {
			return nil
		}
	}
}

// announceEvery is how often parked items that will expire within a week are spoken of.
const announceEvery = 24 * time.Hour

// announceExpiry says in time what retention is about to take: nothing that waits for a decision goes in
// silence.
func (p *process) announceExpiry(now time.Time) {
	e, err := p.store.Expiring(now, p.config.Load().Retention.Parked.Duration)
	if err != nil || e == nil {
		return // housekeeping says what is wrong with the store
	}
	p.log.Warn("parked items will expire within a week, unless you retry or drop them, or raise retention.parked",
		"count", e.Count, "and_more", e.More, "first", e.First.UTC().Format(time.RFC3339))
}

// watchClock says when the clock becomes doubtful, and when it no longer is.
func (p *process) watchClock() {
	was := p.doubted
	p.doubted = p.door.Clock.Doubt()
	switch {
	case p.doubted != "" && was == "":
		p.log.Warn("the clock may be wrong: set it, and keep it with NTP", "why", p.doubted)
	case p.doubted == "" && was != "":
		p.log.Info("the clock is as it should be again")
	}
}

// prune works off what is to be removed, a slice at a time. A stop waits for the slice under way:
// it is bounded, and a command that nobody waits for must not outlive its caller in the store.
func (p *process) prune(ctx context.Context) error {
	for ctx.Err() == nil && p.door.Clock.Settled() {
		more, err := p.store.Prune(context.WithoutCancel(ctx), time.Now())
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// abandon undoes a start that came to nothing.
func (p *process) abandon() error {
	for _, s := range []*host.Server{p.ingest, p.admin, p.socket} {
		if s != nil {
			_ = s.Close()
		}
	}
	return p.store.Close()
}

// ignoreEnd drops the error that only says that ctx is done.
func ignoreEnd(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// ErrForeignData says that the data directory belongs to somebody else: what this process wrote
// there, its owner could not read.
var ErrForeignData = errors.New("the data directory belongs to another user")

// checkOwner refuses root a data directory of another user: that one could not read what root wrote there.
// Anybody else may work in a folder that is not their own where they may write, as in a volume that belongs to
// root and to a group of theirs.
func checkOwner(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at data_dir: %w", err)
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 && sys.Uid != 0 {
		return fmt.Errorf("%w: %s: be %s", ErrForeignData, dir, host.OwnerOf(info))
	}
	if !info.IsDir() {
		return nil // opening it says so
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return openError(dir, err)
	}
	return nil
}

// isBareMountPoint reports whether dir is empty and belongs to root, as the folder is that a disk will be
// mounted on. A unit with PrivateUsers= sees root as nobody.
func isBareMountPoint(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	entries, err := os.ReadDir(dir)
	return ok && (sys.Uid == 0 || sys.Uid == nobody) && err == nil && len(entries) == 0
}

// nobody stands for users whom a process cannot see.
const nobody = 65534

// openError says what to do about data that cannot be opened.
func openError(dir string, err error) error {
	switch {
	case errors.Is(err, store.ErrNoPlace):
		return err
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("data_dir %s is not a folder: name one in the configuration, or remove the file: %w", dir, err)
	case errors.Is(err, syscall.EROFS):
		remedy := "mount it for writing"
		if state := os.Getenv("STATE_DIRECTORY"); state != "" {
			remedy = "the unit lets the agent write to " + state + " alone: make that data_dir"
		}
		return fmt.Errorf("data_dir %s is read-only for the agent: %s: %w", dir, remedy, err)
	case errors.Is(err, fs.ErrPermission) && isBareMountPoint(dir):
		return fmt.Errorf("%w: %s is an empty folder of root, and may not be written by this user: mount its disk there, or give it to the agent's user", store.ErrNoPlace, dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("data_dir %s may not be written by this user: be %s: %w", dir, host.WhoMay(dir), err)
	case errors.Is(err, store.ErrNoRoom):
		return fmt.Errorf("make room in data_dir %s and start again: %w", dir, err)
	case errors.Is(err, store.ErrInUse):
		return fmt.Errorf("%w: stop that agent, or give this one a data_dir of its own", err)
	}
	return fmt.Errorf("open the data in %s: %w", dir, err)
}

func storeOptions(c *config.Config, log *slog.Logger) store.Options {
	return store.Options{
		Log:           log.With("part", "store"),
		Delivered:     c.Retention.Delivered.Duration,
		ReceivedFor:   c.Retention.Received.Duration,
		ReceivedBytes: c.Retention.ReceivedBytes,
		Parked:        c.Retention.Parked.Duration,
		ExMembers:     c.Retention.ExMembers.Duration,
		MaxDataBytes:  c.Retention.MaxDataBytes,
	}
}

func ingestConfig(c *config.Config) ingest.Config {
	return ingest.Config{
		SharedSecrets: c.Ingest.SharedSecret,
		BearerTokens:  c.Ingest.BearerToken,
		WriteKeys:     c.Ingest.WriteKeys,
		AuthRequired:  c.Ingest.Auth != "off",
		MaxBodyBytes:  c.Ingest.MaxBodyBytes,
		CheckID:       syncer.CheckID,
	}
}

func senderConfig(c *config.Config, road domain.Endpoint) syncer.Config {
	realtime := c.Schedule.Mode != "cron"
	m := &c.MoEngage
	s := syncer.Config{
		Endpoint: road,
		BaseURL:  c.BaseURL(), WorkspaceID: m.WorkspaceID, APIKey: m.APIKey.Current(), ForwardedFor: m.ForwardedFor, Region: m.DataCenter,
		Timeout: m.Timeout.Duration, Concurrency: m.Concurrency,
		UsersPerMinute: m.UsersPerMinute, EventsPerMinute: m.EventsPerMinute, MaxRequestBytes: m.MaxRequestBytes,
		UpdateExistingOnly: m.UpdateExistingOnly, RealTimeAction: m.RealTimeAction,
		MinBackoff: c.Retry.MinBackoff.Duration, MaxBackoff: c.Retry.MaxBackoff.Duration, MaxAttempts: c.Retry.MaxAttempts,
		Realtime: func(job string) bool { return realtime && job == "" },
		MaxDelay: c.Schedule.MaxDelay.Duration,
	}
	if road == domain.EndpointCohort {
		s.UsersPerMinute, s.EventsPerMinute, s.CallsPerMinute = 0, 0, m.CohortsPerMinute
		if m.MaxRequestBytes >= config.Default().MoEngage.MaxRequestBytes { // else something on the way takes no more
			s.MaxRequestBytes = syncer.CohortRequestBytes
		}
	}
	return s
}
