package postgres

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/apply"
	"personasync/store/internal/outbox"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// counter is a way to the server that counts what is sent. A round trip is one write.
type counter struct {
	sync.Mutex
	trips int
	kinds map[string]int // by the tables read or written
	last  map[string]int // as it was at the last call of taken
}

type counted struct {
	net.Conn
	c *counter
}

var tableOf = regexp.MustCompile(`(from|into|unnest\(\$1\) with)[^$]* "?personasync"?\."([a-z ]+)"|^(begin|rollback|commit)`)

func (w counted) Write(b []byte) (int, error) {
	w.c.Lock()
	defer w.c.Unlock()
	w.c.trips++
	kind := ""
	if bytes.Contains(b, []byte("for update")) {
		kind = "begin"
	} else if bytes.Contains(b, []byte("commit\x00")) {
		kind = "commit"
	} else if m := tableOf.FindSubmatch(b); m != nil {
		kind = string(m[1]) + " " + string(m[2])
	}
	w.c.kinds[kind]++
	return w.Conn.Write(b)
}

// taken returns how many round trips there were since the last call.
func (c *counter) taken() int {
	c.Lock()
	defer c.Unlock()
	n := c.trips
	c.trips, c.last, c.kinds = 0, c.kinds, map[string]int{}
	return n
}

// count has db count what it sends.
func count(t testing.TB, db *DB) *counter {
	c := &counter{kinds: map[string]int{}}
	config := db.pool.config.Copy()
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return counted{conn, c}, err
	}
	pool, err := newPool(config, poolSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.pool.Close)
	db.pool = pool
	return c
}

// domainOn applies and sends on an engine, as the writer does.
type domainOn struct {
	testing.TB
	engine.State
	st  *state.State
	seq uint64
}

func (d *domainOn) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *domainOn) do(f func(tx *state.Tx)) {
	d.Helper()
	d.must(d.Update(func(kv engine.Tx) error {
		tx := state.NewTx(kv, d.st, slog.New(slog.DiscardHandler))
		f(tx)
		err := tx.Flush()
		if d.st.Ledger.Changes.Pending > 0 && state.NobodyIsDue(tx) { // as the writer does
			d.Error("nobody is due")
		}
		return err
	}))
}

func (d *domainOn) load() {
	d.must(d.View(func(kv engine.Tx) (err error) { d.st, err = state.LoadCounted(kv); return err }))
}

func onPostgres(t testing.TB) (*domainOn, *counter) {
	db := open(t)
	c := count(t, db)
	term := newTerm(t, db)
	if err := db.Create(context.Background(), term, 7, state.StateBuckets, state.Init); err != nil {
		t.Fatal(err)
	}
	s := db.State(term)
	t.Cleanup(func() { s.Close() })
	d := &domainOn{TB: t, State: s}
	d.load()
	return d, c
}

func onBolt(t testing.TB) *domainOn {
	path := filepath.Join(t.TempDir(), "state.db")
	d := &domainOn{TB: t}
	d.must(bolt.Create(path, 7, state.StateBuckets, state.Init))
	s, err := bolt.Open(path, 1<<30, false)
	d.must(err)
	t.Cleanup(func() { s.Close() })
	d.State = s
	d.load()
	return d
}

var loads = map[string]func(i int) *domain.Event{
	"one audience": func(i int) *domain.Event {
		return statetest.Enter(fmt.Sprintf("usr_%08d", i*7919%1000003), "shoppers", 1)
	},
	"ten audiences": func(i int) *domain.Event {
		return statetest.Enter(fmt.Sprintf("usr_%08d", i/10*7919%1000003), fmt.Sprint("audience_", i%10), 1)
	},
	"journey steps": func(i int) *domain.Event {
		return statetest.Enter(fmt.Sprintf("usr_%08d", i*7919%1000003), "step", 1, statetest.AsStep("Step", fmt.Sprint("m", i)))
	},
}

// portion is how many events are applied in a transaction.
const portion = 1000

// apply applies events, so many in a transaction.
func (d *domainOn) apply(n int, each func(i int) *domain.Event) {
	for i := 0; i < n; i += portion {
		d.do(func(tx *state.Tx) {
			var list []*record.Record
			for j := i; j < min(i+portion, n); j++ {
				list = append(list, &record.Record{Seq: d.seq + 1, Event: each(j)})
				d.seq++
			}
			apply.Want(tx, slices.Values(list))
			for _, r := range list {
				apply.Record(tx, *r, nil)
			}
		})
	}
}

// drain sends all that is due.
func (d *domainOn) drain(most int, now time.Time) (users, leases int) {
	for {
		left := most
		var f *domain.Lease
		d.do(func(tx *state.Tx) {
			f, _ = outbox.Take(tx, domain.TakeOptions{Endpoint: domain.EndpointTransition, Now: now, MaxUsers: most, MaxEvents: most,
				Due: func(string) time.Time { return now }, Fit: func(domain.UserChanges) bool { left--; return left >= 0 }})
		})
		if f == nil {
			return users, leases
		}
		users += len(f.Users)
		leases++
		o := domain.Settlement{Lease: f.ID, At: now, Results: make([]domain.UserResult, len(f.Users))}
		for i := range o.Results {
			o.Results[i].Attributes.Verdict, o.Results[i].Event.Verdict = domain.Delivered, domain.Delivered
		}
		d.do(func(tx *state.Tx) { outbox.Settle(tx, o) })
	}
}

