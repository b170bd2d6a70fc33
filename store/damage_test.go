package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/repair"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
)

// sampleRules has two computations that fight over an attribute, so that changes are held.
func sampleRules() domain.Rules {
	r := rules(domain.SendBoth)
	twin := policy(domain.SendBoth)
	twin.Attribute = "vip"
	nightly := policy(domain.SendBoth)
	nightly.Job = "nightly"
	r.Sections = []domain.Section{{Key: "twin", Policy: twin}, {Key: "slow", Policy: nightly}}
	return r
}

// sample fills a store with every kind of row: members and traits, pending, parked, held and closed
// changes, a parked event, remembered messages, a tombstone, a job's run, and a lease in the air.
// It returns the directory of the closed store.
func sample(t testing.TB, users int) string {
	b := &bench{TB: t, dir: t.TempDir()}
	s, err := Open(b.dir, Options{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	b.Store = s
	must(t, s.SetRules(t.Context(), sampleRules()))
	name := func(i int) string { return fmt.Sprintf("user-%04d", i) }
	for i := range users {
		b.receive(event(name(i), "vip", true, i%20), trait(name(i), "ltv", 1, "ltv", fmt.Sprint(i)))
		if i%5 == 0 {
			b.receive(event(name(i), "gold", i%2 == 0, 3, asTrack("Gold")), event(name(i), "step", true, 4, passThrough(fmt.Sprint("m", i))))
		}
		if i == users/2 {
			b.drain()
		}
	}
	for i := range users {
		switch i % 11 {
		case 1:
			b.receive(event(name(i), "twin", true, 5))
		case 2:
			b.receive(event(name(i), "bad", true, 5, func(e *domain.Event) { e.Fault, e.Sentence = "undetermined", "no flag" }))
		case 3:
			b.receive(event(name(i), "slow", true, 6))
		case 4:
			b.receive(event(name(i), "vip", false, 25))
		}
	}
	b.receive(&domain.Event{Received: noon.Add(31 * time.Minute), Time: noon, Call: domain.CallDelete, User: domain.Identifier{ID: name(users - 1)}, MessageID: "del", Raw: []byte("{}")})
	must(t, s.SetJobRun(t.Context(), query.JobRun{Job: "nightly", Started: noon, Finished: noon, Missed: 2}))
	o := everything(noon.Add(time.Hour))
	o.MaxUsers, o.MaxEvents = users/8, users/8
	for _, v := range []domain.Verdict{domain.Parked, domain.Refused} {
		f, _, err := b.Take(t.Context(), o)
		must(t, err)
		b.settle(f, v)
	}
	if f, _, err := b.Take(t.Context(), o); err != nil || f == nil {
		t.Fatal("no flight", err)
	}
	must(t, b.Store.Close())
	in, err := wal.Open(b.dir, wal.Config{Epoch: b.inbox.Epoch(), First: 1, Records: record.InboxRecords})
	must(t, err)
	for i := range 12 { // as a crash leaves them: received, not applied
		must(t, in.Append(t.Context(), record.AppendEvent(nil, event(name(i), "late", true, 7)), record.AppendEvent(nil, event(name(i), "gold", i%3 == 0, 8))))
	}
	in.Close()
	return b.dir
}

// copyStore copies the files of a store, without what says how it ended: that makes Open check them.
func copyStore(t testing.TB, from, to string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(from, "*.db"))
	must(t, err)
	must(t, os.RemoveAll(to))
	must(t, os.MkdirAll(to, 0o700))
	for _, name := range names {
		body, err := os.ReadFile(name)
		must(t, err)
		body = body[:used(t, name)] // bbolt grows its files in advance, by 16 MiB
		must(t, os.WriteFile(filepath.Join(to, filepath.Base(name)), body, 0o600))
	}
}

// used is how much of a file its pages take up.
func used(t testing.TB, path string) int64 {
	p, err := boltpage.Open(path)
	must(t, err)
	defer p.Close()
	m, _ := p.Newest()
	return int64(m.Pages) * p.PageSize
}

// facts lists all that a store knows, one line each, so that what is gone can be named.
func facts(t testing.TB, s *Store) map[string]string {
	t.Helper()
	known := make(map[string]string)
	must(t, s.r.State.View(func(tx engine.Tx) error {
		st, err := state.LoadState(tx)
		if err != nil {
			return err
		}
		b := state.NewTx(tx, st, query.Discard)
		note := func(ch *state.Stored) {
			known["change "+ch.ID.String()] = fmt.Sprintf("%s %s %s %s", ch.State, ch.User, ch.Name, ch.Value)
		}
		c := tx.Bucket(state.BucketRows).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			id, rest, _ := state.UserOf(k)
			n := binary.BigEndian.Uint16(rest)
			if n == state.BlockIndex {
				continue
			}
			u := b.User(id)
			row := b.Block(u, n)
			for _, e := range row.Entries {
				f := b.FieldOf(row.Field(e))
				if f == nil {
					continue
				}
				if e.Newest() != nil {
					known["word "+id+"."+f.Key+f.Column] = string(e.Newest().Value)
				}
				for _, t := range []*state.Ticket{&e.Waiting, &e.InFlight} {
					if t.Pending() {
						note(b.PendingChange(u, f, t))
					}
				}
			}
		}
		for _, name := range [][]byte{state.BucketQueue, state.BucketHeld, state.BucketParked, state.BucketHistory} {
			c := tx.Bucket(name).Cursor()
			for k, v := c.First(); k != nil; k, v = c.Next() {
				if string(name) == string(state.BucketQueue) {
					if _, _, v = state.ParseQueueValue(v); v == nil {
						continue
					}
				}
				ch, err := state.DecodeChange(v, st.Epochs)
				if err != nil {
					return err
				}
				note(ch)
			}
		}
		for _, f := range st.Registry.Fields {
			known[fmt.Sprint("field ", f.Number)] = f.Space + " " + f.Key + " " + f.Column + " " + f.ID
		}
		return nil
	}))
	for from := uint64(1); ; {
		records, err := s.records.Read(from, 1<<20)
		must(t, err)
		if len(records) == 0 {
			return known
		}
		for _, r := range records {
			if rec, err := record.DecodeRecord(r.Seq, r.Frame); err == nil && (rec.Event != nil || rec.Rules != nil) {
				known[fmt.Sprint("record ", r.Seq)] = string(r.Frame)
			}
		}
		from = records[len(records)-1].Seq + 1
	}
}

