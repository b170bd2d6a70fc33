package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/store/postgres/pgtest"
	"personasync/sync/sandbox"
)

const (
	agentsOfFleet = 3
	fleetTerm     = 3 * time.Second
	fleetSenders  = 4 // moengage.concurrency: so many requests are in flight at most
	fleetPosters  = 12
	segmentWaits  = 5 * time.Second
)

// fleet is three agents that share a store, the pair of servers that keeps it, and their MoEngage.
type fleet struct {
	t        *testing.T
	rnd      *rand.Rand
	patience time.Duration // until there is a writer, and until all that was posted is delivered
	pair     *pgtest.Pair
	agents   []*member
	witness  *witness
	books    *host // what was posted, and how it is compared
	posters  []*poster

	mu        sync.Mutex // covers what follows
	blows     []blow
	answered  []answer
	surprises []error // ends of agents that nobody asked for
	refusals  int     // starts while there was no database with a standby, which say so and end
	healing   sync.WaitGroup
}

// blow is something that ends the work of an agent, or of all.
type blow struct {
	what            string
	agent           int // -1: all
	at              time.Time
	requests, twice int // in flight then, and the events in them
}

// answer is a 200 for Segment.
type answer struct {
	door int
	at   time.Time
}

// member is an agent of a fleet.
type member struct {
	*host
	fleet  *fleet
	number int
	admin  string
	wire   *wire
	asked  bool // its end was asked for; covered by host.mu
}

// newFleet starts the servers and agents of binary. They end with t.
func newFleet(t *testing.T, binary string, seed uint64) *fleet {
	t.Helper()
	box := sandbox.New(sandbox.Options{WorkspaceID: "TORTURE", APIKey: "key", Strict: true, KeepAll: true, UsersPerMinute: -1, EventsPerMinute: -1})
	f := &fleet{t: t, patience: 2 * patience, rnd: rand.New(rand.NewPCG(seed, 7)), pair: pgtest.NewPair(t, "wal_sender_timeout = 5s"),
		witness: &witness{box: box, held: map[int]chan struct{}{}}, books: &host{box: box}}
	t.Cleanup(func() {
		f.healing.Wait()
		for _, m := range f.agents {
			m.freeze(syscall.SIGCONT)
			_ = m.end(syscall.SIGKILL)
			if path := filepath.Join(os.TempDir(), fmt.Sprintf("fleet-%d-agent%d.log", seed, m.number)); t.Failed() {
				t.Logf("the log of agent %d: %s (%v)", m.number, path, os.WriteFile(path, m.log.Bytes(), 0o600))
			}
		}
	})
	for i := range agentsOfFleet {
		f.add(binary, i)
	}
	for _, m := range f.agents {
		if err := m.begin(); err != nil {
			t.Fatal(err)
		}
		if err := m.ready(); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *fleet) add(binary string, number int) {
	f.t.Helper()
	dir, err := os.MkdirTemp("", "agent") // the path of a unix socket must stay short
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { os.RemoveAll(dir) })
	moengage := httptest.NewServer(f.witness.from(number))
	f.t.Cleanup(moengage.Close)
	own := fmt.Sprintf("127.%d.%d.%d", 1+f.rnd.IntN(250), f.rnd.IntN(250), 1+f.rnd.IntN(250)) // no connection takes a port there while the agent is away
	m := &member{fleet: f, number: number, admin: own + ":8481", wire: newWire(f.t, f.pair.Primary.Socket(), f.pair.Standby.Socket()),
		host: &host{dir: dir, binary: binary, ingest: own + ":8480", answers: map[int]int{}, odd: map[string]int{}}}
	config := fmt.Sprintf(`data_dir = "%[1]s/data"
[store]
engine = "postgres"
url = %[2]q
term = %[3]q
[ingest]
listen = %[4]q
shared_secret = "secret"
[admin]
listen = %[5]q
socket = "%[1]s/admin.sock"
[moengage]
workspace_id = "TORTURE"
api_key = "key"
base_url = %[6]q
timeout = "20s"
concurrency = %[7]d
users_per_minute = 60000000
events_per_minute = 60000000
[schedule]
max_delay = "20ms"
[retry]
min_backoff = "50ms"
max_backoff = "500ms"
[defaults]
send = "both"
`, dir, m.wire.url(), fleetTerm, m.ingest, m.admin, moengage.URL, fleetSenders)
	if err := os.WriteFile(filepath.Join(dir, "agent.toml"), []byte(config), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.agents = append(f.agents, m)
}

// begin starts the process, unless it runs. If it ends unasked it is started again, as a service manager does.
func (m *member) begin() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd != nil && !m.over() {
		return nil
	}
	c := exec.Command(m.binary, "run")
	c.Env = append(os.Environ(), "PERSONASYNC_CONFIG="+filepath.Join(m.dir, "agent.toml"))
	fmt.Fprintf(&m.log, "--- %s: agent %d begins\n", time.Now().Format(time.StampMilli), m.number)
	said := m.log.Len()
	c.Stdout, c.Stderr = &m.log, &m.log
	if err := c.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	m.cmd, m.gone, m.asked = c, gone, false
	go func() {
		err := c.Wait()
		fmt.Fprintf(&m.log, "--- %s: agent %d ended: %v\n", time.Now().Format(time.StampMilli), m.number, err)
		m.mu.Lock()
		asked := m.asked
		m.mu.Unlock()
		close(gone)
		if !asked {
			m.fleet.ended(m, err, m.log.String()[said:])
			m.later(m.begin)
		}
	}()
	return nil
}

