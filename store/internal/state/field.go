package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"strings"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// A Field is the source of one attribute: an audience, a computed trait, one column of a SQL trait, or a forwarded
// trait. Fields are numbered in the order of their first events, and rows refer to them by number.
//
//	fields: number (4 bytes) -> frame( class, space, key, column, id, counters, last event, flags, window )
//
// The field of a space and key without a column is the computation itself. A forwarded trait belongs to no
// computation and has neither space nor key. A cohort, and an entry of a list, are fields beside the computation;
// see CohortColumn. It has a field for each part of its frame.
type Field struct {
	Number uint32
	Space  string
	Key    string
	Column string
	ID     string
	Class  domain.Class

	Members   uint64
	Entered   uint64
	Exited    uint64
	Held      uint64
	LastEvent time.Time // receipt of the newest event about it
	Flags     byte      // calls that brought its membership, as bits 1<<KeptIdentify and 1<<KeptTrack; FormerMark, GoneMark
	Exits     ExitWindow
	Withheld  uint64 // entries of f that are Withheld
	Rollout   uint64 // of Held, those that a rollout holds
	Paused    uint64 // of Held, those that a pause of the computation holds
}

// A target is a way of sending a membership that has a memory of its own: what the cohort, or the list, was last
// sent, and the change that is open. So each target is a field beside the computation, under a column that no SQL
// trait can have. Its entries hold no assertion. Its changes are collapsed, leased, parked, held and settled like
// those of an attribute.
//
//	the computation   assertions, and the attribute
//	"\x00cohort"      a cohort, on an endpoint of its own
//	"\x00list"        an entry of the list attribute, on the endpoint of attributes
const (
	targetMark   = "\x00"
	CohortColumn = targetMark + "cohort"
	ListColumn   = targetMark + "list"
)

// Marks in Field.Flags, beside the bits of the calls.
const (
	FormerMark = 1 << 7 // another field continues the computation
	GoneMark   = 1 << 6 // an operator removed it; it is found by number only
)

// Kind returns the kind of the changes that f keeps in its row.
func (f *Field) Kind() domain.Kind {
	switch {
	case f.forwarded():
		return domain.KindAttribute
	case f.Column == CohortColumn:
		return domain.KindCohort
	case f.Column == ListColumn:
		return domain.KindList
	}
	return domain.KindAttribute
}

// Endpoint returns the endpoint on which the changes of f leave.
func (f *Field) Endpoint() domain.Endpoint {
	if f.Kind() == domain.KindCohort {
		return domain.EndpointCohort
	}
	return domain.EndpointTransition
}

// SQLColumn returns the column of a SQL trait's row, "" when f is no such column.
func (f *Field) SQLColumn() string {
	if f.Kind() != domain.KindAttribute {
		return ""
	}
	return f.Column
}

// ColumnName returns a name of a column that cannot be taken for a target's.
func ColumnName(name string) string { return strings.TrimLeft(name, targetMark) }

// Former reports whether f is no computation of its own any more: another field continues it, or an operator removed
// it.
func (f *Field) Former() bool { return f.Flags&(FormerMark|GoneMark) != 0 }

// Gone reports whether an operator removed f. Its number stays taken, because rows and history refer to it.
func (f *Field) Gone() bool { return f.Flags&GoneMark != 0 }

// forwarded reports whether f is a trait that is sent along with an identify of a computation.
func (f *Field) forwarded() bool { return f.Key == "" }

// Audience reports whether f is a computation that has members.
func (f *Field) Audience() bool {
	return f.Column == "" && !f.forwarded() && f.Class != domain.ClassTrait && !f.Former()
}

// toldBy reports whether a policy sends f to MoEngage: the membership itself, or a target of it.
func (f *Field) toldBy(p *domain.Policy) bool {
	switch f.Kind() {
	case domain.KindCohort:
		return p.Send.Has(domain.SendCohort)
	case domain.KindList:
		return p.Send.Has(domain.SendList)
	}
	return p.SendsAttributes()
}

