package store

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine/bolt"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/wal"
)

// The store in testdata/vN was written by the first version of format N. It has something of
// everything, records that were not applied yet among them, and opens for ever. It was made with
// PERSONASYNC_MAKE_TESTDATA=N, once: it is never made again.
func testdataOf(format int) string { return fmt.Sprintf("testdata/v%d", format) }

// summary is what people are shown of a store.
type summary struct {
	Counts       domain.Counts
	Computations []domain.ComputationInfo
	Members      []domain.MemberInfo
	Changes      map[string][]domain.ChangeInfo
	User         pageOfV1
}

// pageOfV1 is a user's page as the first version knew it: more is said of a change since.
type pageOfV1 struct {
	User        string                     `json:"user"`
	Memberships []domain.MembershipInfo    `json:"memberships"`
	Traits      map[string]json.RawMessage `json:"traits"`
	Pending     []domain.ChangeInfo        `json:"pending"`
	History     []domain.ChangeInfo        `json:"history"`
}

func newPageOfV1(u *domain.UserInfo) pageOfV1 {
	page := pageOfV1{User: u.User, Memberships: u.Memberships, Traits: u.Traits, Pending: []domain.ChangeInfo{}, History: []domain.ChangeInfo{}}
	for i := range page.Memberships {
		page.Memberships[i].Told = "" // no part of the first version's page
	}
	for _, c := range u.Pending {
		page.Pending = append(page.Pending, c.ChangeInfo)
	}
	for _, c := range u.History {
		page.History = append(page.History, c.ChangeInfo)
	}
	return page
}

func summarize(t testing.TB, s *Store) []byte {
	t.Helper()
	must(t, s.Applied(t.Context()))
	sum := summary{Changes: make(map[string][]domain.ChangeInfo)}
	var err error
	sum.Counts, err = s.Counts()
	must(t, err)
	sum.Computations, err = s.Computations()
	must(t, err)
	for i := range sum.Computations {
		sum.Computations[i].Conflict, sum.Computations[i].SentUpTo = nil, "" // the first version had neither
	}
	sum.Members, _, err = s.Members("vip", "", 1000)
	must(t, err)
	for _, state := range []domain.State{domain.StatePending, domain.StateHeld, domain.StateParked, domain.StateDelivered, domain.StateSuperseded, domain.StateCancelled} {
		sum.Changes[state.String()], _, err = s.Changes(domain.OutboxFilter{State: state, Limit: 1000})
		must(t, err)
	}
	user, err := s.User("user-0004")
	must(t, err)
	sum.User = newPageOfV1(user)
	text, err := json.MarshalIndent(sum, "", " ")
	must(t, err)
	return append(text, '\n')
}

func TestAStoreOfEveryFormatOpens(t *testing.T) {
	onFiles(t)
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("bbolt writes its pages in the byte order of the machine")
	}
	for format := 1; format <= datadir.Format; format++ {
		t.Run(fmt.Sprint("format ", format), func(t *testing.T) {
			folder := testdataOf(format)
			if os.Getenv("PERSONASYNC_MAKE_TESTDATA") == fmt.Sprint(format) {
				makeTestdata(t, folder)
			}
			dir := unpack(t, folder)
			s := openQuietly(t, dir)
			want, err := os.ReadFile(filepath.Join(folder, "want.json"))
			must(t, err)
			if got, want := byIDs(t, summarize(t, s)), byIDs(t, want); !bytes.Equal(got, want) {
				t.Errorf("it reads otherwise than it did: %s", firstDifference(string(want), string(got)))
			}
			r, err := s.Check(t.Context(), nil)
			must(t, err)
			if !r.OK() || r.Records == 0 || r.Users == 0 {
				t.Fatalf("%+v", r)
			}
			withState(t, filepath.Join(unpack(t, folder), datadir.StateFile), func(db *bolt.State) {
				if got := formatOf(t, db); got != uint32(format) {
					t.Errorf("the state is of format %d", got)
				}
			})
			serves(t, s, blow{file: folder})
		})
	}
}

