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

// A Field is what one attribute can be made of: an audience, a computed trait, one column of a SQL
// trait, or a forwarded trait. Fields are numbered as they are first seen, and rows speak of them by
// number.
//
//	fields: number (4 bytes) -> frame( class, space, key, column, id, counters, last event, heard, watch )
//
// A computation is the field of its space and key without a column. A forwarded trait belongs to no
// computation: it has neither space nor key. A cohort, and an entry of a list, are fields of their own
// beside the computation: see target.go.
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
	Heard     byte      // bit 1<<keptIdentify, 1<<keptTrack: calls that its membership came by; formerMark, goneMark
	Watch     ExitWindow
}

// A channel is a way of telling a membership that has a memory of its own: what the cohort, or the list,
// was last told, and what waits for it. So each is a field beside the computation's own, found by a
// column that no SQL trait has. Its entry in a user's row holds no Assertion, only what is told and
// what waits; everything that holds of an attribute change holds of its changes, too: they collapse to
// the net difference, are in one request at a time, and are parked, held and settled alike.
//
//	the computation   statements, and the attribute
//	"\x00cohort"      a cohort, on an endpoint of its own
//	"\x00list"        an entry of the list attribute, on the endpoint of attributes
const (
	targetMark   = "\x00"
	CohortColumn = targetMark + "cohort"
	ListColumn   = targetMark + "list"
)

// Marks in field.heard.
const (
	FormerMark = 1 << 7 // another field continues the computation
	GoneMark   = 1 << 6 // an operator removed it: nothing finds it any more
)

// Kind is what the changes of a field become that are kept in its row.
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

func (f *Field) Endpoint() domain.Endpoint {
	if f.Kind() == domain.KindCohort {
		return domain.EndpointCohort
	}
	return domain.EndpointTransition
}

// SQLColumn is the column of a SQL trait's row, "" when there is none.
func (f *Field) SQLColumn() string {
	if f.Kind() != domain.KindAttribute {
		return ""
	}
	return f.Column
}

// ColumnName keeps a column's name apart from those of targets.
func ColumnName(name string) string { return strings.TrimLeft(name, targetMark) }

// Former reports whether the computation that f was is no more, or is another field's.
func (f *Field) Former() bool { return f.Heard&(FormerMark|GoneMark) != 0 }

func (f *Field) Gone() bool { return f.Heard&GoneMark != 0 }

// forwarded reports whether f is a trait sent along with somebody else's identify.
func (f *Field) forwarded() bool { return f.Key == "" }

// Audience reports whether f is a computation that has members.
func (f *Field) Audience() bool {
	return f.Column == "" && !f.forwarded() && f.Class != domain.ClassTrait && !f.Former()
}

// toldBy reports whether a policy tells MoEngage what f holds: the membership itself, or a channel of it.
func (f *Field) toldBy(p *domain.Policy) bool {
	switch f.Kind() {
	case domain.KindCohort:
		return p.Send.Has(domain.SendCohort)
	case domain.KindList:
		return p.Send.Has(domain.SendList)
	}
	return p.SendsAttributes()
}

// ReadableBy reports whether a policy tells what f holds, so that it can be read back.
func (f *Field) ReadableBy(p *domain.Policy) bool {
	return f.Kind() != domain.KindCohort && f.toldBy(p)
}

// Leave counts a member less, never below none: an earlier version could damage the counter.
func (f *Field) Leave() { f.Members -= min(f.Members, 1) }

// Hear notes the call that a state was told by, and reports whether that is news.
func (f *Field) Hear(sort int, call domain.Call) bool {
	if call == domain.CallUnknown || sort == KeptOne || f.Heard&(1<<sort) != 0 {
		return false
	}
	f.Heard |= 1 << sort
	return true
}

// Attribute returns the name in MoEngage that f is told under.
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

type FieldName struct{ space, key, Column string }

func (f *Field) name() FieldName { return FieldName{f.Space, f.Key, f.Column} }

func SumHeld(fields []*Field) (held uint64) {
	for _, x := range fields {
		held += x.Held
	}
	return held
}

// fieldVersion 1 ended with the last event; 2 did not say which discarded window is not undone yet.
const fieldVersion byte = 3

func (f *Field) Encode(buf []byte) []byte {
	start := len(buf)
	buf = append(buf, fieldVersion, byte(f.Class))
	for _, s := range [...]string{f.Space, f.Key, f.Column, f.ID} {
		buf = wire.AppendString(buf, s)
	}
	for _, n := range [...]uint64{f.Members, f.Entered, f.Exited, f.Held} {
		buf = wire.AppendUint(buf, n)
	}
	buf = f.Watch.encode(append(wire.AppendTime(buf, f.LastEvent), f.Heard))
	return wire.SealKeyed(buf, start, FieldKey(f.Number))
}

func FieldKey(number uint32) []byte { return binary.BigEndian.AppendUint32(nil, number) }

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
		f.Heard, f.Watch = r.Byte(), readWatch(&r)
	}
	if f.Watch.Members > math.MaxInt64 { // likewise
		f.Watch.Members = f.Members
	}
	if version > 2 {
		f.Watch.Undone = RecordRange{r.Uint(), r.Uint()}
	}
	return f, r.Done()
}

// The guard. An audience edited, emptied or broken upstream sends thousands of exits at once, and each
// of them is a campaign stopped or started. So an audience is watched in windows, one after the other
// by receipt: when more of its members left in one than the rules allow, its exits are held, those
// that wait already included, until an operator releases or discards them. Enters go on, and cancel
// the held exit of the same user.
//
// Exits that waited when it tripped may be very many, so they are held some at a time, behind the
// batches, in the order of the locator (sweep). Until that is done, whoever is touched or taken is
// held first, so that when the sweep comes by makes no difference.

// ExitWindow is what the guard keeps of an audience.
type ExitWindow struct {
	Since   time.Time // when the window began, by receipt; zero before the first
	Seq     uint64    // number of the record that it began with
	Members uint64    // the most there were in it
	Left    uint64    // who left in it and has not come back
	Tripped time.Time // zero while exits go
	Until   uint64    // number of the record that tripped it
	Swept   []byte    // sweep: key of the locator where to go on; nil when none is under way
	Undone  RecordRange
}

// RecordRange is the records of a window that an operator discarded, while some who left in it are not
// readmitted yet: from up to before until. The zero value is no window.
type RecordRange struct{ From, Until uint64 }

func (r RecordRange) Has(seq uint64) bool { return seq >= r.From && seq < r.Until }

func (w *ExitWindow) encode(buf []byte) []byte {
	buf = wire.AppendUint(wire.AppendTime(buf, w.Since), w.Seq)
	buf = wire.AppendUint(wire.AppendUint(buf, w.Members), w.Left)
	buf = wire.AppendBytes(wire.AppendUint(wire.AppendTime(buf, w.Tripped), w.Until), w.Swept)
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
