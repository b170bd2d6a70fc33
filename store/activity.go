package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/wal"
)

// The trail is what happened, a line for each event that was applied and each change that is over or was
// parked. It is read out of what is there anyway: the inbox, the history and the parked. One thing these do
// not know, what an event came to, is kept beside: a byte for each record of the inbox.

// ActivityEntry is one line of the trail; its JSON names are the contract's.
type ActivityEntry struct {
	At          string   `json:"at"`
	What        string   `json:"what"`  // accepted, refused, sent, parked, superseded, cancelled, dropped, expired
	State       string   `json:"state"` // of the change; empty for an event
	Kind        string   `json:"kind"`  // of the change; empty for an event
	User        string   `json:"user"`
	Computation string   `json:"computation"`
	Transition  string   `json:"transition"`
	ID          string   `json:"id"`              // of the change, or of the parked event
	Count       uint64   `json:"count,omitempty"` // of requests refused, if the line stands for several
	Reason      string   `json:"reason"`          // what the event came to, or why the change ended so
	Changes     []string `json:"changes"`         // that an event made, as long as they are remembered
	MessageID   string   `json:"message_id"`
	TimeSource  string   `json:"event_time_source,omitempty"` // of an event with a time that cannot be read or believed: see TimeSource
	LeftOut     []string `json:"left_out,omitempty"`          // names of the event's values that can be neither kept nor sent
	Attempts    int      `json:"attempts"`

	at time.Time
}

// ActivityFilter narrows the trail. The zero value is its newest lines.
type ActivityFilter struct {
	User        string
	Computation string // key or id
	Limit       int    // 0: 100
	Cursor      string // as Activity returned it: what happened since; "" for the newest lines
}

// Activity is a part of the trail, in the order in which it happened.
type Activity struct {
	Items   []ActivityEntry `json:"items"`
	Next    string          `json:"next"`    // cursor of what happens from now on
	More    bool            `json:"more"`    // there is more behind Next already
	Skipped uint64          `json:"skipped"` // that happened faster than anybody reads, and are left out
}

const (
	// activityScan bounds what one look takes from each source.
	activityScan = 1000
	// activityBehind is how far behind a reader may be: beyond, nobody could read it anyway.
	activityBehind = 20_000
)

// activityCursor says how far a reader has come in each source.
type activityCursor struct{ record, closed, parking, refusal uint64 }

func (c activityCursor) String() string {
	var b []byte
	for _, n := range [...]uint64{c.record, c.closed, c.parking, c.refusal} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return hex.EncodeToString(b)
}

func parseActivityCursor(s string) (c activityCursor, err error) {
	raw, err := hex.DecodeString(s)
	if err == nil && len(raw) == 24 { // of an older program, which knew no refusals
		raw = append(raw, numberKey(0)...)
	}
	if err != nil || len(raw) != 32 {
		return c, ErrBadCursor
	}
	return activityCursor{number(raw[:8]), number(raw[8:16]), number(raw[16:24]), number(raw[24:])}, nil
}

// Activity returns the newest lines, or what happened since a cursor.
func (v *reader) Activity(f ActivityFilter) (t Activity, err error) {
	if f.Limit <= 0 {
		f.Limit = DefaultLimit
	}
	r := &activityReader{v: v, filter: f, first: f.Cursor == ""}
	if !r.first {
		if r.from, err = parseActivityCursor(f.Cursor); err != nil {
			return t, err
		}
	}
	parkings, refusals := v.parkings.number(), v.refused.number()
	if err := v.read(r.begin); err != nil {
		return t, err
	}
	if err := r.records(); err != nil {
		return t, err
	}
	if err := v.read(r.changes); err != nil {
		return t, err
	}
	if !r.first {
		r.parkings()
		r.refusals()
	} else {
		r.to.parking, r.to.refusal = parkings, refusals
	}
	slices.SortStableFunc(r.lines, func(a, b ActivityEntry) int { return a.at.Compare(b.at) })
	if r.first {
		r.lines = r.lines[max(0, len(r.lines)-f.Limit):]
	}
	return Activity{Items: r.lines, Next: r.to.String(), More: r.more, Skipped: r.skipped}, nil
}