// byIDs sorts the changes of a summary: changes made since the first version stand in other lanes, and so
// elsewhere in a listing.
func byIDs(t testing.TB, text []byte) []byte {
	t.Helper()
	var sum summary
	must(t, json.Unmarshal(text, &sum))
	for _, list := range sum.Changes {
		slices.SortFunc(list, func(x, y domain.ChangeInfo) int { return strings.Compare(x.ID, y.ID) })
	}
	text, err := json.MarshalIndent(sum, "", " ")
	must(t, err)
	return text
}

// unpack copies a store of testdata to where it may be changed.
func unpack(t testing.TB, folder string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	packed, err := filepath.Glob(filepath.Join(folder, "*.gz"))
	must(t, err)
	for _, path := range packed {
		f, err := os.Open(path)
		must(t, err)
		z, err := gzip.NewReader(f)
		must(t, err)
		body, err := io.ReadAll(z)
		must(t, err)
		must(t, f.Close())
		must(t, os.WriteFile(filepath.Join(dir, strings.TrimSuffix(filepath.Base(path), ".gz")), body, 0o600))
	}
	return dir
}

func makeTestdata(t testing.TB, folder string) {
	origin := sample(t, 16)
	s := openQuietly(t, origin) // what was in lease is uncertain, and waits again
	must(t, s.Applied(t.Context()))
	must(t, s.Close())
	in, err := wal.Open(origin, wal.Config{Epoch: s.inbox.Epoch(), First: s.writer.Applied() + 1, Records: record.InboxRecords})
	must(t, err)
	must(t, in.Append(t.Context(), record.AppendEvent(nil, event("user-0003", "vip", false, 28)), record.AppendEvent(nil, event("yan", "vip", true, 28))))
	in.Close()
	dir := filepath.Join(t.TempDir(), "copy")
	copyStore(t, origin, dir)
	pack(t, dir, folder)
	must(t, os.WriteFile(filepath.Join(folder, "want.json"), summarize(t, openQuietly(t, dir)), 0o644))
}

// pack copies a store to a folder of testdata.
func pack(t testing.TB, dir, folder string) {
	t.Helper()
	must(t, os.MkdirAll(folder, 0o755))
	for _, name := range []string{datadir.StateFile, "inbox-00000001.db"} {
		body, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		must(t, err)
		_, err = z.Write(body)
		must(t, err)
		must(t, z.Close())
		must(t, os.WriteFile(filepath.Join(folder, name+".gz"), packed.Bytes(), 0o644))
	}
}

// TestAStoreOfAnEarlierProgramOpens: the store in each folder was made with PERSONASYNC_MAKE_TESTDATA=NAME, once, by a
// program that knew what is in it. It is never made again.
func TestAStoreOfAnEarlierProgramOpens(t *testing.T) {
	onFiles(t)
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("bbolt writes its pages in the byte order of the machine")
	}
	for name, c := range map[string]struct {
		fill func(t *testing.T) (dir string)
		read func(b *bench) any
	}{
		"journal":    {journalSample, journalLines},
		"selections": {selectionsSample, selectionLines},
		"deletions":  {deletionsSample, deletionLines},
	} {
		t.Run(name, func(t *testing.T) {
			folder := "testdata/v2-" + name
			read := func(dir string) []byte {
				b := &bench{TB: t, Store: openQuietly(t, dir)}
				must(t, b.Applied(t.Context()))
				lines := c.read(b)
				recount(t, b)
				text, err := json.MarshalIndent(lines, "", " ")
				must(t, err)
				return append(text, '\n')
			}
			want := filepath.Join(folder, "want.json")
			if os.Getenv("PERSONASYNC_MAKE_TESTDATA") == name {
				dir := filepath.Join(t.TempDir(), "copy")
				copyStore(t, c.fill(t), dir)
				pack(t, dir, folder)
				must(t, os.WriteFile(want, read(dir), 0o644))
			}
			text, err := os.ReadFile(want)
			must(t, err)
			dir := unpack(t, folder)
			if got := read(dir); !bytes.Equal(got, text) {
				t.Errorf("it reads otherwise than it did: %s", firstDifference(string(text), string(got)))
			}
		})
	}
}