// TestRoundTrips bounds how often a thousand events, or the users of a lease, have the writer wait for the server.
func TestRoundTrips(t *testing.T) {
	const events, lease = 2000, 800
	for name, load := range loads {
		t.Run(name, func(t *testing.T) {
			d, c := onPostgres(t)
			d.st.Rules = statetest.Rules(domain.SendAttribute | domain.SendEvent)
			within := func(what string, transactions, most int) {
				t.Helper()
				if got := c.taken(); got > transactions*most {
					t.Errorf("%s: %d round trips for %d transactions, want no more than %d each: %v", what, got, transactions, most, c.last)
				}
			}
			d.apply(events, load)
			c.taken() // the first of a term reads the small tables
			for turn := range 3 {
				now := statetest.Receipt.Add(time.Duration(turn) * time.Hour)
				d.apply(events, func(i int) *domain.Event {
					e := load(i)
					e.Time, e.Received, e.MessageID = e.Time.Add(now.Sub(statetest.Receipt)), now, fmt.Sprint(e.MessageID, turn)
					if turn%2 == 0 {
						e.Flag = domain.FlagOut
					}
					return e
				})
				within("apply", events/portion, 9)
				_, leases := d.drain(lease, now.Add(time.Minute))
				within("take and settle", 2*leases+1, 10)
			}
		})
	}
}

// TestNoRoundTripForEachUser bounds how often work on many users has its transaction wait for the server, beside the
// bounds of TestRoundTrips.
func TestNoRoundTripForEachUser(t *testing.T) {
	const events = 1000
	d, c := onPostgres(t)
	d.st.Rules = statetest.Rules(domain.SendAttribute | domain.SendEvent)
	d.st.Rules.Journal = true
	d.apply(events, loads["one audience"])
	within := func(what string, most int) {
		t.Helper()
		if got := c.taken(); got > most {
			t.Errorf("%s: %d round trips, want no more than %d: %v", what, got, most, c.last)
		}
	}
	c.taken()
	page, _, err := (&query.Reader{State: d}).Changes(domain.OutboxFilter{Limit: 100})
	if d.must(err); len(page) != 100 {
		t.Fatalf("%d changes in the page", len(page))
	}
	within("page of what is pending", 16)
	_, err = (&query.Reader{State: d}).Told("shoppers", users(page), statetest.Receipt)
	d.must(err)
	within("what users were told", 3)
	d.drain(800, statetest.Receipt.Add(time.Minute))
	c.taken()
	d.do(func(tx *state.Tx) { apply.PruneHistory(tx, statetest.Receipt.Add(time.Hour), time.Minute) })
	if d.st.Ledger.Changes.Delivered == 0 {
		t.Fatal("nothing was delivered")
	}
	within("prune the history", 9)
	d.do(func(tx *state.Tx) { apply.PruneJournal(tx, statetest.Receipt.Add(time.Hour), time.Minute, 0) })
	if d.st.Journal.Bytes > 0 {
		t.Fatal("the journal was not pruned")
	}
	within("prune the journal", 9)
}

// users are those of a page.
func users(page []domain.ChangeInfo) (list []string) {
	for i := range page {
		list = append(list, page[i].User)
	}
	return list
}

// BenchmarkDomain applies b.N events on both engines, and then sends all that comes of them. It reports the processor's
// time here and in the session of the server: a busy machine does not change it much.
func BenchmarkDomain(b *testing.B) {
	for name, load := range loads {
		for engine, on := range map[string]func() *domainOn{"bolt": func() *domainOn { return onBolt(b) }, "postgres": func() *domainOn { d, _ := onPostgres(b); return d }} {
			b.Run(name+"/"+engine, func(b *testing.B) {
				d := on()
				d.st.Rules = statetest.Rules(domain.SendAttribute)
				d.apply(1, func(int) *domain.Event { return statetest.Enter("nobody", "nothing", 1) })
				mine, theirs := d.cpu()
				b.ReportAllocs()
				b.ResetTimer()
				report := func(what string, n int) {
					m, h := d.cpu()
					b.ReportMetric(float64((m-mine).Nanoseconds())/1e3/float64(n), what+"-us")
					b.ReportMetric(float64((h-theirs).Nanoseconds())/1e3/float64(n), what+"-server-us")
					mine, theirs = m, h
				}
				d.apply(b.N, load)
				b.StopTimer()
				report("apply", b.N)
				users, _ := d.drain(800, statetest.Receipt.Add(time.Minute))
				report("drain", max(users, 1))
			})
		}
	}
}

// cpu returns the time of the processors that this process used, and the writer's session of the server.
func (d *domainOn) cpu() (mine, theirs time.Duration) {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	s, ok := d.State.(*State)
	if !ok || s.conn == nil {
		return time.Duration(u.Utime.Nano() + u.Stime.Nano()), 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.conn.PID()))
	d.must(err)
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))
	user, _ := strconv.Atoi(f[12])
	sys, _ := strconv.Atoi(f[13])
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), time.Duration(user+sys) * 10 * time.Millisecond
}
