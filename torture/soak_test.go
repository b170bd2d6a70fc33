package torture

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/sync/sandbox"
)

// A soak measures the rate that the agent accepts and delivers, then posts at half that rate until the time box
// is over, while MoEngage has outages. An outage takes the last quarter of every cycle.
const (
	soakShort   = 24 * time.Second
	soakCycles  = 12 // in a time box: four in each third, so that thirds compare
	soakWorkers = 16
	soakUsers   = 1250 // per worker; the number is fixed, so that growth means a leak
	soakBatch   = 20   // events in every fifth delivery

	// The agent removes expired data once a minute and keeps inbox files whole. Disk use says nothing until
	// some files were removed.
	soakFiles = 15 * time.Minute
)

// outages are the ways in which MoEngage is unavailable.
var outages = []struct {
	name  string
	begin func(*soak)
}{
	{"nobody listens", func(s *soak) { s.peer.leave() }},
	{"503", func(s *soak) { s.box.Fail(sandbox.Fault{Status: http.StatusServiceUnavailable}) }},
	{"connections break", func(s *soak) { s.box.Fail(sandbox.Fault{Reset: true}) }},
	{"no answer comes", func(s *soak) { s.box.Fail(sandbox.Fault{Hang: true}) }},
	{"429", func(s *soak) {
		s.box.Fail(sandbox.Fault{Status: http.StatusTooManyRequests, RetryAfter: time.Second})
	}},
	{"answers break off", func(s *soak) { s.box.Fail(sandbox.Fault{Truncate: true}) }},
	{"401", func(s *soak) { s.box.Fail(sandbox.Fault{Status: http.StatusUnauthorized}) }}, // retried once a minute
}

// TestSoak compares an agent under load, with outages of MoEngage, after an hour and after some minutes.
// Memory, goroutines, file descriptors and files must not grow, and nothing may be lost.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	box := soakShort
	if text := os.Getenv("PERSONASYNC_SOAK"); text != "" {
		var err error
		if box, err = time.ParseDuration(text); err != nil || box < soakShort {
			t.Fatalf("PERSONASYNC_SOAK=%s: write a duration of at least %s", text, soakShort)
		}
	}
	s := newSoak(t, box)
	s.record()
	s.up()
	rate := s.rate()
	s.run(rate)
	s.judge()
	s.settle()
}

// soak is one run.
type soak struct {
	*host
	t     *testing.T
	box   *sandbox.Sandbox
	peer  *peer
	admin string // address of /metrics
	long  time.Duration
	cycle time.Duration

	client  *http.Client
	workers []*soaker
	pace    atomic.Int64 // events per second of all workers together; 0 means unlimited
	posted  atomic.Int64 // events answered 200
	away    atomic.Bool  // MoEngage has an outage
	samples []soakSample
	out     *csv.Writer // nil if samples are not wanted
}

// soakSample is one measurement.
type soakSample struct {
	at                                 time.Duration
	away                               bool
	posted, pending, unapplied         float64
	rss, goroutines, descriptors       float64
	threads, stateBytes, inbox, others float64
}

