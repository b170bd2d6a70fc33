package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// View answers questions about the state. It reads and never changes anything. Every method is a few
// short read transactions, so that no writer waits for a reader; a page of a listing is consistent in
// itself. All methods may be called concurrently.
type View struct {
	db    *bolt.DB
	inbox *inbox
}

// OpenReadOnly opens the files of a stopped agent for inspection. It answers ErrNoData when there is
// no store in dir, and ErrInUse when an agent holds it.
func OpenReadOnly(dir string) (*View, error) {
	path := filepath.Join(dir, stateFile)
	found, err := exists(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("open the data directory: %w", err)
	}
	if err != nil || !found {
		return nil, errors.Join(ErrNoData, err)
	}
	db, err := openBolt(path, 0, true)
	if err != nil {
		return nil, err
	}
	epoch, err := fileEpoch(db)
	if err != nil {
		db.Close()
		return nil, err
	}
	segments, err := openSegments(dir, epoch, true)
	if err != nil {
		db.Close()
		return nil, err
	}
	return &View{db: db, inbox: &inbox{epoch: epoch, segments: segments}}, nil
}

// Close ends a read-only view.
func (v *View) Close() error {
	closeSegments(v.inbox.segments)
	return v.db.Close()
}

// look runs one read transaction.
func (v *View) look(f func(tx *bolt.Tx) error) error { return v.db.View(f) }

// Counts returns the ledgers and gauges.
func (v *View) Counts() (c Counts, err error) {
	last := v.inbox.last()
	err = v.look(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		l := ledger{}
		if frame := meta.Get(metaLedger); frame != nil {
			if l, err = decodeLedger(frame); err != nil {
				return err
			}
		}
		c = Counts{Rejected: l.rejected, Users: l.users, Events: l.events, Changes: l.changes}
		if applied := number(meta.Get(metaApplied)); last > applied {
			c.Unapplied = last - applied
		}
		c.Received = l.events.Accepted + c.Unapplied
		if c.OldestPending, err = oldest(tx); err != nil {
			return err
		}
		return tx.Bucket(bucketFields).ForEach(func(k, frame []byte) error {
			f, err := decodeField(binary.BigEndian.Uint32(k), frame)
			if err == nil && f.column == "" && f.class != ClassTrait {
				c.Audiences++
			}
			return err
		})
	})
	return c, err
}

// oldest returns the receipt of the first change in the outbox, which is in order of creation.
func oldest(tx *bolt.Tx) (time.Time, error) {
	k, frame := tx.Bucket(bucketOutbox).Cursor().First()
	if k == nil {
		return time.Time{}, nil
	}
	ch, err := decodeChange(ID{}, frame)
	if err != nil {
		return time.Time{}, fmt.Errorf("the oldest pending change: %w", err)
	}
	return ch.Received, nil
}

// places maps a state to the bucket that holds it.
func place(s State) []byte {
	switch s {
	case StatePending:
		return bucketOutbox
	case StateHeld:
		return bucketHeld
	case StateParked:
		return bucketParked
	default:
		return bucketHistory
	}
}

// pageScan bounds how many changes one transaction of a filtered listing looks at.
const pageScan = 2000

// DefaultLimit is how many lines a listing has unless told otherwise.
const DefaultLimit = 100

// Changes lists changes by id, oldest first. more says that the listing goes on behind the last one.
func (v *View) Changes(f OutboxFilter) (page []ChangeInfo, more bool, err error) {
	if f.State == 0 {
		f.State = StatePending
	}
	if f.Limit <= 0 {
		f.Limit = DefaultLimit
	}
	for cursor := f.After; ; {
		var done bool
		done, err = v.scan(f, &cursor, &page)
		if err != nil {
			return nil, false, err
		}
		if len(page) > f.Limit {
			return page[:f.Limit], true, nil
		}
		if done {
			return page, false, nil
		}
	}
}