// activityReader is a look at the trail in progress.
type activityReader struct {
	v        *reader
	filter   ActivityFilter
	first    bool           // the newest lines are wanted, not what is new
	from, to activityCursor // behind which to begin, and how far it came
	applied  uint64
	lines    []ActivityEntry
	more     bool
	skipped  uint64
	verdicts verdicts
	epochs   epochs
}

// begin finds where to go on. Whoever is too far behind is told how much is left out; a cursor of a
// store that was restored since begins anew.
func (r *activityReader) begin(b *batch) error {
	r.applied = b.st.applied
	r.epochs = b.st.epochs
	r.verdicts = readVerdicts(b.tx.Bucket(bucketVerdicts), r.applied)
	scan := uint64(activityScan)
	if !r.first {
		scan = activityBehind
	}
	for _, at := range [...]struct {
		from *uint64
		last uint64
	}{{&r.from.record, b.st.applied}, {&r.from.closed, b.st.closed}} {
		if r.first || *at.from > at.last {
			*at.from = at.last - min(at.last, scan)
			continue
		}
		if at.last-*at.from > scan {
			r.skipped += at.last - scan - *at.from
			*at.from = at.last - scan
		}
	}
	r.to = r.from
	return nil
}

// records adds the events that were applied.
func (r *activityReader) records() error {
	for n := 0; r.to.record < r.applied && n < activityScan; {
		list, err := r.v.inbox.Read(r.to.record+1, 256<<10)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			r.to.record = r.applied // retention took them
			return nil
		}
		for _, rec := range list {
			if rec.Seq > r.applied || n >= activityScan {
				break
			}
			n, r.to.record = n+1, rec.Seq
			r.event(rec)
		}
	}
	r.more = r.more || r.to.record < r.applied
	return nil
}

func (r *activityReader) event(rec wal.Record) {
	read, err := decodeRecord(rec.Seq, rec.Frame)
	if err != nil || read.event == nil {
		return
	}
	e, f := read.event, r.verdicts.of(rec.Seq)
	if f == domain.OutcomeParked {
		return // the parked say more of it
	}
	line := ActivityEntry{
		What: "accepted", User: cmp.Or(e.User.ID, e.Anonymous.ID, e.Email.ID), Computation: e.Key, Transition: eventTransition(e).String(),
		ID: domain.ID{Epoch: r.epochs.of(rec.Seq), Seq: rec.Seq}.String(), Reason: f.String(), Changes: []string{}, MessageID: e.MessageID,
		TimeSource: e.TimeSource.UnreadCode(), LeftOut: e.LeftOutNames(), at: e.Received,
	}
	r.add(line, e.ComputationID)
}

// eventTransition is what an event says, whatever it came to.
func eventTransition(e *domain.Event) domain.Transition {
	switch {
	case e.Class == domain.ClassNone:
		return 0
	case e.Class == domain.ClassTrait:
		return domain.TransitionValue
	case e.Flag == domain.FlagIn:
		return domain.TransitionEnter
	case e.Flag == domain.FlagOut:
		return domain.TransitionExit
	}
	return 0
}

func (r *activityReader) add(line ActivityEntry, computedBy string) {
	f := &r.filter
	if f.User != "" && f.User != line.User || f.Computation != "" && f.Computation != line.Computation && f.Computation != computedBy {
		return
	}
	line.At = domain.Timestamp(line.at)
	if line.Changes == nil {
		line.Changes = []string{}
	}
	r.lines = append(r.lines, line)
}

// changes adds what is closed, at the first look what is parked, and the changes that events made.
func (r *activityReader) changes(b *batch) error {
	c := b.history.Cursor()
	for k, frame := c.Seek(numberKey(r.from.closed + 1)); k != nil; k, frame = c.Next() {
		if number(k)-r.from.closed > activityScan {
			r.more = true
			break
		}
		r.to.closed = number(k)
		if ch, err := decodeChange(frame, b.st.epochs); err == nil {
			r.add(happened(ch), ch.ComputedBy)
		}
	}
	if r.first {
		r.newestParked(b)
		if err := r.refusedSoFar(b); err != nil {
			return err
		}
	}
	for i := range r.lines {
		if line := &r.lines[i]; line.What == "accepted" {
			line.Changes = made(b.locator, line.ID)
			line.ID = ""
		}
	}
	return nil
}

