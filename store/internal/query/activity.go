package query

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// ActivityEntry is one line of the trail; its JSON names are the contract's, which has one flat object.
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
	// ActivityScan bounds what one look takes from each source.
	ActivityScan = 1000
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
		raw = append(raw, state.NumberKey(0)...)
	}
	if err != nil || len(raw) != 32 {
		return c, ErrBadCursor
	}
	return activityCursor{state.Number(raw[:8]), state.Number(raw[8:16]), state.Number(raw[16:24]), state.Number(raw[24:])}, nil
}

// Activity returns the newest lines, or what happened since a cursor.
func (v *Reader) Activity(f ActivityFilter) (t Activity, err error) {
	if f.Limit <= 0 {
		f.Limit = DefaultLimit
	}
	r := &activityReader{v: v, filter: f, first: f.Cursor == ""}
	if !r.first {
		if r.from, err = parseActivityCursor(f.Cursor); err != nil {
			return t, err
		}
	}
	parkings, refusals := v.Parkings.Number(), v.Refused.Number()
	if err := v.Read(r.begin); err != nil {
		return t, err
	}
	if err := r.records(); err != nil {
		return t, err
	}
	if err := v.Read(r.changes); err != nil {
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
	v        *Reader
	filter   ActivityFilter
	first    bool           // the newest lines are wanted, not those since a cursor
	from, to activityCursor // behind which to begin, and how far it came
	applied  uint64
	lines    []ActivityEntry
	more     bool
	skipped  uint64
	verdicts state.Verdicts
	epochs   record.Epochs
}

// begin finds where to go on. A caller that is too far behind learns how many lines are left out. A cursor of a store
// that was restored since starts over.
func (r *activityReader) begin(tx *state.Tx) error {
	r.applied = tx.State.Applied
	r.epochs = tx.State.Epochs
	r.verdicts = state.ReadVerdicts(tx.Bucket(state.BucketVerdicts), r.applied)
	scan := uint64(ActivityScan)
	if !r.first {
		scan = state.ActivityBehind
	}
	for _, at := range [...]struct {
		from *uint64
		last uint64
	}{{&r.from.record, tx.State.Applied}, {&r.from.closed, tx.State.Closed}} {
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
	for n := 0; r.to.record < r.applied && n < ActivityScan; {
		list, err := r.v.Inbox.Read(r.to.record+1, 256<<10)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			r.to.record = r.applied // retention took them
			return nil
		}
		for _, rec := range list {
			if rec.Seq > r.applied || n >= ActivityScan {
				break
			}
			n, r.to.record = n+1, rec.Seq
			r.event(rec)
		}
	}
	r.more = r.more || r.to.record < r.applied
	return nil
}

func (r *activityReader) event(rec engine.Record) {
	read, err := record.DecodeRecord(rec.Seq, rec.Frame)
	if err != nil || read.Event == nil {
		return
	}
	e, f := read.Event, r.verdicts.Of(rec.Seq)
	if f == domain.OutcomeParked {
		return // the parked say more of it
	}
	line := ActivityEntry{
		What: "accepted", User: cmp.Or(e.User.ID, e.Anonymous.ID, e.Email.ID), Computation: e.Key, Transition: eventTransition(e).String(),
		ID: domain.ID{Epoch: r.epochs.Of(rec.Seq), Seq: rec.Seq}.String(), Reason: f.String(), Changes: []string{}, MessageID: e.MessageID,
		TimeSource: e.TimeSource.UnreadCode(), LeftOut: e.LeftOutNames(), at: e.Received,
	}
	if e.IsConsentUpdate() {
		line.Kind = "consent"
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

// changes adds closed changes, on the first call the parked ones, and the changes that events made.
func (r *activityReader) changes(tx *state.Tx) error {
	c := tx.History.Cursor()
	for k, frame := c.Seek(state.NumberKey(r.from.closed + 1)); k != nil; k, frame = c.Next() {
		if state.Number(k)-r.from.closed > ActivityScan {
			r.more = true
			break
		}
		r.to.closed = state.Number(k)
		if ch, err := state.DecodeChange(frame, tx.State.Epochs); err == nil {
			r.add(happened(ch), ch.ComputedBy)
		}
	}
	if r.first {
		r.newestParked(tx)
		if err := r.refusedSoFar(tx); err != nil {
			return err
		}
	}
	for i := range r.lines {
		if line := &r.lines[i]; line.What == "accepted" {
			line.Changes = made(tx.Locator, line.ID)
			line.ID = ""
		}
	}
	return nil
}

// newestParked adds the parked changes with the newest ids.
func (r *activityReader) newestParked(tx *state.Tx) {
	c, size := tx.Parked.Cursor(), 0
	k, frame := c.Last()
	for n := 0; k != nil && n < ActivityScan && size < state.PageBytes; k, frame = c.Prev() {
		n, size = n+1, size+len(frame)
		if ch, err := state.DecodeChange(frame, tx.State.Epochs); err == nil {
			r.add(happened(ch), ch.ComputedBy)
		}
	}
}

// parkings adds the changes parked since the cursor.
func (r *activityReader) parkings() {
	list, skipped := r.v.Parkings.Since(r.from.parking, &r.to.parking)
	r.skipped += skipped
	for _, ch := range list {
		r.add(happened(ch), ch.ComputedBy)
	}
}

// refusedSoFar adds a line for each kind of request that was refused, at the last of them.
func (r *activityReader) refusedSoFar(tx *state.Tx) error {
	list, _, err := r.v.refusals(tx)
	for i := range list {
		r.refusal(&list[i])
	}
	return err
}

// refusals adds the requests refused since the cursor.
func (r *activityReader) refusals() {
	for _, one := range r.v.Refused.Since(r.from.refusal, &r.to.refusal, time.Now()) {
		r.refusal(&one)
	}
}

func (r *activityReader) refusal(one *domain.Refusal) {
	if !one.Last.IsZero() { // else an older program counted it
		r.add(ActivityEntry{What: "refused", Reason: one.Sentence(), Count: one.Count, at: one.Last}, "")
	}
}

// happened is the line of a change that is closed or parked.
func happened(ch *state.Stored) ActivityEntry {
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
		line.at = domain.Later(ch.Received, ch.Answer.At)
	}
	return line
}

// made lists the changes that the record of id made.
func made(locator engine.Bucket, id string) []string {
	list := []string{}
	at, err := domain.ParseID(id)
	if err != nil || locator == nil {
		return list
	}
	prefix := state.IDKey(at)[:8]
	c := locator.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && len(k) == 10 && len(list) < 100; k, _ = c.Next() {
		list = append(list, domain.ID{Epoch: at.Epoch, Seq: at.Seq, Slot: binary.BigEndian.Uint16(k[8:])}.String())
	}
	return list
}