// journalSample is a store with the first journal.
func journalSample(t *testing.T) (dir string) {
	b := &bench{TB: t, dir: sample(t, 16)}
	b.Store = openQuietly(t, b.dir)
	b.receive(event("743be593-7789-4b74-8078-cbcc8894c586", "vip", true, 27, func(e *domain.Event) { e.MessageID = "personas_2DGdYrXrV8dVWmzcgsKuUsxvrX2" }))
	_, err := b.CloseAudience(WithOperator(t.Context(), "olga"), "vip", true, false, nil)
	must(t, err)
	must(t, b.Close())
	return b.dir
}

func journalLines(b *bench) any {
	lines := map[string][]domain.JournalInfo{}
	for _, user := range []string{"user-0004", "user-0005", "743be593-7789-4b74-8078-cbcc8894c586"} {
		lines[user] = b.journalOf(user)
	}
	return lines
}

// selectionsSample is a store with users who are not told of: for lack of consent, by a rollout, a pause and a holdout, and
// with users deleted at MoEngage, of whom one came back.
func selectionsSample(t *testing.T) (dir string) {
	r := deleting(3)
	r.Lists = map[string]domain.UserList{"pilot": domain.NewUserList([]string{"dan"})}
	part := func(key string, change func(p *domain.Policy)) {
		p := r.Defaults
		p.Send |= domain.SendCohort
		change(&p)
		r.Sections = append(r.Sections, domain.Section{Key: key, Policy: p})
	}
	part("asks", func(p *domain.Policy) { p.Consent = []string{"Marketing"} })
	part("few", func(p *domain.Policy) { p.Rollout = &domain.Rollout{Share: 1, List: "pilot"} })
	part("control", func(p *domain.Policy) { p.Rollout = &domain.Rollout{Share: 1, Holdout: 1} })
	b := open(t, r)
	given := func(categories ...string) func(*domain.Event) {
		return func(e *domain.Event) { e.Consent = &domain.Preferences{Given: categories} }
	}
	now := noon.Add(time.Hour)
	b.receive(event("ann", "asks", true, 0, given("Analytics", "Marketing")), event("bob", "asks", true, 1, given()), event("cid", "asks", true, 2, given("Marketing")),
		event("dan", "few", true, 3), event("eve", "few", true, 4), event("fay", "control", true, 5),
		event("gus", "vip", true, 6), event("hal", "vip", true, 7), event("ivy", "vip", true, 8), event("jon", "vip", true, 9))
	for range 9 { // the cohorts after the attributes
		for _, endpoint := range []domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
			o := everything(now)
			o.Endpoint = endpoint
			if f := b.takeFor(o); f != nil {
				b.settleAt(f, now, domain.Result{Verdict: domain.Delivered})
			}
		}
		now = now.Add(2 * time.Minute)
	}
	b.receive(event("cid", "asks", true, 10, given()))
	_, err := b.PauseComputation(t.Context(), "vip", domain.Pause{Since: noon, Why: "campaign freeze", By: "olga"})
	must(t, err)
	b.receive(event("kim", "vip", true, 11), deletion("gus", "del-1", 31), deletion("hal", "del-2", 32))
	o := onDeletes(now)
	o.MaxEvents = 1
	b.settleAt(b.takeFor(o), now, domain.Result{Verdict: domain.Delivered, Answer: domain.Answer{Status: 200, RequestID: "ZbPXtKFL"}})
	b.receive(event("gus", "gold", true, 40), deletion("ivy", "del-3", 33), deletion("jon", "del-4", 34))
	must(t, b.Close())
	return b.dir
}