// ReadableBy reports whether a policy sends f in a way that can be read back from MoEngage.
func (f *Field) ReadableBy(p *domain.Policy) bool {
	return f.Kind() != domain.KindCohort && f.toldBy(p)
}

// Leave counts one member less, never below zero, because an earlier version could corrupt the counter.
func (f *Field) Leave() { f.Members -= min(f.Members, 1) }

// NoteCall notes by which call an assertion came, and reports whether that is new.
func (f *Field) NoteCall(sort int, call domain.Call) bool {
	if call == domain.CallUnknown || sort == KeptOne || f.Flags&(1<<sort) != 0 {
		return false
	}
	f.Flags |= 1 << sort
	return true
}

// Attribute returns the name in MoEngage that f is sent under.
func (f *Field) Attribute(p *domain.Policy) string {
	switch kind := f.Kind(); {
	case kind == domain.KindCohort:
		return cmp.Or(p.CohortName, f.Key)
	case kind == domain.KindList:
		return p.ListAttribute
	case f.Column != "":
		return f.Column
	case p.Attribute != "":
		return p.Attribute
	default:
		return f.Key
	}
}

// FieldName is the key of Registry.ByName.
type FieldName struct{ space, key, Column string }

func (f *Field) name() FieldName { return FieldName{f.Space, f.Key, f.Column} }

// SumHeld adds up the held changes of fields.
func SumHeld(fields []*Field) (held uint64) {
	for _, x := range fields {
		held += x.Held
	}
	return held
}

// fieldVersion 1 ended with the last event; 2 did not say which discarded window is not undone yet; 3 does not count
// the number withheld, 4 the number that a rollout holds, and 5 that of a pause. A version is written only where there is something of it, so that an
// older program reads the others.
const fieldVersion byte = 6

// encode appends the frame of f, sealed under its key.
func (f *Field) Encode(buf []byte) []byte {
	start := len(buf)
	buf = append(buf, fieldVersion-3, byte(f.Class))
	for _, s := range [...]string{f.Space, f.Key, f.Column, f.ID} {
		buf = wire.AppendString(buf, s)
	}
	for _, n := range [...]uint64{f.Members, f.Entered, f.Exited, f.Held} {
		buf = wire.AppendUint(buf, n)
	}
	buf = f.Exits.encode(append(wire.AppendTime(buf, f.LastEvent), f.Flags))
	if f.Withheld > 0 || f.Rollout > 0 || f.Paused > 0 {
		buf[start] = fieldVersion - 2
		buf = wire.AppendUint(buf, f.Withheld)
	}
	if f.Rollout > 0 || f.Paused > 0 {
		buf[start] = fieldVersion - 1
		buf = wire.AppendUint(buf, f.Rollout)
	}
	if f.Paused > 0 {
		buf[start] = fieldVersion
		buf = wire.AppendUint(buf, f.Paused)
	}
	return wire.SealKeyed(buf, start, FieldKey(f.Number))
}

// FieldKey is the key of a field by its number, and of a job by its.
func FieldKey(number uint32) []byte { return binary.BigEndian.AppendUint32(nil, number) }