// scan looks at one slice of a listing, and moves the cursor behind it.
func (v *View) scan(f OutboxFilter, cursor *ID, page *[]ChangeInfo) (done bool, err error) {
	err = v.look(func(tx *bolt.Tx) error {
		epoch := epochOf(tx)
		c := tx.Bucket(place(f.State)).Cursor()
		k, frame := c.First()
		if !cursor.IsZero() {
			if k, frame = c.Seek(idKey(*cursor)); k != nil && bytes.Equal(k, idKey(*cursor)) {
				k, frame = c.Next()
			}
		}
		for n := 0; k != nil && n < pageScan; k, frame = c.Next() {
			n++
			*cursor = idFromKey(k, epoch)
			ch, err := decodeChange(*cursor, frame)
			if err != nil {
				return fmt.Errorf("change %s: %w", *cursor, err)
			}
			if f.matches(ch) {
				*page = append(*page, ch.Describe())
			}
			if len(*page) > f.Limit {
				return nil
			}
		}
		done = k == nil
		return nil
	})
	return done, err
}

func (f *OutboxFilter) matches(ch *stored) bool {
	return ch.State == f.State &&
		(f.User == "" || f.User == ch.User) &&
		(f.Computation == "" || f.Computation == ch.Computation || f.Computation == ch.ComputedBy)
}

func epochOf(tx *bolt.Tx) uint32 {
	return binary.BigEndian.Uint32(tx.Bucket(bucketMeta).Get(metaEpoch))
}

// Change returns one change, wherever it is, and the raw event that caused it while that is kept.
func (v *View) Change(id ID) (c *Change, raw []byte, err error) {
	err = v.look(func(tx *bolt.Tx) error {
		if epochOf(tx) != id.Epoch {
			return ErrNotFound
		}
		ch, err := findChange(tx, id)
		if err != nil {
			return err
		}
		c = &ch.Change
		if ch.Kind == KindReceived {
			if rec, err := decodeRecord(id.Seq, ch.raw); err == nil && rec.event != nil {
				raw = rec.event.Raw
			}
		}
		return nil
	})
	if err != nil || raw != nil {
		return c, raw, err
	}
	return c, v.rawEvent(id.Seq), nil
}

func findChange(tx *bolt.Tx, id ID) (*stored, error) {
	for _, name := range [][]byte{bucketOutbox, bucketParked, bucketHeld, bucketHistory} {
		if frame := tx.Bucket(name).Get(idKey(id)); frame != nil {
			return decodeChange(id, frame)
		}
	}
	return nil, ErrNotFound
}

// rawEvent returns a received event's own bytes, or nil when they are gone.
func (v *View) rawEvent(seq uint64) []byte {
	records, err := v.inbox.read(seq, 1)
	if err != nil || len(records) == 0 || records[0].seq != seq {
		return nil
	}
	rec, err := decodeRecord(seq, records[0].frame)
	if err != nil || rec.event == nil {
		return nil
	}
	return rec.event.Raw
}