// blow is one thing that befalls a file.
type blow struct {
	file  string
	at    int64
	value byte // a flip puts it there …
	cut   bool // … a cut ends the file there
}

func (d blow) String() string {
	if d.cut {
		return fmt.Sprintf("%s cut off at %d", d.file, d.at)
	}
	return fmt.Sprintf("%s: byte %d xor %#x", d.file, d.at, d.value)
}

func (d blow) strike(t testing.TB, dir string) {
	path := filepath.Join(dir, d.file)
	if d.cut {
		must(t, os.Truncate(path, d.at))
		return
	}
	body, err := os.ReadFile(path)
	must(t, err)
	body[d.at] ^= d.value
	must(t, os.WriteFile(path, body, 0o600))
}

// blows picks flips and cuts, half of them each in the two files.
func blows(t testing.TB, dir string, flips, cuts int) (list []blow) {
	seed := uint64(20260314)
	if text := os.Getenv("PERSONASYNC_TORTURE_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("PERSONASYNC_TORTURE_SEED=%d: %d flips and %d cuts", seed, flips, cuts)
	rnd := rand.New(rand.NewPCG(seed, 7))
	names := []string{datadir.StateFile, "inbox-00000001.db"}
	live := map[string][]int64{}
	for _, name := range names {
		live[name] = livePages(t, filepath.Join(dir, name))
	}
	for i := range flips + cuts {
		d := blow{file: names[i%2], value: byte(1 + rnd.IntN(255)), cut: i >= flips}
		pages := live[d.file]
		switch within := rnd.Int64N(int64(os.Getpagesize())); {
		case d.cut:
			d.at = rnd.Int64N(used(t, filepath.Join(dir, d.file)))
		case i%3 == 0: // where a page says what is in it
			d.at = pages[rnd.IntN(len(pages))] + within%200
		default:
			d.at = pages[rnd.IntN(len(pages))] + within
		}
		list = append(list, d)
	}
	return list
}

// livePages are the places of the pages in use: the others may say what they like.
func livePages(t testing.TB, path string) (at []int64) {
	p, err := boltpage.Open(path)
	must(t, err)
	defer p.Close()
	m, _ := p.Newest()
	w := boltpage.Walk{File: p, Meta: m, Fault: func(err error) { t.Error(err) }, Leaf: func(uint64, []string, []boltpage.Element) {}}
	w.Run()
	for id := range m.Pages {
		if w.Seen.Has(id) || id == m.Freelist {
			at = append(at, int64(id)*p.PageSize)
		}
	}
	return at
}

// torture is how many flips, and how many cuts, a test makes, half of them in each file.
func torture() int {
	switch {
	case os.Getenv("PERSONASYNC_TORTURE") != "":
		return 2000
	case inFull:
		return 60
	}
	return 40
}

// TestDamageIsNeverSilent hits the files of a stopped store, opens it, and asks for everything that was
// in it. What is not there any more must have been said to be lost, and the store must go on working.
func TestDamageIsNeverSilent(t *testing.T) {
	onFiles(t)
	t.Parallel()
	origin := sample(t, 60)
	sound := filepath.Join(t.TempDir(), "data")
	copyStore(t, origin, sound)
	s := openQuietly(t, sound)
	must(t, s.Applied(t.Context()))
	want := facts(t, s)
	must(t, s.Close())
	if list, err := filepath.Glob(filepath.Join(sound, "*damaged*")); len(list) > 0 || err != nil {
		t.Fatalf("a sound store was salvaged: %v %v", list, err)
	}

	var mu sync.Mutex
	seen := map[string]int{}
	work := make(chan blow)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			dir := filepath.Join(t.TempDir(), "data")
			for d := range work {
				copyStore(t, origin, dir)
				d.strike(t, dir)
				outcome := survive(t, dir, d, want)
				mu.Lock()
				seen[outcome]++
				mu.Unlock()
			}
		})
	}
	for _, d := range blows(t, origin, torture(), torture()) {
		work <- d
	}
	close(work)
	workers.Wait()
	for _, outcome := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%4d %s", seen[outcome], outcome)
	}
	if seen[datadir.StateFile+" flip: salvaged, and told what is lost"] == 0 || seen["inbox-00000001.db flip: salvaged, and told what is lost"] == 0 {
		t.Error("nothing was ever lost: the blows are too soft to test anything")
	}
}

