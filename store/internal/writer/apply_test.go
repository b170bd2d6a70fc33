package writer

import (
	"context"
	"errors"
	"testing"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// scripted is an inbox whose answers a test sets. Zero values answer as the log does.
type scripted struct {
	Inbox
	next    uint64
	spans   bool
	records []engine.Record
	unread  error // of Read
	arrive  int64 // events that each look at Events finds more
	events  int64
	applied int64 // see OthersApplied
	silent  error // of Probe
}

func (s *scripted) Probe(ctx context.Context) error {
	if s.silent != nil {
		return s.silent
	}
	return s.Inbox.Probe(ctx)
}

func (s *scripted) Next() uint64 {
	if s.next != 0 {
		return s.next
	}
	return s.Inbox.Next()
}

func (s *scripted) Read(from uint64, most int) ([]engine.Record, error) {
	if s.records != nil || s.unread != nil {
		return s.records, s.unread
	}
	return s.Inbox.Read(from, most)
}

func (s *scripted) Spans(uint64) bool { return s.spans }

func (s *scripted) Events() int64 {
	if s.events += s.arrive; s.arrive > 0 {
		return s.events
	}
	return s.Inbox.Events()
}

func (s *scripted) OthersApplied(n int64) {
	s.applied += n
	s.Inbox.OthersApplied(n)
}

// enter returns an event that makes a user a member.
func enter(user string) *domain.Event {
	return &domain.Event{
		Received: noon, Time: noon, Call: domain.CallIdentify, User: domain.Identifier{ID: user}, MessageID: "m-" + user,
		Class: domain.ClassAudience, Space: "spa_1", Key: "vip", ComputationID: "aud_vip", Flag: domain.FlagIn, Raw: []byte(`{}`),
	}
}

// records returns frames under the numbers from 1 on.
func records(frames ...[]byte) (list []engine.Record) {
	for i, f := range frames {
		list = append(list, engine.Record{Seq: uint64(i + 1), Frame: f})
	}
	return list
}

func rulesFrame(t *testing.T) []byte {
	t.Helper()
	frame, err := record.AppendRules(nil, &domain.Rules{Defaults: domain.Policy{Send: domain.SendEvent, EnterEvent: "Audience Entered"}})
	must(t, err)
	return frame
}

// TestACorruptRecordKeepsNoOtherFromBeingApplied: it is parked, the records beside it are applied, and all of them are counted.
func TestACorruptRecordKeepsNoOtherFromBeingApplied(t *testing.T) {
	w := newWriter(t)
	corrupt := record.AppendEvent(nil, enter("bob"))
	corrupt[len(corrupt)/2]++
	in := &scripted{Inbox: w.inbox, next: 5, records: records(rulesFrame(t), record.AppendEvent(nil, enter("ann")), corrupt, record.AppendEvent(nil, enter("cid")))}
	w.inbox = in
	from := w.parkings.Number()
	must(t, w.Write(true))
	e := w.state.Ledger.Events
	if w.Applied() != 4 || e.Accepted != 3 || e.Parked != 1 || e.Transitions != 2 || w.state.Ledger.Changes.Pending != 2 {
		t.Errorf("applied up to %d: %+v, %+v", w.Applied(), e, w.state.Ledger.Changes)
	}
	if in.applied != 1 {
		t.Errorf("%d records that are no events are applied", in.applied)
	}
	if _, received := w.refused.List(); !received.Webhook.Equal(noon) {
		t.Errorf("the newest event is of %v", received)
	}
	if n := w.parkings.Number(); n != from+1 {
		t.Errorf("readers of what was parked are told of %d", n-from)
	}
}

// TestABatchEndsBeforeAHole: the records behind it are applied with the next batch, which begins with the hole.
func TestABatchEndsBeforeAHole(t *testing.T) {
	w := newWriter(t)
	list := records(rulesFrame(t), record.AppendEvent(nil, enter("ann")))
	list[1].Seq = 5
	in := &scripted{Inbox: w.inbox, next: 6, records: list}
	w.inbox = in
	must(t, w.Write(true))
	if w.Applied() != 1 || w.state.Ledger.Events.Accepted != 0 {
		t.Errorf("the first batch applies up to %d", w.Applied())
	}
	in.records = list[1:]
	must(t, w.Write(true))
	if e := w.state.Ledger.Events; w.Applied() != 5 || e.Lost != 3 || e.Transitions != 1 {
		t.Errorf("the second applies up to %d: %+v", w.Applied(), e)
	}
}

// TestAHoleIsDamageWhereAFileShouldHaveTheRecords: no check of the files has been there.
func TestAHoleIsDamageWhereAFileShouldHaveTheRecords(t *testing.T) {
	for name, tc := range map[string]struct {
		to, next uint64
		spans    bool
		checked  uint64
		lost     uint64
		damage   bool
	}{
		"files were removed":                    {to: 5, next: 9, lost: 4},
		"a file should have them":               {to: 5, next: 9, spans: true, damage: true},
		"a check has read that file":            {to: 5, next: 9, spans: true, checked: 1, lost: 4},
		"a restore moved the numbers on":        {to: record.RestoreJump + 1, next: record.RestoreJump + 9, spans: true},
		"one less is no restore":                {to: record.RestoreJump, next: record.RestoreJump + 9, spans: true, damage: true},
		"the newest file lacks all to its end":  {to: 9, next: 9, damage: true},
		"a number comes again, and was checked": {to: 0, next: 9, checked: 9, damage: true},
	} {
		w := newWriter(t)
		w.inbox, w.checked = &scripted{Inbox: w.inbox, next: tc.next, spans: tc.spans}, tc.checked
		var err error
		must(t, w.update(func(kv engine.Tx) error {
			err = w.passHole(state.NewTx(kv, w.state, w.log), tc.to)
			return nil
		}))
		if tc.damage != errors.Is(err, wire.ErrDamaged) || !tc.damage && (w.state.Applied != tc.to-1 || w.state.Ledger.Events.Lost != tc.lost) {
			t.Errorf("%s: %v, applied up to %d, %d lost", name, err, w.state.Applied, w.state.Ledger.Events.Lost)
		}
	}
}

// TestAnInboxThatCannotBeReadKeepsNoCommandBack, unless it is damaged.
func TestAnInboxThatCannotBeReadKeepsNoCommandBack(t *testing.T) {
	for _, tc := range []struct{ read, want error }{{errors.New("the disk does not answer"), nil}, {wire.ErrDamaged, wire.ErrDamaged}} {
		w := newWriter(t)
		w.inbox = &scripted{Inbox: w.inbox, next: 2, unread: tc.read}
		did, after := false, false
		c := &Command{Do: func(*state.Tx) error { did = true; return nil }, After: func(*state.Tx) { after = true }}
		if err := w.Write(true, c); !errors.Is(err, tc.want) || !did || after != (tc.want == nil) {
			t.Errorf("%v: %v, did %v, after %v", tc.read, err, did, after)
		}
		if !w.apply.unreadable || w.Applied() != 0 {
			t.Errorf("%v: unreadable %v, applied up to %d", tc.read, w.apply.unreadable, w.Applied())
		}
		w.inbox = w.inbox.(*scripted).Inbox
		if must(t, w.inbox.Append(t.Context(), record.AppendEvent(nil, enter("ann")))); w.Write(true) != nil || w.apply.unreadable || w.Applied() != 1 {
			t.Errorf("once it can be read: unreadable %v, applied up to %d", w.apply.unreadable, w.Applied())
		}
	}
}

// TestARowThatWasPassedOverIsNotedForTheNextStart, which then reads the files. The writer goes on.
func TestARowThatWasPassedOverIsNotedForTheNextStart(t *testing.T) {
	w, dir := newWriter(t), t.TempDir()
	marker, err := datadir.OpenShutdownMarker(dir)
	must(t, err)
	t.Cleanup(func() { marker.Close() })
	must(t, marker.Begin(true))
	w.damage = datadir.NewDamage(w.log, marker)
	for _, aside := range []bool{false, true} {
		must(t, w.Write(false, &Command{Do: func(tx *state.Tx) error { tx.Aside = aside; return nil }}))
		start, err := datadir.OpenShutdownMarker(dir)
		must(t, err)
		if noted := start.Last.IOError != ""; noted != aside {
			t.Errorf("passed over %v: noted %q", aside, start.Last.IOError)
		}
	}
	if w.damage.IsBroken() {
		t.Error("it ends the writer")
	}
}
