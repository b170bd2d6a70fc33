package notify

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
)

// Backoff after a failure. The pause doubles up to the longest, and half of it is left to chance. A receiver that asks
// for a longer pause gets it, up to longestAsked.
const (
	firstRetry   = 5 * time.Second
	longestRetry = 5 * time.Minute
	longestAsked = 15 * time.Minute
)

// recordPatience is how long the store may take to record a state. A message is sent all the same.
const recordPatience = 5 * time.Second

// stopPatience is how long a message may still take when the agent stops. The receiver may have taken it already: without
// its answer the next run would repeat it.
const stopPatience = 500 * time.Millisecond

// delivery is a way to a receiver. An error is a *failure, or that of ctx.
type delivery interface {
	deliver(ctx context.Context, m *Message) (answer string, err error)
}

// Ledger keeps what receivers were told. A [store.Store] is one.
type Ledger interface {
	Notices() ([]store.Notices, error)
	SetNotices(ctx context.Context, n store.Notices) error
}

// teller tells one receiver. observe and configure may be called at any time, and never wait for the receiver.
type teller struct {
	name   string // url | command
	ledger Ledger
	log    *slog.Logger
	wake   chan struct{} // holds one

	mu      sync.Mutex
	config  Config
	way     delivery // nil: there is no receiver
	book    book
	health  health
	retryAt time.Time // no message before
}

// health is how a receiver takes messages, since the start.
type health struct {
	sent, failed uint64
	inARow       int       // failures since the last success
	since        time.Time // of the first of them
	lastError    string
	lastErrorAt  time.Time
}

func (h *health) succeeded() { h.sent, h.inARow, h.since = h.sent+1, 0, time.Time{} }

func (h *health) broke(err error, now time.Time) {
	h.failed, h.inARow = h.failed+1, h.inARow+1
	if h.inARow == 1 {
		h.since = now
	}
	h.lastError, h.lastErrorAt = err.Error(), now
}

func newTeller(name string, ledger Ledger, log *slog.Logger) *teller {
	return &teller{name: name, ledger: ledger, log: log.With("receiver", name), wake: make(chan struct{}, 1)}
}

// nudge has run look again.
func (t *teller) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// configure replaces the receiver. The next message is tried at once.
func (t *teller) configure(c Config, way delivery) {
	t.mu.Lock()
	t.config, t.way, t.retryAt = c, way, time.Time{}
	if way == nil {
		t.health.inARow, t.health.since = 0, time.Time{}
	}
	t.mu.Unlock()
	t.nudge()
}

// load reads the record of an earlier run.
func (t *teller) load(n store.Notices, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.book = newBook(n, now)
}

// observe takes the conditions that hold now.
func (t *teller) observe(list []condition.Condition, now time.Time) {
	t.mu.Lock()
	if t.way != nil {
		t.book.observe(list, now)
	}
	t.mu.Unlock()
	t.nudge()
}

// run tells until ctx is done.
func (t *teller) run(ctx context.Context) {
	defer func() { t.record(context.WithoutCancel(ctx)) }() // of a message that was taken during the stop
	for ctx.Err() == nil {
		t.record(ctx)
		m, way, wait := t.next(time.Now())
		if m != nil {
			t.tell(ctx, m, way)
			continue
		}
		var later <-chan time.Time
		if wait > 0 {
			later = time.After(wait)
		}
		select {
		case <-ctx.Done():
		case <-t.wake:
		case <-later:
		}
	}
}

// next returns the message to send now, or how long to wait for one; 0: until something changes.
func (t *teller) next(now time.Time) (m *Message, way delivery, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.way == nil {
		return nil, nil, 0
	}
	list, wait := t.book.due(now, t.config.After)
	if len(list) == 0 {
		return nil, nil, wait
	}
	if pause := t.retryAt.Sub(now); pause > 0 {
		return nil, nil, pause
	}
	return t.book.message(&t.config, list[0]), t.way, 0
}

// tell sends m and notes how that went.
func (t *teller) tell(ctx context.Context, m *Message, way delivery) {
	sending, done := outlive(ctx, stopPatience)
	_, err := way.deliver(sending, m)
	done()
	if ctx.Err() != nil && err != nil {
		return // the agent stops: the next one sends it again
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.way == nil {
		return // it was turned off meanwhile
	}
	if err == nil {
		t.health.succeeded()
		t.retryAt = time.Time{}
		t.book.told(m, now)
		t.log.Info("a condition was told", "condition", m.Condition, "state", m.State, "severity", m.Severity)
		return
	}
	f := failed(err, "")
	t.health.broke(f, now)
	pause := retryPause(t.health.inARow, f.after)
	t.retryAt = now.Add(pause)
	t.log.Warn("a condition could not be told; it is retried", "condition", m.Condition, "state", m.State, "in", pause.Round(time.Second), "error", f)
}

// outlive returns a context that ends by done, or so long after ctx does.
func outlive(ctx context.Context, patience time.Duration) (longer context.Context, done func()) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-longer.Done():
		case <-time.After(patience):
			cancel()
		}
	})
	return longer, func() { stop(); cancel() }
}

// retryPause is the pause after so many failures in a row.
func retryPause(failures int, asked time.Duration) time.Duration {
	pause := min(firstRetry<<min(failures-1, 10), longestRetry)
	pause = pause/2 + rand.N(pause/2)
	return max(pause, min(asked, longestAsked))
}

// record has the store keep what changed. If it cannot, that is tried again at the next change or look.
func (t *teller) record(ctx context.Context) {
	t.mu.Lock()
	changed, n := t.book.changed, t.book.record(t.name)
	t.book.changed = false
	t.mu.Unlock()
	if !changed {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, recordPatience)
	defer cancel()
	if err := t.ledger.SetNotices(bounded, n); err != nil {
		t.mu.Lock()
		t.book.changed = true
		t.mu.Unlock()
		if ctx.Err() != nil {
			return // the stop records it
		}
		t.log.Warn("what was told could not be recorded: a restart now may repeat a message; it is retried", "error", err)
	}
}

// state is how the receiver is, for people; nil without one.
func (t *teller) state(now time.Time) *condition.Receiver {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.way == nil {
		return nil
	}
	r := t.health.receiver(t.name)
	list, _ := t.book.due(now, t.config.After)
	r.Waiting = len(list)
	return r
}

// receiver is the health in the words of the status.
func (h *health) receiver(name string) *condition.Receiver {
	return &condition.Receiver{
		Name: name, Sent: h.sent, Failed: h.failed, Failures: h.inARow,
		FailingSince: domain.Timestamp(h.since.Truncate(time.Second)),
		LastError:    h.lastError, LastErrorAt: domain.Timestamp(h.lastErrorAt.Truncate(time.Second)),
	}
}