// survive opens what a blow left, and says what became of it.
func survive(t *testing.T, dir string, d blow, want map[string]string) (outcome string) {
	where := d.file + map[bool]string{true: " cut: ", false: " flip: "}[d.cut]
	var logged bytes.Buffer
	s, err := Open(dir, Options{Log: slog.New(slog.NewTextHandler(&logged, nil))})
	if d.cut && errors.Is(err, ErrUnsalvageable) {
		if !strings.Contains(err.Error(), "db restore") {
			t.Errorf("%s: the refusal does not say what to do: %v", d, err)
		}
		return where + "refused: nothing can be read"
	}
	if err != nil {
		t.Errorf("%s: %v\n%s", d, err, &logged)
		return "error"
	}
	defer s.Close()
	if err := s.Applied(t.Context()); err != nil {
		t.Errorf("%s: %v\n%s", d, err, &logged)
		return "error"
	}
	got := facts(t, s)
	reports, err := s.Salvages()
	must(t, err)
	lost, wrong := missing(want, got)
	said := slices.ContainsFunc(reports, func(r repair.Salvage) bool { return !r.Whole() || r.PositionLost }) || strings.Contains(logged.String(), "damaged record") ||
		strings.Contains(logged.String(), "checksum")
	if len(lost)+len(wrong) > 0 && !said {
		text, _ := json.Marshal(reports)
		t.Errorf("%s: lost in silence: %v, wrong: %v\n%s", d, lost, wrong, text)
	}
	counted(t, s, d, lost, reports, strings.Count(logged.String(), "damaged record"))
	for name := range got {
		if _, known := want[name]; !known && !said {
			t.Errorf("%s: made up: %s = %s", d, name, got[name])
		}
	}
	if !serves(t, s, d) {
		text, _ := json.Marshal(reports)
		t.Logf("%s: %s\n%s", d, text, &logged)
	}
	switch {
	case len(reports) == 0 && len(lost)+len(wrong) == 0:
		return where + "nothing that matters was hit"
	case len(reports) == 0:
		return where + "one record is damaged, and said to be"
	case len(lost)+len(wrong) == 0:
		return where + "salvaged whole"
	}
	return where + "salvaged, and told what is lost"
}