// DecodeField reads a field of any version. It corrects counters that an earlier version could corrupt.
func DecodeField(number uint32, frame []byte) (*Field, error) {
	version := fieldVersion
	if len(frame) > 0 && frame[0] >= 1 && frame[0] < fieldVersion {
		version = frame[0]
	}
	r, err := wire.UnsealKeyed(frame, version, FieldKey(number))
	if err != nil {
		return nil, err
	}
	f := &Field{Number: number, Class: domain.Class(r.Byte())}
	f.Space, f.Key, f.Column, f.ID = r.Text(), r.Text(), r.Text(), r.Text()
	f.Members, f.Entered, f.Exited, f.Held = r.Uint(), r.Uint(), r.Uint(), r.Uint()
	f.LastEvent = r.Time()
	if f.Class == domain.ClassTrait || f.Members > math.MaxInt64 { // events of another class once counted past it
		f.Members = 0
	}
	if version > 1 {
		f.Flags, f.Exits = r.Byte(), readWatch(&r)
	}
	if f.Exits.Members > math.MaxInt64 { // likewise
		f.Exits.Members = f.Members
	}
	if version > 2 {
		w := &f.Exits
		if w.Undone = (RecordRange{r.Uint(), r.Uint()}); w.counts() {
			w.Until, w.Returning = 0, w.Until
		}
	}
	if version > 3 {
		f.Withheld = r.Uint()
	}
	if version > 4 {
		f.Rollout = r.Uint()
	}
	if version > 5 {
		f.Paused = r.Uint()
	}
	return f, r.Done()
}

// ExitWindow is the memory of the mass-exit guard for one audience.
//
// An audience that is edited, emptied or broken upstream sends thousands of exits at once, and each may start or
// stop a campaign. So its exits are counted in windows, one after the other by receipt. If more members left in one
// than the rules allow, the exits are held, the pending ones included, until an operator releases or discards them.
// Enters still leave, and cancel the held exit of the same user.
//
// The pending exits may be very many, so a sweep holds them in slices between transactions, in the order of the
// locator. Until it is done, the exits of a user that is read or leased are held first. The result is then the same
// whenever the sweep comes to them.
type ExitWindow struct {
	Since   time.Time // when the window began, by receipt; zero before the first
	Seq     uint64    // number of the record that it began with
	Members uint64    // the highest count in it
	Left    uint64    // members that left in it and have not come back
	Tripped time.Time // zero while exits may leave
	Until   uint64    // number of the record that tripped it
	Swept   []byte    // key of the locator at which the sweep continues; nil when there is none
	Undone  RecordRange

	// Returning is how many members of Undone are still to be readmitted. It only serves to compare Left with Members,
	// so it is zero once the guard has tripped. On disk it has the place of Until, which is zero before that.
	Returning uint64
}

// RecordRange is the records of a discarded window, from From up to before Until, while some of its users are not
// readmitted yet. The zero value is no window.
type RecordRange struct{ From, Until uint64 }

// Has reports whether a record is in the range.
func (r RecordRange) Has(seq uint64) bool { return seq >= r.From && seq < r.Until }

// counts reports whether Returning is kept.
func (w *ExitWindow) counts() bool { return w.Tripped.IsZero() && w.Undone != (RecordRange{}) }

func (w *ExitWindow) encode(buf []byte) []byte {
	buf = wire.AppendUint(wire.AppendTime(buf, w.Since), w.Seq)
	buf = wire.AppendUint(wire.AppendUint(buf, w.Members), w.Left)
	until := w.Until
	if w.counts() {
		until = w.Returning
	}
	buf = wire.AppendBytes(wire.AppendUint(wire.AppendTime(buf, w.Tripped), until), w.Swept)
	return wire.AppendUint(wire.AppendUint(buf, w.Undone.From), w.Undone.Until)
}

func readWatch(r *wire.Reader) (w ExitWindow) {
	w.Since, w.Seq = r.Time(), r.Uint()
	w.Members, w.Left = r.Uint(), r.Uint()
	w.Tripped, w.Until = r.Time(), r.Uint()
	if swept := r.Bytes(); len(swept) > 0 {
		w.Swept = bytes.Clone(swept)
	}
	return w
}

// HeldFor returns the counter of the held changes of a reason, nil where they are not counted apart.
func (f *Field) HeldFor(reason string) *uint64 {
	switch reason {
	case domain.ReasonRollout:
		return &f.Rollout
	case domain.ReasonPaused:
		return &f.Paused
	}
	return nil
}