// newestParked adds what is parked, of those with the newest ids.
func (r *activityReader) newestParked(b *batch) {
	c, size := b.parked.Cursor(), 0
	k, frame := c.Last()
	for n := 0; k != nil && n < activityScan && size < pageBytes; k, frame = c.Prev() {
		n, size = n+1, size+len(frame)
		if ch, err := decodeChange(frame, b.st.epochs); err == nil {
			r.add(happened(ch), ch.ComputedBy)
		}
	}
}

// parkings adds what was parked since the cursor.
func (r *activityReader) parkings() {
	list, skipped := r.v.parkings.since(r.from.parking, &r.to.parking)
	r.skipped += skipped
	for _, ch := range list {
		r.add(happened(ch), ch.ComputedBy)
	}
}

// refusedSoFar adds a line for each kind of request that was refused, at the last of them.
func (r *activityReader) refusedSoFar(b *batch) error {
	list, _, err := r.v.refusals(b)
	for i := range list {
		r.refusal(&list[i])
	}
	return err
}

// refusals adds what was refused since the cursor.
func (r *activityReader) refusals() {
	for _, one := range r.v.refused.since(r.from.refusal, &r.to.refusal, time.Now()) {
		r.refusal(&one)
	}
}

func (r *activityReader) refusal(one *domain.Refusal) {
	if !one.Last.IsZero() { // else an older program counted it
		r.add(ActivityEntry{What: "refused", Reason: one.Sentence(), Count: one.Count, at: one.Last}, "")
	}
}

// happened is the line of a change that is closed or parked.
func happened(ch *stored) ActivityEntry {
	line := ActivityEntry{
		What: ch.State.String(), State: ch.State.String(), Kind: ch.Kind.String(), User: ch.User, Computation: ch.Computation,
		Transition: ch.Transition.String(), ID: ch.ID.String(), Reason: ch.Reason, MessageID: ch.MessageID, Attempts: ch.Attempts, at: ch.Closed,
	}
	switch {
	case ch.State == domain.StateDelivered:
		line.What, line.Reason = "sent", ""
	case ch.State == domain.StateSuperseded && !ch.Successor.IsZero():
		line.Reason = "by " + ch.Successor.String()
	case ch.State == domain.StateParked:
		line.at = ch.Received
		if ch.Answer.At.After(line.at) {
			line.at = ch.Answer.At
		}
	}
	return line
}

// made lists the changes that the record of id made.
func made(locator *bolt.Bucket, id string) []string {
	list := []string{}
	at, err := domain.ParseID(id)
	if err != nil || locator == nil {
		return list
	}
	prefix := idKey(at)[:8]
	c := locator.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && len(k) == 10 && len(list) < 100; k, _ = c.Next() {
		list = append(list, domain.ID{Epoch: at.Epoch, Seq: at.Seq, Slot: binary.BigEndian.Uint16(k[8:])}.String())
	}
	return list
}

// verdictsOf is how many records share a value of the bucket: 0 for no verdict, else the fate and one.
const verdictsOf = 1024

// verdicts are the outcomes of the records around one.
type verdicts struct {
	bucket map[uint64][]byte
}

// readVerdicts copies those of the records up to applied that a reader may still want.
func readVerdicts(bucket *bolt.Bucket, applied uint64) verdicts {
	v := verdicts{make(map[uint64][]byte)}
	if bucket == nil {
		return v
	}
	last := applied / verdictsOf
	for n := last - min(last, activityBehind/verdictsOf+1); n <= last; n++ {
		if value := bucket.Get(numberKey(n)); value != nil {
			v.bucket[n] = bytes.Clone(value)
		}
	}
	return v
}

func (v verdicts) of(record uint64) domain.Outcome {
	value := v.bucket[record/verdictsOf]
	if at := record % verdictsOf; at < uint64(len(value)) && value[at] > 0 {
		return domain.Outcome(value[at] - 1)
	}
	return domain.OutcomeUnknown
}