// counted insists on the numbers: of records always, of changes as long as nothing that counts them is lost.
func counted(t testing.TB, s *Store, d blow, lost []string, reports []repair.Salvage, said int) {
	var sum repair.Stock
	unapplied, entries, sure := uint64(0), uint64(0), true
	for _, r := range reports {
		sum.Records += r.Lost.Records
		sum.Pending += r.Lost.Pending + r.Lost.Held + r.Lost.Parked + r.Lost.History
		unapplied += r.Unapplied
		entries += r.Entries
		sure = sure && !r.LedgerLost && !r.PositionLost && !r.EdgeLost && r.Pages == 0 && len(r.RecordsLost) == 0
	}
	records, changes := uint64(0), uint64(0)
	for _, name := range lost {
		records += uint64(record.BoolByte(strings.HasPrefix(name, "record")))
		changes += uint64(record.BoolByte(strings.HasPrefix(name, "change")))
	}
	if !slices.ContainsFunc(reports, func(r repair.Salvage) bool { return r.EdgeLost }) && records > sum.Records+entries+uint64(said) {
		t.Errorf("%s: %d records are gone, %d are said to be", d, records, sum.Records)
	}
	if sure && changes > sum.Pending+uint64(said) {
		t.Errorf("%s: %d changes are gone, %d are said to be", d, changes, sum.Pending)
	}
	c, err := s.Counts()
	must(t, err)
	if c.Events.Lost < unapplied {
		t.Errorf("%s: %d records were lost before they were applied, the ledger has %d", d, unapplied, c.Events.Lost)
	}
}

// missing compares facts.
func missing(want, got map[string]string) (lost, wrong []string) {
	for name, value := range want {
		switch now, known := got[name]; {
		case !known:
			lost = append(lost, name)
		case now != value:
			wrong = append(wrong, fmt.Sprintf("%s: %q, was %q", name, now, value))
		}
	}
	return lost, wrong
}

// serves has the store do all of its work once, and checks everything afterwards.
func serves(t testing.TB, s *Store, d fmt.Stringer) (well bool) {
	ctx := context.Background()
	err := s.Append(ctx, event("zoe", "vip", true, 1), event("user-0001", "vip", false, 29))
	if err == nil {
		err = s.Applied(ctx)
	}
	for n := 0; err == nil; n++ {
		var f *domain.Lease
		if f, _, err = s.Take(ctx, everything(time.Now().Add(time.Hour))); f == nil || n > 1000 {
			break
		}
		o := domain.Settlement{Lease: f.ID, At: noon.Add(time.Hour), Results: make([]domain.UserResult, len(f.Users))}
		for i := range o.Results {
			o.Results[i] = domain.UserResult{Attributes: domain.Result{Verdict: domain.Delivered}, Event: domain.Result{Verdict: domain.Delivered}}
		}
		err = s.Settle(ctx, o)
	}
	if err != nil {
		t.Errorf("%s: does not work any more: %v", d, err)
		return false
	}
	counts, err := s.Counts()
	must(t, err)
	if counts.Changes.Pending != 0 || !counts.Changes.Balances() || !counts.Events.Balances() {
		t.Errorf("%s: what should have left or add up does not: %+v %+v", d, counts.Changes, counts.Events)
	}
	well = counts.Changes.Pending == 0
	r, err := s.Check(ctx, nil)
	must(t, err)
	for _, f := range r.Findings {
		if f.Code != "record" { // parked as corrupt, and kept as it was received
			t.Errorf("%s: check: %s: %s", d, f.Code, f.Message)
			well = false
		}
	}
	return well
}

func openQuietly(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}