func selectionLines(b *bench) any {
	type page struct {
		Memberships  []string `json:"memberships"`
		Consent      string   `json:"consent"`
		DeletedUntil string   `json:"deleted_until"`
		Changes      []string `json:"changes"`
	}
	users := map[string]any{}
	for _, id := range []string{"ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal", "ivy", "jon", "kim"} {
		u, err := b.User(id)
		must(b, err)
		p := page{DeletedUntil: u.DeletedUntil}
		for _, m := range u.Memberships {
			p.Memberships = append(p.Memberships, fmt.Sprintf("%s in %v, told %s, withheld %v: %s", m.Computation, m.In, m.Told, m.Withheld, m.NotTold))
		}
		if c := u.Consent; c != nil {
			p.Consent = fmt.Sprintf("%q since %s by %s, withheld %v", c.Given, c.Since, c.By, c.Withheld)
		}
		for _, ch := range slices.Concat(u.Pending, u.History) {
			p.Changes = append(p.Changes, fmt.Sprintf("%s %s %s %s %s %s", ch.ID, ch.State, ch.Kind, ch.Computation, ch.Value, ch.Reason))
		}
		users[id] = p
	}
	c, err := b.Counts()
	must(b, err)
	deletions, err := b.Deletions("")
	must(b, err)
	pauses, err := b.Pauses()
	must(b, err)
	lines := []string{}
	for _, d := range deletions {
		lines = append(lines, fmt.Sprintf("%s %s %q %s asked %s by %s (%s) %s closed %s %d %s final %s", d.ID, d.State, d.User, d.Hash, d.Asked, d.By, d.MessageID, d.Reason, d.Closed, d.Status, d.RequestID, d.Final))
	}
	return map[string]any{"users": users, "events": c.Events, "changes": c.Changes, "deletions": lines, "pauses": pauses, "journal": b.journalOf("cid")}
}

// deletionsSample is a store with users to be deleted at MoEngage: pending, in flight, parked and held, one of whom came
// back; with a scheduled backup that was proven; and with events and changes of a delivery that named its trace.
func deletionsSample(t *testing.T) (dir string) {
	b := open(t, deleting(4))
	traced := func(e *domain.Event) {
		e.Trace = domain.ParseTrace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	}
	now := noon.Add(time.Hour)
	b.receive(event("ann", "vip", true, 0), event("bob", "vip", true, 1), event("cid", "vip", true, 2), event("dan", "vip", true, 3), event("eve", "vip", true, 4))
	b.settleAt(b.takeFor(everything(now)), now, domain.Result{Verdict: domain.Delivered})
	b.receive(event("fay", "vip", true, 5, traced), event("gus", "vip", true, 6, traced), event("hal", "vip", true, 7))
	b.settleAt(b.takeFor(everything(now)), now, domain.Result{Verdict: domain.Refused, Reason: "unreachable", RetryAt: now.Add(time.Minute)})
	b.receive(deletion("ann", "del-1", 31), deletion("bob", "del-2", 32), deletion("cid", "del-3", 33), deletion("dan", "del-4", 34), deletion("eve", "del-5", 35))
	o := onDeletes(now)
	o.MaxEvents = 1
	b.settleAt(b.takeFor(o), now, domain.Result{Verdict: domain.Parked, Reason: "data_refused", Sentence: "as the test says"})
	b.receive(event("bob", "gold", true, 40, at(40), traced))
	must(t, b.SetGoodBackup(t.Context(), query.GoodBackup{File: "/var/backups/personasync-1.tar", Made: now, Proven: now.Add(time.Minute), Bytes: 123456, Users: 8, Took: time.Second}))
	b.takeFor(o)
	must(t, b.Close())
	return b.dir
}

func deletionLines(b *bench) any {
	deletions, err := b.Deletions("")
	must(b, err)
	lines := []string{}
	for _, d := range deletions {
		lines = append(lines, fmt.Sprintf("%s %s %q asked %s by %s (%s) %s", d.ID, d.State, d.User, d.Asked, d.By, d.MessageID, d.Reason))
	}
	changes := []string{}
	for _, user := range []string{"ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"} {
		u, err := b.User(user)
		must(b, err)
		for _, ch := range slices.Concat(u.Pending, u.History) {
			changes = append(changes, fmt.Sprintf("%s %s %s %s %s %s trace %q, waits %s", ch.ID, ch.State, ch.Kind, ch.Computation, ch.Value, ch.Reason, ch.Trace, ch.Wait))
		}
	}
	backup, err := b.GoodBackup()
	must(b, err)
	c, err := b.Counts()
	must(b, err)
	return map[string]any{"deletions": lines, "changes": changes, "backup": backup, "counts": c.Changes, "deletes": c.Deletions}
}