// over reports whether the process ended. The caller holds m.mu.
func (m *member) over() bool {
	select {
	case <-m.gone:
		return true
	default:
		return false
	}
}

func (m *member) lastLines() string {
	lines := strings.Split(strings.TrimSpace(m.log.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "\n")
}

// ended takes in that a process ended which nobody had asked to. It may do so at its start, when the database cannot keep
// a store safely.
func (f *fleet) ended(m *member, err error, log string) {
	if !strings.Contains(log, "msg=ready") && (strings.Contains(log, "PostgreSQL cannot be used") || strings.Contains(log, "waits for no standby")) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.refusals++
		return
	}
	f.surprised(fmt.Errorf("agent %d ended by itself: %w: %s", m.number, err, m.lastLines()))
}

func (f *fleet) surprised(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.surprises = append(f.surprises, err)
}

// later does something to m after a second.
func (m *member) later(do func() error) {
	m.fleet.healing.Go(func() {
		time.Sleep(time.Second)
		if err := do(); err != nil {
			m.fleet.surprised(err)
		}
	})
}

// end asks the process to end, and waits until it has. It reports whether it ended as asked.
func (m *member) end(how syscall.Signal) error {
	m.mu.Lock()
	c, gone := m.cmd, m.gone
	m.asked = true
	m.mu.Unlock()
	if c == nil {
		return nil
	}
	_ = c.Process.Signal(how)
	select {
	case <-gone:
	case <-time.After(patience):
		_ = c.Process.Kill()
		<-gone
		return fmt.Errorf("agent %d did not end within %s of %s", m.number, patience, how)
	}
	if code := c.ProcessState.ExitCode(); how == syscall.SIGTERM && code != 0 {
		return fmt.Errorf("agent %d ended with %d when it was asked to stop: %s", m.number, code, m.lastLines())
	}
	return nil
}

// freeze stops the process, or has it go on.
func (m *member) freeze(how syscall.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd != nil {
		_ = m.cmd.Process.Signal(how)
	}
}

// ready waits until the agent takes events.
func (m *member) ready() error {
	var s condition.Status
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if s, err = m.status(); err == nil && s.Ready {
			return nil
		}
	}
	return fmt.Errorf("agent %d is not ready after %s: %q, %w: %s", m.number, patience, s.Unready, err, m.lastLines())
}

// writer waits until an agent that answers has the term, and returns it.
func (f *fleet) writer() *member {
	f.t.Helper()
	host := ""
	for deadline := time.Now().Add(f.patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		host = f.pair.Primary.SQL(f.t, "select host from personasync.holder where until > clock_timestamp()")
		for _, m := range f.agents {
			if !strings.Contains(host, m.admin) {
				continue
			}
			if _, err := m.status(); err == nil {
				return m
			}
		}
	}
	f.surprised(fmt.Errorf("nobody is the writer after %s: %q", f.patience, host))
	return f.agents[0]
}

// door returns an agent that is not the writer.
func (f *fleet) door() *member {
	f.t.Helper()
	return f.agents[(f.writer().number+1+f.rnd.IntN(agentsOfFleet-1))%agentsOfFleet]
}

// lost notes a loss at its begin.
func (f *fleet) lost(what string, agent int) {
	one := blow{what: what, agent: agent, at: time.Now()}
	one.requests, one.twice = f.witness.open(agent)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blows = append(f.blows, one)
}

// load has every poster post its events to the doors in turn, one after the other, until ctx is done. An event that was
// not answered 200 is posted again at the next door.
func (f *fleet) load(ctx context.Context) (wait func() error) {
	errs := make(chan error, fleetPosters)
	for i := range fleetPosters {
		p := &poster{rnd: rand.New(rand.NewPCG(f.rnd.Uint64(), uint64(i))), in: map[string]bool{}, posted: map[string][]string{}, clock: time.Now().Add(-time.Hour)}
		for j := range 3 {
			p.users = append(p.users, fmt.Sprintf("u-%d-%d", i, j))
		}
		f.posters = append(f.posters, p)
		go func() {
			var err error
			for turn := i; err == nil && ctx.Err() == nil; turn++ {
				err = f.deliver(p.next(), &turn)
				time.Sleep(time.Duration(p.rnd.IntN(40)) * time.Millisecond)
			}
			errs <- err
		}()
	}
	return func() (err error) {
		for range fleetPosters {
			err = errors.Join(err, <-errs)
		}
		return err
	}
}

func (f *fleet) deliver(body []byte, turn *int) error {
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); *turn++ {
		door := f.agents[*turn%agentsOfFleet]
		ctx, cancel := context.WithTimeout(context.Background(), segmentWaits)
		code := door.postOnce(ctx, body)
		cancel()
		if code == http.StatusOK {
			f.mu.Lock()
			f.answered = append(f.answered, answer{door.number, time.Now()})
			f.mu.Unlock()
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("a delivery was never accepted")
}

// drained waits until every agent is ready and says that everything was delivered, and the same.
func (f *fleet) drained() (s condition.Status, err error) {
	for deadline := time.Now().Add(f.patience); ; time.Sleep(100 * time.Millisecond) {
		done := 0
		for _, m := range f.agents {
			last := s
			if s, err = m.status(); err == nil && idle(s) && (done == 0 || s.Events == last.Events && s.Changes == last.Changes) {
				done++
			} else if time.Now().After(deadline) {
				return s, fmt.Errorf("agent %d has not delivered everything, or says other than the one before: %+v, %w\n%+v", m.number, s, err, last)
			}
		}
		if done == agentsOfFleet {
			return s, nil
		}
	}
}