func newSoak(t *testing.T, long time.Duration) *soak {
	t.Helper()
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		t.Fatal(err)
	}
	s := &soak{
		host:  &host{dir: dir, binary: product, answers: map[int]int{}, odd: map[string]int{}},
		t:     t,
		box:   sandbox.New(sandbox.Options{WorkspaceID: "SOAK", APIKey: "key", Strict: true, UsersPerMinute: -1, EventsPerMinute: -1}),
		long:  long,
		cycle: max(long/soakCycles, 4*time.Second),
	}
	s.peer = newPeer(t, s.box)
	s.client = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: soakWorkers}}
	s.ingest, s.admin = freeAddress(t), freeAddress(t)
	config := fmt.Sprintf(`[log]
level = "warn"
[ingest]
listen = %q
shared_secret = "secret"
[admin]
listen = %q
socket = "%s/admin.sock"
[moengage]
workspace_id = "SOAK"
api_key = "key"
base_url = "http://%s"
timeout = "2s"
users_per_minute = 60000000
events_per_minute = 60000000
[schedule]
max_delay = "100ms"
[retry]
min_backoff = "100ms"
max_backoff = "2s"
[retention]
delivered = %q
parked = %q
received = %q
received_bytes = 268435456
[defaults]
send = "both"
[guard]
exit_share = 0
`, s.ingest, s.admin, dir, s.peer.address, long/30, long/30, long/30)
	if err := os.WriteFile(filepath.Join(dir, "agent.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range soakWorkers {
		s.workers = append(s.workers, &soaker{s: s, number: i, rnd: rand.New(rand.NewPCG(uint64(i), 7)), clock: time.Now().Add(-time.Hour), in: make([]bool, soakUsers)})
	}
	t.Cleanup(func() {
		s.kill()
		s.peer.leave()
		s.client.CloseIdleConnections()
		if t.Failed() {
			text := s.log.Bytes()
			t.Logf("the agent's log ends:\n%s", text[max(0, len(text)-4000):])
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// peer is MoEngage's address, which may be closed.
type peer struct {
	t       *testing.T
	handler http.Handler
	address string
	server  *http.Server
}

func newPeer(t *testing.T, h http.Handler) *peer {
	t.Helper()
	p := &peer{t: t, handler: h, address: freeAddress(t)}
	p.come()
	return p
}

func (p *peer) come() {
	if p.server != nil {
		return
	}
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		p.t.Errorf("MoEngage cannot come back: %v", err)
		return
	}
	p.server = &http.Server{Handler: p.handler}
	go func(s *http.Server) { _ = s.Serve(l) }(p.server)
}

func (p *peer) leave() {
	if p.server != nil {
		_ = p.server.Close()
		p.server = nil
	}
}

func (s *soak) up() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.until("the agent", idle); err != nil {
		s.t.Fatal(err)
	}
}

// soaker delivers for users of its own, one delivery after the other.
type soaker struct {
	s      *soak
	number int
	rnd    *rand.Rand
	clock  time.Time
	count  int
	in     []bool // last membership posted of each user
	flips  int    // transitions
	again  int    // repeated events
	nobody int    // events without a user
	last   string // "": nothing to post again
	err    error
}

// event returns another transition. Sometimes it repeats the last event, or returns one without a user, which
// is parked.
func (w *soaker) event() string {
	const pad = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36"
	dice := w.rnd.IntN(1000)
	if dice < 50 && w.last != "" {
		w.again++
		return w.last
	}
	w.last = ""
	w.count++
	w.clock = w.clock.Add(time.Millisecond)
	i := w.rnd.IntN(soakUsers)
	who := fmt.Sprintf(`"userId":"soak-%d-%d"`, w.number, i)
	if dice == 50 {
		who = fmt.Sprintf(`"anonymousId":"soak-%d-%d"`, w.number, w.count)
		w.nobody++
	} else {
		w.in[i] = !w.in[i]
		w.flips++
	}
	e := fmt.Sprintf(`{"type":"identify",%s,"messageId":"m-%d-%d","originalTimestamp":%q,"traits":{"vip":%v,"email":"soak-%d@example.com"},`+
		`"context":{"personas":{"computation_class":"audience","computation_id":"aud_vip","computation_key":"vip","space_id":"spa_1"},"userAgent":%q}}`,
		who, w.number, w.count, w.clock.UTC().Format(time.RFC3339Nano), w.in[i], i, pad)
	if dice != 50 {
		w.last = e
	}
	return e
}

// run delivers until ctx is done, at its share of the pace. It makes overdue deliveries at once.
func (w *soaker) run(ctx context.Context) {
	for due := time.Now(); ctx.Err() == nil && w.err == nil; {
		events := 1
		if w.rnd.IntN(5) == 0 {
			events = soakBatch
		}
		w.err = w.deliver(events)
		pace := w.s.pace.Load()
		if pace == 0 {
			due = time.Now()
			continue
		}
		due = due.Add(time.Duration(events) * time.Second * soakWorkers / time.Duration(pace))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
		}
	}
}

// deliver posts until the answer is 200. Sometimes it tries a forged signature first.
func (w *soaker) deliver(events int) error {
	items := make([]string, events)
	for i := range items {
		items[i] = w.event()
	}
	body := items[0]
	if events > 1 {
		body = "[" + strings.Join(items, ",") + "]"
	}
	mac := hmac.New(sha1.New, []byte("secret"))
	mac.Write([]byte(items[0]))
	signature := hex.EncodeToString(mac.Sum(nil))
	if w.rnd.IntN(100) == 0 {
		if code, err := w.s.deliverOnce(body, strings.Repeat("0", len(signature))); code != http.StatusUnauthorized {
			return fmt.Errorf("a forged delivery was answered %d %w", code, err)
		}
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		switch code, err := w.s.deliverOnce(body, signature); code {
		case http.StatusOK:
			w.s.posted.Add(int64(events))
			return nil
		case 0, http.StatusServiceUnavailable:
		default:
			return fmt.Errorf("a delivery was answered %d %w", code, err)
		}
	}
	return errors.New("a delivery was never accepted")
}

func (s *soak) deliverOnce(body, signature string) (int, error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+s.ingest+"/segment/webhook", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Signature", signature)
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// post makes all workers deliver at a pace for a time.
func (s *soak) post(pace int64, long time.Duration, meanwhile func(ctx context.Context)) {
	s.t.Helper()
	s.pace.Store(pace)
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	var all sync.WaitGroup
	for _, w := range s.workers {
		all.Go(func() { w.run(ctx) })
	}
	if meanwhile != nil {
		meanwhile(ctx)
	}
	all.Wait()
	for _, w := range s.workers {
		if w.err != nil {
			s.t.Fatal(w.err)
		}
	}
}

// rate returns half of the rate that the agent accepts and delivers, including the drain of its backlog, or
// PERSONASYNC_SOAK_RATE.
func (s *soak) rate() int64 {
	s.t.Helper()
	if text := os.Getenv("PERSONASYNC_SOAK_RATE"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			s.t.Fatalf("PERSONASYNC_SOAK_RATE=%s: write events a second", text)
		}
		s.t.Logf("%d events/s, as ordered", n)
		return n
	}
	began := time.Now()
	s.post(0, min(max(s.long/20, 4*time.Second), time.Minute), nil)
	s.delivered()
	most := float64(s.posted.Load()) / time.Since(began).Seconds()
	s.t.Logf("the agent takes and delivers %.0f events/s; it is given half", most)
	return max(int64(most/2), 1)
}

// run posts at a rate until the time box is over, takes samples, and starts and ends outages.
func (s *soak) run(rate int64) {
	s.t.Helper()
	before := s.posted.Load()
	s.post(rate, s.long, func(ctx context.Context) {
		began := time.Now()
		every := time.NewTicker(min(max(s.long/240, 250*time.Millisecond), 15*time.Second))
		defer every.Stop()
		for cycle := 0; ; {
			select {
			case <-ctx.Done():
			case <-every.C:
			}
			if ctx.Err() != nil {
				s.comeBack()
				return
			}
			at := time.Since(began)
			switch away := at%s.cycle > s.cycle*3/4; {
			case int(at/s.cycle) > cycle:
				cycle = int(at / s.cycle)
				s.comeBack()
				s.routine()
			case away && !s.away.Load():
				s.away.Store(true)
				outages[cycle%len(outages)].begin(s)
			}
			if ctx.Err() == nil { // after the load, its backlog drains, which happens in no other third
				s.sample(at)
			}
		}
	})
	took := s.long.Seconds()
	s.t.Logf("%.0f events/s posted for %s (%d planned)", float64(s.posted.Load()-before)/took, s.long, rate)
}

// comeBack ends an outage.
func (s *soak) comeBack() {
	s.box.Heal()
	s.peer.come()
	s.away.Store(false)
}

// routine does what operators and Segment do now and then: reload, back up, list, reconnect.
func (s *soak) routine() {
	s.t.Helper()
	s.client.CloseIdleConnections()
	s.mu.Lock()
	err := s.cmd.Process.Signal(syscall.SIGHUP)
	s.mu.Unlock()
	if err != nil {
		s.t.Errorf("reload: %v", err)
		return
	}
	backup := filepath.Join(s.dir, "backup.tar")
	if out, err := s.command("db", "backup", backup).CombinedOutput(); err != nil && !strings.Contains(string(out), "under way") {
		s.t.Errorf("back up: %v: %s", err, out)
	}
	_ = os.Remove(backup)
	if resp, err := s.client.Get("http://" + s.admin + "/"); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// sample measures the process from outside, as an operator would.
func (s *soak) sample(at time.Duration) {
	s.t.Helper()
	status, err := s.status()
	if err != nil {
		s.t.Errorf("after %s: %v", at.Round(time.Second), err)
		return
	}
	pid := s.cmd.Process.Pid
	one := soakSample{
		at: at, away: s.away.Load(), posted: float64(s.posted.Load()),
		pending: float64(status.Pending), unapplied: float64(status.Unapplied),
	}
	one.goroutines = s.metric("go_goroutines")
	one.rss, one.threads = procStatus(pid, "RssAnon:")*1024, procStatus(pid, "Threads:")
	if list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
		one.descriptors = float64(len(list))
	}
	one.stateBytes, one.inbox, one.others = diskUse(s.data())
	s.samples = append(s.samples, one)
	s.write(one)
}

// metric returns the value of a metric, or 0 if it is missing. No gauge used here is 0.
func (s *soak) metric(name string) float64 {
	resp, err := s.client.Get("http://" + s.admin + "/metrics")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	var v float64
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, _ = strconv.ParseFloat(rest, 64)
		}
	}
	return v
}

