package notify

import (
	"context"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
)

// lookEvery is the pause between two looks at the conditions.
const lookEvery = 5 * time.Second

// startEvery is that pause while the agent starts, which takes milliseconds.
const startEvery = 50 * time.Millisecond

// lookPatience is how long a look may take.
const lookPatience = 30 * time.Second

// Names of the receivers.
const (
	toURL     = "url"
	toCommand = "command"
)

// Notifier tells receivers of conditions, and makes the heartbeat. Its methods may be called concurrently.
type Notifier struct {
	status  func(context.Context) (condition.Status, error)
	log     *slog.Logger
	tellers []*teller
	beats   *heartbeat

	mu     sync.Mutex
	config Config
	seen   []condition.Condition // at the last look that had an answer; belongs to look
}

// New returns a notifier of the conditions of status. It does nothing before Run.
func New(c Config, status func(context.Context) (condition.Status, error), ledger Ledger, log *slog.Logger) *Notifier {
	n := &Notifier{
		status: status, log: log, beats: &heartbeat{log: log, wake: make(chan struct{}, 1)},
		tellers: []*teller{newTeller(toURL, ledger, log), newTeller(toCommand, ledger, log)},
	}
	n.Reconfigure(c)
	return n
}

// Reconfigure puts c in force. What a receiver was told stays: a new address is not told again.
func (n *Notifier) Reconfigure(c Config) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.config = c
	ways := c.ways()
	for _, t := range n.tellers {
		t.configure(c, ways[t.name])
	}
	n.beats.configure(c)
}

// ways are the deliveries to the receivers of c, by name.
func (c Config) ways() map[string]delivery {
	ways := map[string]delivery{}
	if c.URL != "" {
		ways[toURL] = &poster{c}
	}
	if len(c.Command) > 0 {
		ways[toCommand] = &runner{c}
	}
	return ways
}

// Run tells until ctx is done.
func (n *Notifier) Run(ctx context.Context) error {
	n.load()
	var sides sync.WaitGroup
	for _, t := range n.tellers {
		sides.Go(func() { t.run(ctx) })
	}
	sides.Go(func() { n.beats.run(ctx) })
	defer sides.Wait()
	for {
		pause := lookEvery
		if n.configured() && !n.look(ctx) {
			pause = startEvery
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// shared reports whether the store is in PostgreSQL.
func (n *Notifier) shared() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.config.Shared
}

func (n *Notifier) configured() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.config.configured()
}

// load reads the record of an earlier run. A record that cannot be read is as good as none: messages are repeated.
func (n *Notifier) load() {
	kept, err := n.tellers[0].ledger.Notices()
	if err != nil {
		n.log.Warn("what receivers were told cannot be read: conditions that hold are told again", "error", err)
	}
	now := time.Now()
	for _, t := range n.tellers {
		t.load(condition.NoticesOf(kept, t.name), now)
	}
}

// look takes one look at the agent, and gives it to all. While the store gives no answer nothing else can be judged, so the
// other conditions stay as they were. A start that is not over is no condition, and look returns false.
func (n *Notifier) look(ctx context.Context) (seen bool) {
	bounded, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	s, err := n.status(bounded)
	if ctx.Err() != nil {
		return true
	}
	if err == nil && s.Unready == condition.Starting {
		return false
	}
	now := time.Now()
	n.beats.observe(&s, err, now)
	list := n.seen
	if err == nil {
		// A receiver that takes nothing is not told of that.
		list = slices.DeleteFunc(slices.Clone(s.Conditions), func(c condition.Condition) bool { return c.Name == condition.NotifyFailing })
		n.seen = list
	} else {
		list = append(slices.Clip(list), condition.UnreadableStore(err, n.shared()))
	}
	for _, t := range n.tellers {
		t.observe(list, now)
	}
	return true
}

// Receivers says how the receivers and the heartbeat are, as far as the process knows.
func (n *Notifier) Receivers() (list []condition.Receiver) {
	now := time.Now()
	for _, t := range n.tellers {
		if r := t.state(now); r != nil {
			list = append(list, *r)
		}
	}
	if r := n.beats.state(); r != nil {
		list = append(list, *r)
	}
	return list
}

// Test sends a test message to every receiver of c, one after the other, and returns nil where c has none. For PagerDuty
// the alert is resolved at once. The heartbeat is not tested: a test would count as a sign of life.
func Test(ctx context.Context, c Config) (list []api.NotifyTest) {
	ways := c.ways()
	for _, name := range []string{toURL, toCommand} {
		if ways[name] != nil {
			list = append(list, test(ctx, c, name, ways[name]))
		}
	}
	return list
}

func test(ctx context.Context, c Config, name string, way delivery) api.NotifyTest {
	m := testMessage(&c, time.Now())
	r := api.NotifyTest{Receiver: name, Target: c.target(name)}
	var err error
	r.Answer, err = way.deliver(ctx, m)
	if err == nil && name == toURL && c.Format == "pagerduty" {
		over := *m
		over.State = ended
		r.Answer, err = way.deliver(ctx, &over)
	}
	if err != nil {
		f := failed(err, "")
		r.Error, r.Do = f.why, f.do
	}
	r.OK = err == nil
	return r
}

// target is what may be shown of a receiver.
func (c *Config) target(name string) string {
	if name == toCommand {
		return c.Command[0]
	}
	if u, err := url.Parse(c.URL); err == nil {
		return u.Scheme + "://" + u.Host
	}
	return ""
}
