package query

import (
	"slices"
	"strings"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// JournalListing is a page of the journal in the making, over as many short reads as it takes. Of one user it follows their
// chain, from its newest entry for every page, because a change may have ended long after the transition that made it. Of
// an audience it reads everything backwards.
type JournalListing struct {
	filter domain.JournalFilter
	page   domain.JournalPage
	at     uint64 // number of the entry to go on with; 0 before the first read
	done   bool

	ended map[journalKey][]domain.JournalTold // changes of one user whose transition was not reached yet
}

// journalKey leads from a change to its transition.
type journalKey struct {
	seq        uint64
	field      uint32
	transition domain.Transition
}

// NewJournalListing begins the page that f asks for.
func NewJournalListing(f domain.JournalFilter) *JournalListing {
	if f.Limit <= 0 {
		f.Limit = DefaultLimit
	}
	return &JournalListing{filter: f, page: domain.JournalPage{Items: []domain.JournalInfo{}}}
}

// Done reports whether the page is there.
func (l *JournalListing) Done() bool { return l.done }

// Page returns the page.
func (l *JournalListing) Page() domain.JournalPage { return l.page }

// Read goes on with the page, for one read transaction over a limited number of entries. An unknown computation, and a user
// of whom nothing is known, are ErrNotFound; a key of several computations is an *AmbiguousError.
func (l *JournalListing) Read(v *Reader) error {
	return v.Read(func(tx *state.Tx) error {
		field, err := l.fieldOf(tx)
		if err != nil {
			return err
		}
		l.page.Off = !tx.State.Rules.Journal
		r := state.ReadJournal(tx)
		if l.filter.User != "" {
			return l.ofUser(tx, r, field)
		}
		l.ofAudience(tx, r, field)
		return nil
	})
}

// fieldOf returns the audience that the filter names, nil without one.
func (l *JournalListing) fieldOf(tx *state.Tx) (*state.Field, error) {
	if l.filter.Computation == "" {
		return nil, nil
	}
	f, err := tx.State.Registry.One(l.filter.Computation)
	if err == nil && f.Class == domain.ClassTrait {
		err = domain.ErrNoMembers
	}
	return f, err
}

func (l *JournalListing) ofUser(tx *state.Tx, r *state.JournalReader, f *state.Field) error {
	u := tx.User(l.filter.User)
	if l.ended == nil {
		if u.Index.Empty() && len(state.BlockNumbers(tx, u)) == 0 {
			return domain.ErrNotFound
		}
		l.begin(tx, u, r)
	}
	for n := 0; l.at != 0 && n < state.PageScan; n++ {
		e := r.At(l.at)
		if e == nil { // pruned, or lost by damage
			l.at = 0
			break
		}
		l.at = e.Prev
		key := journalKey{e.Seq, computationOf(tx, e.Field), e.Transition}
		if e.Outcome() {
			id := domain.ID{Epoch: tx.State.Epochs.Of(e.Seq), Seq: e.Seq, Slot: e.Slot}
			l.ended[key] = append(l.ended[key], domain.JournalTold{
				Change: id.String(), Kind: e.Kind.String(), State: e.State.String(), At: domain.Timestamp(e.At), Reason: e.Reason,
			})
			continue
		}
		told := l.ended[key]
		delete(l.ended, key)
		if e.User != u.ID || f != nil && e.Field != f.Number || !l.wants(e) {
			continue
		}
		if l.add(tx, e); l.done {
			return nil
		}
		slices.SortStableFunc(told, func(a, b domain.JournalTold) int { return strings.Compare(a.Kind, b.Kind) })
		l.page.Items[len(l.page.Items)-1].Told = told
	}
	l.done = l.at == 0
	return nil
}

// begin notes the changes of a user that have not ended, and where their chain begins.
func (l *JournalListing) begin(tx *state.Tx, u *state.User, r *state.JournalReader) {
	l.ended, l.at = make(map[journalKey][]domain.JournalTold), u.Index.Journal
	l.page.From = oldestEntry(tx, r)
	list, _ := waiting(tx, u, WaitingShown)
	for _, ch := range list {
		if ch.Kind == domain.KindReceived {
			continue
		}
		c := ofUser(ch)
		explainWait(tx, u, ch, list, &c)
		key := journalKey{ch.ID.Seq, computationOf(tx, ch.Field), ch.Transition}
		l.ended[key] = append(l.ended[key], domain.JournalTold{Change: c.ID, Kind: c.Kind, State: c.State, Reason: c.Reason, Open: &c})
	}
}

// computationOf returns the number of the computation that a field is of.
func computationOf(tx *state.Tx, number uint32) uint32 {
	if f := tx.FieldOf(number); f != nil {
		return tx.State.Registry.ComputationOf(f).Number
	}
	return number
}

func (l *JournalListing) ofAudience(tx *state.Tx, r *state.JournalReader, f *state.Field) {
	first := oldestNumber(tx)
	if l.at == 0 {
		l.page.From = oldestEntry(tx, r)
		if l.at = tx.State.Journal.Last; l.filter.Before > 0 {
			l.at = min(l.at, l.filter.Before-1)
		}
	}
	for n := 0; n < state.PageScan && l.at >= first && l.at > 0; n++ {
		e := r.At(l.at)
		l.at--
		if e == nil || e.Outcome() {
			continue
		}
		if !l.filter.Since.IsZero() && e.At.Before(l.filter.Since.Add(-state.Day)) { // a day: the clock may have been set back
			l.at = 0
			break
		}
		if !e.Moved || f != nil && e.Field != f.Number || !l.wants(e) {
			continue
		}
		if l.add(tx, e); l.done {
			return
		}
	}
	l.done = l.at < first || l.at == 0
}

// wants reports whether a transition passes the filter, but for its user and computation.
func (l *JournalListing) wants(e *state.JournalEntry) bool {
	f := &l.filter
	return (f.Before == 0 || e.Number < f.Before) && (f.Since.IsZero() || !e.At.Before(f.Since)) && (f.Until.IsZero() || e.At.Before(f.Until))
}

// add adds a transition to the page. The first one beyond the limit says where the next page begins.
func (l *JournalListing) add(tx *state.Tx, e *state.JournalEntry) {
	if len(l.page.Items) == l.filter.Limit {
		l.page.Next, l.done = e.Number+1, true
		return
	}
	info := domain.JournalInfo{
		User: e.User, Transition: e.Transition.String(), Moved: e.Moved, Cause: e.Cause.String(),
		EventTime: domain.Timestamp(e.EventTime), ReceivedAt: domain.Timestamp(e.At), Record: e.Seq,
	}
	if e.Transition == 0 {
		info.Transition = "event"
	}
	if info.By = e.Text; e.Cause == domain.CauseEvent || e.Cause == domain.CauseConsent {
		info.MessageID, info.By = e.Text, ""
	}
	if f := tx.FieldOf(e.Field); f != nil {
		info.Computation, info.ComputationID = f.Key, f.ID
	}
	l.page.Items = append(l.page.Items, info)
}

// oldestNumber returns the number from which on entries may be kept.
func oldestNumber(tx *state.Tx) uint64 {
	bucket := tx.Bucket(state.BucketJournal)
	if bucket == nil {
		return 1
	}
	k, _ := bucket.Cursor().First()
	return state.FirstOfChunk(k)
}

// oldestEntry returns the time of the oldest entry that can be read, "" if there is none near the beginning.
func oldestEntry(tx *state.Tx, r *state.JournalReader) string {
	for n, i := oldestNumber(tx), 0; i < state.PageScan && n+uint64(i) <= tx.State.Journal.Last; i++ {
		if e := r.At(n + uint64(i)); e != nil {
			return domain.Timestamp(e.At)
		}
	}
	return ""
}