func procStatus(pid int, field string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte(field))
	words := strings.Fields(string(rest[:min(len(rest), 60)]))
	if len(words) == 0 {
		return 0
	}
	v, _ := strconv.ParseFloat(words[0], 64)
	return v
}

// diskUse returns the bytes that the files occupy on disk. It is less than their length if they have holes.
func diskUse(dir string) (state, inbox, others float64) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // a file may disappear meanwhile
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		size := float64(info.Sys().(*syscall.Stat_t).Blocks * 512)
		switch name := d.Name(); {
		case name == "state.db":
			state += size
		case strings.HasPrefix(name, "inbox-"):
			inbox += size
		default:
			others += size
		}
		return nil
	})
	return state, inbox, others
}

// delivered waits until everything is delivered. A fast host may have accepted more in a minute than it can
// send in one, and a busy host may have a large backlog.
func (s *soak) delivered() condition.Status {
	s.t.Helper()
	end := time.Now().Add(s.long / 4)
	now, err := s.until("everything to be delivered", idle)
	for err != nil && !s.ended() && time.Now().Before(end) {
		now, err = s.until("everything to be delivered", idle)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return now
}

// settle waits until everything is delivered, and compares MoEngage and the ledger with the posted transitions.
func (s *soak) settle() {
	s.t.Helper()
	status := s.delivered()
	flips, again, nobodies, wrong := uint64(0), uint64(0), uint64(0), 0
	for _, w := range s.workers {
		flips += uint64(w.flips)
		again += uint64(w.again)
		nobodies += uint64(w.nobody)
		for i, in := range w.in {
			profile, _ := s.box.User(fmt.Sprintf("soak-%d-%d", w.number, i))
			if got := string(profile.Attributes["vip"]); got != fmt.Sprint(in) && (got != "" || in) { // a user who entered and left before a send is never sent
				wrong++
			}
		}
	}
	if wrong > 0 {
		s.t.Errorf("MoEngage holds something else than was posted last of %d users", wrong)
	}
	if !status.Events.Balances() || !status.Changes.Balances() {
		s.t.Errorf("the ledger does not balance: %+v %+v", status.Events, status.Changes)
	}
	if status.Events.Transitions != flips || status.Events.Duplicate+status.Events.Stale != again {
		s.t.Errorf("posted %d transitions and %d events again, the ledger has %+v", flips, again, status.Events)
	}
	if got := status.Events.Parked + status.Events.Discarded; got != nobodies || status.Changes.Parked != 0 || status.Rejected == 0 {
		s.t.Errorf("posted %d events of nobody, the ledger has %+v; %d changes are parked; %d requests were refused", nobodies, status.Events, status.Changes.Parked, status.Rejected)
	}
	s.t.Logf("%d transitions of %d users arrived; %d events came again, %d were of nobody, %d deliveries were forged", flips, soakWorkers*soakUsers, again, nobodies, status.Rejected)
}

// judge compares the first third of the samples with the last.
func (s *soak) judge() {
	s.t.Helper()
	n := len(s.samples) / 3
	if n < 10 {
		s.t.Fatalf("%d samples are too few to judge by", len(s.samples))
	}
	for _, g := range []struct {
		name         string
		unit         float64
		share, slack float64 // allowed growth of the last third
		files        bool
		value        func(soakSample) float64
	}{
		{"anonymous memory, MiB", 1 << 20, 0.15, 12 << 20, false, func(o soakSample) float64 { return o.rss }},
		{"goroutines", 1, 0.15, 8, false, func(o soakSample) float64 { return o.goroutines }},
		{"file descriptors", 1, 0.15, 8, false, func(o soakSample) float64 { return o.descriptors }},
		{"threads", 1, 0.25, 4, false, func(o soakSample) float64 { return o.threads }},
		{"state.db, MiB", 1 << 20, 0.15, 64 << 20, true, func(o soakSample) float64 { return o.stateBytes }},
		{"inbox, MiB", 1 << 20, 0.15, 272 << 20, true, // a file of 256 MiB is removed whole
			func(o soakSample) float64 { return o.inbox }},
		{"other files, MiB", 1 << 20, 0.15, 4 << 20, true, func(o soakSample) float64 { return o.others }},
		{"changes pending", 1, 0.5, 1e4, true, func(o soakSample) float64 { return o.pending }},
		{"events unapplied", 1, 0.5, 1e4, true, func(o soakSample) float64 { return o.unapplied }},
	} {
		first, last := thirdOf(s.samples[:n], g.value), thirdOf(s.samples[len(s.samples)-n:], g.value)
		s.t.Logf("%-22s median %8.1f, then %8.1f; at most %8.1f, then %8.1f", g.name, first.median/g.unit, last.median/g.unit, first.most/g.unit, last.most/g.unit)
		if g.files && s.long < soakFiles {
			continue
		}
		if last.median > first.median*(1+g.share)+g.slack || last.most > first.most*(1+2*g.share)+2*g.slack {
			s.t.Errorf("%s: grew between the first third and the last", g.name)
		}
	}
}

type third struct{ median, most float64 }

func thirdOf(samples []soakSample, value func(soakSample) float64) third {
	values := make([]float64, len(samples))
	for i, o := range samples {
		values[i] = value(o)
	}
	slices.Sort(values)
	return third{values[len(values)/2], values[len(values)-1]}
}

// record writes the samples to the file named by PERSONASYNC_SOAK_SAMPLES.
func (s *soak) record() {
	s.t.Helper()
	path := os.Getenv("PERSONASYNC_SOAK_SAMPLES")
	if path == "" {
		return
	}
	f, err := os.Create(path)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { f.Close() })
	s.out = csv.NewWriter(f)
	_ = s.out.Write(strings.Split("seconds,away,posted,pending,unapplied,rss_anon,goroutines,descriptors,threads,state_db,inbox,others", ","))
}

func (s *soak) write(o soakSample) {
	if s.out == nil {
		return
	}
	row := []string{fmt.Sprintf("%.1f", o.at.Seconds()), fmt.Sprint(o.away)}
	for _, v := range []float64{o.posted, o.pending, o.unapplied, o.rss, o.goroutines, o.descriptors, o.threads, o.stateBytes, o.inbox, o.others} {
		row = append(row, strconv.FormatFloat(v, 'f', 0, 64))
	}
	_ = s.out.Write(row)
	s.out.Flush()
	if err := s.out.Error(); err != nil {
		s.t.Errorf("write the samples: %v", err)
	}
}