// Stats groups what waits, is held or is parked, by state, kind, computation and reason.
func (v *View) Stats() ([]StatLine, error) {
	counts := make(map[StatLine]uint64)
	for _, s := range []State{StatePending, StateHeld, StateParked} {
		cursor, done := ID{}, false
		for !done {
			err := v.look(func(tx *bolt.Tx) error {
				c := tx.Bucket(place(s)).Cursor()
				k, frame := c.First()
				if !cursor.IsZero() {
					if k, frame = c.Seek(idKey(cursor)); k != nil && bytes.Equal(k, idKey(cursor)) {
						k, frame = c.Next()
					}
				}
				for n := 0; k != nil && n < pageScan; k, frame = c.Next() {
					n++
					cursor = idFromKey(k, epochOf(tx))
					ch, err := decodeChange(cursor, frame)
					if err != nil {
						return fmt.Errorf("change %s: %w", cursor, err)
					}
					counts[StatLine{State: s.String(), Kind: ch.Kind.String(), Computation: ch.Computation, Reason: ch.Reason}]++
				}
				done = k == nil
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	lines := make([]StatLine, 0, len(counts))
	for line, n := range counts {
		line.Count = n
		lines = append(lines, line)
	}
	slices.SortFunc(lines, func(a, b StatLine) int {
		return strings.Compare(a.State+"\x00"+a.Kind+"\x00"+a.Computation+"\x00"+a.Reason, b.State+"\x00"+b.Kind+"\x00"+b.Computation+"\x00"+b.Reason)
	})
	return lines, nil
}

// Computations lists every computation seen, by key.
func (v *View) Computations() (list []ComputationInfo, err error) {
	err = v.look(func(tx *bolt.Tx) error {
		st, err := loadState(tx)
		if err != nil {
			return err
		}
		for _, f := range st.registry.fields {
			if f.column == "" {
				list = append(list, ComputationInfo{
					Key: f.key, ID: f.id, Space: f.space, Class: f.class.String(),
					Members: f.members, Entered: f.entered, Exited: f.exited, Held: f.held, LastEvent: timestamp(f.lastEvent),
				})
			}
		}
		return nil
	})
	slices.SortStableFunc(list, func(a, b ComputationInfo) int { return strings.Compare(a.Key, b.Key) })
	return list, err
}

// Members lists the members of one computation; after is the user behind whom to go on, "" for the
// first page. An unknown key is ErrNotFound; an ambiguous one is an *AmbiguousError.
func (v *View) Members(key, after string, limit int) (page []MemberInfo, more bool, err error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	var from []byte
	if after != "" {
		from = rowKey(userKey(after), blockHead)
	}
	for done := false; !done && len(page) <= limit; {
		err = v.look(func(tx *bolt.Tx) error {
			from, page, err = scanMembers(tx, key, from, page, limit)
			done = from == nil
			return err
		})
		if err != nil {
			return nil, false, err
		}
	}
	if len(page) > limit {
		return page[:limit], true, nil
	}
	return page, false, nil
}

// scanMembers looks at one slice of the rows, and returns where to go on, nil at the end.
func scanMembers(tx *bolt.Tx, key string, from []byte, page []MemberInfo, limit int) ([]byte, []MemberInfo, error) {
	st, err := loadState(tx)
	if err != nil {
		return nil, nil, err
	}
	f, err := st.registry.one(key)
	if err != nil {
		return nil, nil, err
	}
	c := tx.Bucket(bucketRows).Cursor()
	k, frame := c.Seek(from)
	for n := 0; k != nil; k, frame = c.Next() {
		if n++; n > pageScan || len(page) > limit {
			return bytes.Clone(k), page, nil
		}
		id, rest, ok := userOf(k)
		if !ok || len(rest) != 2 || binary.BigEndian.Uint16(rest) != uint16(f.number/blockSize) {
			continue
		}
		row, err := decodeBlock(binary.BigEndian.Uint16(rest), frame, st.epoch)
		if err != nil {
			continue // set aside when next written; doctor counts it
		}
		if e := row.entries[uint8(f.number%blockSize)]; e != nil && f.class != ClassTrait && e.newest().in() {
			page = append(page, MemberInfo{User: id, Since: timestamp(time.Unix(0, e.newest().since))})
		}
	}
	return nil, page, nil
}

// one returns the only computation that key names.
func (r *registry) one(key string) (*field, error) {
	switch known := r.computations(key); len(known) {
	case 0:
		return nil, ErrNotFound
	case 1:
		return known[0], nil
	default:
		e := &AmbiguousError{Key: key}
		for _, f := range known {
			e.IDs = append(e.IDs, f.id)
		}
		return nil, e
	}
}

// historyShown bounds the history on a user's page.
const historyShown = 50

// User returns everything known of one user, or ErrNotFound.
func (v *View) User(id string) (info *UserInfo, err error) {
	err = v.look(func(tx *bolt.Tx) error {
		st, err := loadState(tx)
		if err != nil {
			return err
		}
		b := newBatch(tx, st, discard)
		u := b.user(id)
		info = &UserInfo{User: id, Memberships: []MembershipInfo{}, Traits: map[string]json.RawMessage{}, Pending: []ChangeInfo{}, History: []ChangeInfo{}}
		b.showRows(u, info)
		b.showWaiting(u, info)
		b.showHistory(u, info)
		if len(info.Memberships)+len(info.Traits)+len(info.Pending)+len(info.History) == 0 {
			return ErrNotFound
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return info, nil
}

// discard is the log of a reader: a damaged row is reported by whoever writes.
var discard = slog.New(slog.DiscardHandler)

func (b *batch) showRows(u *user, info *UserInfo) {
	for _, n := range slices.Sorted(slices.Values(b.blockNumbers(u))) {
		row := b.block(u, n)
		for column := range uint8(blockSize) {
			e := row.entries[column]
			f := b.fieldOf(uint32(n)*blockSize + uint32(column))
			if e == nil || f == nil || e.newest() == nil {
				continue
			}
			s := e.newest()
			if f.class == ClassTrait {
				info.Traits[cmp.Or(f.column, f.key)] = bytes.Clone(s.value)
				continue
			}
			info.Memberships = append(info.Memberships, MembershipInfo{
				Computation: f.key, In: s.in(), Since: timestamp(time.Unix(0, s.since)),
				Delivered: e.told.is(s.value), Event: ID{b.st.epoch, s.seq, 0}.String(),
			})
		}
	}
}

func (b *batch) showWaiting(u *user, info *UserInfo) {
	show := func(from *bolt.Bucket, id ID) {
		if ch := b.fetch(from, id); !id.IsZero() && ch != nil {
			info.Pending = append(info.Pending, ch.Describe())
		}
	}
	for _, n := range b.blockNumbers(u) {
		for _, e := range b.block(u, n).entries {
			show(b.outbox, e.flying.id)
			show(b.placeOf(e.waiting.place), e.waiting.id)
		}
	}
	for _, key := range keysWithPrefix(b.queue, u.key) {
		id := idFromKey(key[len(u.key)+4:], b.st.epoch)
		switch binary.BigEndian.Uint32(key[len(u.key):]) {
		case laneParked:
			show(b.parked, id)
		case laneHeld:
			show(b.held, id)
		default:
			show(b.outbox, id)
		}
	}
	slices.SortFunc(info.Pending, func(x, y ChangeInfo) int {
		a, _ := ParseID(x.ID)
		b, _ := ParseID(y.ID)
		return bytes.Compare(idKey(a), idKey(b))
	})
}

func (b *batch) showHistory(u *user, info *UserInfo) {
	for id := u.head.history; !id.IsZero() && len(info.History) < historyShown; {
		ch := b.fetch(b.history, id)
		if ch == nil {
			return
		}
		info.History = append(info.History, ch.Describe())
		id = ch.prev
	}
}

// Preview returns the flight that Take would commit, and changes nothing.
func (v *View) Preview(o TakeOptions) (f *Flight, err error) {
	err = v.look(func(tx *bolt.Tx) error {
		st, err := loadState(tx)
		if err != nil {
			return err
		}
		f = newBatch(tx, st, discard).take(o)
		return nil
	})
	return f, err
}

// Sent returns the users and events that left in each second since the given time, for meters that
// must survive a restart. It reaches back two minutes.
func (v *View) Sent(since time.Time) (list []SentSecond, err error) {
	err = v.look(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketSent).Cursor()
		for k, val := c.Seek(numberKey(uint64(max(since.Unix(), 0)))); k != nil; k, val = c.Next() {
			if len(val) == 8 {
				list = append(list, SentSecond{At: time.Unix(int64(number(k)), 0), Users: int(binary.BigEndian.Uint32(val)), Events: int(binary.BigEndian.Uint32(val[4:]))})
			}
		}
		return nil
	})
	return list, err
}

// JobRuns lists the jobs' last runs, by name.
func (v *View) JobRuns() (runs []JobRun, err error) {
	err = v.look(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketRuns).ForEach(func(_, text []byte) error {
			var r JobRun
			if err := json.Unmarshal(text, &r); err != nil {
				return fmt.Errorf("the record of a job's run: %w", err)
			}
			runs = append(runs, r)
			return nil
		})
	})
	return runs, err
}

// Describe turns a change into its line of a listing.
func (c *Change) Describe() ChangeInfo {
	info := ChangeInfo{
		ID: c.ID.String(), State: c.State.String(), Kind: c.Kind.String(), User: c.User, Computation: c.Computation,
		Transition: c.Transition.String(), Value: c.Value, EventTime: timestamp(c.EventTime), ReceivedAt: timestamp(c.Received),
		Attempts: c.Attempts, NextAttempt: timestamp(c.NextAttempt), Reason: c.Reason,
	}
	if info.Value == nil {
		info.Value = json.RawMessage("null")
	}
	return info
}

// timestamp renders a moment as every listing shows it: RFC 3339 in UTC, empty for the zero time.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