// verdict notes what a record came to; flushVerdicts writes it.
func (b *batch) verdict(record uint64, f domain.Outcome) {
	if gap := record - b.firstOutcome - uint64(len(b.outcomes)); gap > verdictsOf {
		b.flushVerdicts() // after a restore the numbers go on far away
	}
	if len(b.outcomes) == 0 {
		b.firstOutcome = record
	}
	for b.firstOutcome+uint64(len(b.outcomes)) < record {
		b.outcomes = append(b.outcomes, 0)
	}
	b.outcomes = append(b.outcomes, byte(f)+1)
}

func (b *batch) flushVerdicts() {
	bucket := b.tx.Bucket(bucketVerdicts)
	if bucket == nil || b.dry { // an older store on a disk that had no room for it: see addBuckets
		b.outcomes = b.outcomes[:0]
		return
	}
	for at := b.firstOutcome; len(b.outcomes) > 0; {
		n, within := at/verdictsOf, int(at%verdictsOf)
		some := b.outcomes[:min(len(b.outcomes), verdictsOf-within)]
		value := make([]byte, within, verdictsOf)
		copy(value, bucket.Get(numberKey(n)))
		b.put(bucket, numberKey(n), append(value, some...))
		b.outcomes, at = b.outcomes[len(some):], at+uint64(len(some))
	}
}

// pruneVerdicts lets go of those of records that the inbox does not keep any more.
func (b *batch) pruneVerdicts(first uint64) {
	bucket := b.tx.Bucket(bucketVerdicts)
	if bucket == nil {
		return
	}
	var gone [][]byte
	c := bucket.Cursor()
	for k, _ := c.First(); k != nil && len(gone) < pruneSlice && number(k)+1 <= first/verdictsOf; k, _ = c.Next() {
		gone = append(gone, bytes.Clone(k))
	}
	for _, k := range gone {
		b.remove(bucket, k)
	}
}

// parkings remembers what was parked lately, for those who follow: the parked are in the order of their
// ids. A nil one, of a stopped agent's files, remembers nothing. Its methods may be called concurrently.
type parkings struct {
	mu    sync.Mutex
	list  []*stored
	first uint64 // where this process began to count
	last  uint64 // number of the last of list
}

const parkingsKept = 2000

// newParkings begins to count where no process before could have come to, so that a cursor of one is older.
func newParkings(now time.Time) *parkings {
	return &parkings{first: uint64(now.UnixMicro()), last: uint64(now.UnixMicro())}
}

func (p *parkings) number() uint64 {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// merge adds what a transaction parked: all of it were so many, of which list has the first.
func (p *parkings) merge(list []*stored, all uint64) {
	if p == nil || len(list) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last += all
	p.list = append(p.list, list[max(0, len(list)-parkingsKept):]...)
	p.list = slices.Delete(p.list, 0, max(0, len(p.list)-parkingsKept))
}

// since returns what is behind a number, and of how many more it remembers nothing, and sets to to the last one.
func (p *parkings) since(from uint64, to *uint64) (list []*stored, skipped uint64) {
	if p == nil {
		return nil, 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	*to = p.last
	if from >= p.last {
		return nil, 0
	}
	list = slices.Clone(p.list[max(0, len(p.list)-int(min(p.last-from, parkingsKept))):])
	behind := p.last - max(from, p.first)
	return list, behind - min(behind, uint64(len(list)))
}

// parkedNow notes a parked change for who follows, without the bytes that it keeps.
func (b *batch) parkedNow(ch *stored) {
	if b.parkedAll++; b.dry || len(b.parkings) >= parkingsKept {
		return
	}
	b.parkings = append(b.parkings, &stored{Change: domain.Change{
		ID: ch.ID, Kind: ch.Kind, State: domain.StateParked, User: strings.Clone(ch.User), Computation: ch.Computation, ComputedBy: ch.ComputedBy,
		Transition: ch.Transition, Received: ch.Received, MessageID: ch.MessageID, Reason: ch.Reason, Attempts: ch.Attempts, Answer: domain.Answer{At: ch.Answer.At},
	}})
}
