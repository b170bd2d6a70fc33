package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/wire"
)

// A verification reads back from MoEngage what it was told. The store says whom and what it was told,
// keeps what came of it, and queues again what MoEngage does not hold.

// Told is one attribute of one user that MoEngage was told of, and should hold; or one entry of a list
// attribute.
type Told struct {
	User  string
	Name  string          // of the attribute, before AttributeName
	Value json.RawMessage // null: it should hold none
	Entry string          // unless "": Name is a list, and Value says whether this is in it

	field uint32
}

// ToldUser is what MoEngage was told of one user and one computation.
type ToldUser struct {
	User       string
	Attributes []Told

	// Moving says that more is on the way, or waits for an operator, or went so recently that MoEngage
	// may not have applied it: what MoEngage holds now proves nothing.
	Moving bool
}

// ToldUsers lists a page of the users whom MoEngage was told an attribute of this computation about;
// next is the cursor of the page behind it, "" at the end. An unknown key is ErrNotFound, an ambiguous
// one an *AmbiguousError. Pages without users are possible.
func (v *reader) ToldUsers(key, cursor string) (users []string, next string, err error) {
	from, err := hex.DecodeString(cursor)
	if err != nil {
		return nil, "", ErrBadCursor
	}
	err = v.read(func(b *batch) error {
		numbers, err := b.attributesOf(key)
		if err != nil {
			return err
		}
		c := b.rows.Cursor()
		k, frame := c.Seek(from)
		for n := 0; k != nil; k, frame = c.Next() {
			id, rest, ok := userOf(k)
			another := len(users) == 0 || users[len(users)-1] != id
			if n++; n > pageScan && another { // never between the rows of one user
				next = hex.EncodeToString(k)
				return nil
			}
			if ok && another && len(rest) == 2 && b.toldIn(k, frame, numbers) {
				users = append(users, id)
			}
		}
		return nil
	})
	return users, next, err
}

// attributesOf returns the numbers of the fields that are sent as attributes of a computation, the list
// among them. A cohort is none: nobody can read back who is in it.
func (b *batch) attributesOf(key string) (map[uint32]bool, error) {
	f, err := b.st.registry.one(key)
	if err != nil {
		return nil, err
	}
	p := b.st.rules.For(f.key, f.id)
	numbers := make(map[uint32]bool)
	for _, x := range b.st.registry.fields {
		if x.space == f.space && x.key == f.key && x.id == f.id && !x.gone() && x.readableBy(&p) {
			numbers[x.number] = true
		}
	}
	return numbers, nil
}

// readableBy reports whether a policy tells what f holds, so that it can be read back.
func (f *field) readableBy(p *domain.Policy) bool {
	return f.kind() != domain.KindCohort && f.toldBy(p)
}

// toldIn reports whether a row says that MoEngage was told of one of the fields.
func (b *batch) toldIn(key, frame []byte, fields map[uint32]bool) bool {
	n := binary.BigEndian.Uint16(key[len(key)-2:])
	if n == blockHead || !anyIn(fields, n) {
		return false
	}
	row, err := decodeBlock(key, frame, b.st.epochs)
	if err != nil {
		return false // set aside when next written; doctor counts it
	}
	for _, e := range row.entries {
		if fields[row.field(e)] && e.lastSent.kind != neverSent {
			return true
		}
	}
	return false
}

func anyIn(fields map[uint32]bool, block uint16) bool {
	for f := range fields {
		if uint16(f/blockSize) == block {
			return true
		}
	}
	return false
}

// Told returns what MoEngage should hold of these users and this computation, all at one moment, in
// their order. Who was told of after settled counts as moving. A user of whom MoEngage was told
// nothing, as after being forgotten, has no attributes.
func (v *reader) Told(key string, users []string, settled time.Time) (list []ToldUser, err error) {
	err = v.read(func(b *batch) error {
		numbers, err := b.attributesOf(key)
		if err != nil {
			return err
		}
		for _, id := range users {
			list = append(list, b.toldUser(id, numbers, settled))
		}
		return nil
	})
	return list, err
}

func (b *batch) toldUser(id string, numbers map[uint32]bool, settled time.Time) ToldUser {
	t, u := ToldUser{User: id}, b.user(id)
	t.Moving = b.toldSince(u, numbers, settled)
	for _, n := range b.blockNumbers(u) {
		if !anyIn(numbers, n) {
			continue
		}
		row := b.block(u, n)
		for _, e := range row.entries {
			f := b.fieldOf(row.field(e))
			if f == nil || !numbers[f.number] {
				continue
			}
			t.Moving = t.Moving || e.moving()
			p := b.st.rules.For(f.key, f.id)
			if value, known := e.expected(&p); known {
				told := Told{User: id, Name: f.attribute(&p), Value: bytes.Clone(value), field: f.number}
				if f.kind() == domain.KindList {
					told.Entry = f.key
				}
				t.Attributes = append(t.Attributes, told)
			}
		}
	}
	return t
}

// moving reports whether a change of the attribute waits, for MoEngage or for an operator.
func (e *entry) moving() bool {
	return !e.waiting.id.IsZero() || !e.inFlight.id.IsZero() || e.loose > 0
}

// expected is what MoEngage should hold: what it was last told, and where that is uncertain, what it
// was to be told. It is not known for a long value that was dropped since.
func (e *entry) expected(p *domain.Policy) (value []byte, known bool) {
	if e.lastSent.kind == neverSent {
		return nil, false
	}
	if s := e.said(p); s != nil {
		value = s.Value
		if bytes.Equal(value, domain.JSONNull) && p.OnNull == domain.NullEmpty {
			value = domain.JSONEmpty
		}
		if e.lastSent.is(value) || e.lastSent.kind == uncertainlySent {
			return value, true
		}
	}
	return e.lastSent.value, e.lastSent.kind == valueSent
}

// said is the Assertion that leaves as the attribute.
func (e *entry) said(p *domain.Policy) *domain.Assertion {
	if p.Send.Has(domain.SendAttribute) {
		return e.newest()
	}
	return e.known(keptIdentify)
}

// toldSince reports whether MoEngage accepted a change of one of the fields after settled. Looking
// stops at the first older entry of the user's history, and at as many as a page shows.
func (b *batch) toldSince(u *user, numbers map[uint32]bool, settled time.Time) bool {
	for n, i := u.head.history, 0; n != 0 && i < historyShown; i++ {
		ch := b.fetch(b.history, numberKey(n))
		if ch == nil || !ch.Closed.After(settled) {
			return false
		}
		if ch.State == domain.StateDelivered && ch.Kind != domain.KindEvent && numbers[ch.field] {
			return true
		}
		n = ch.prev
	}
	return false
}

// SendsAttributes reports whether a computation's changes leave as attributes, or as entries of a list,
// which are all that can be read back. An unknown key is ErrNotFound, an ambiguous one an *AmbiguousError.
func (v *reader) SendsAttributes(key string) (yes bool, err error) {
	err = v.read(func(b *batch) error {
		f, err := b.st.registry.one(key)
		if err == nil {
			p := b.st.rules.For(f.key, f.id)
			yes = p.SendsAttributes() || p.Send.Has(domain.SendList)
		}
		return err
	})
	return yes, err
}

// repair is the record that has attributes sent again because MoEngage was found not to hold them.
//
//	received, attributes x (user, field)
type repair struct {
	received time.Time
	missing  []Told // user and field only
}

// MaxRepair is how many attributes one Repair takes.
const MaxRepair = 10_000

// Repair queues attributes again that MoEngage was found not to hold, and returns once that survives a
// crash. What moves by the time it is applied is left alone: it is being sent anyway.
func (s *Store) Repair(ctx context.Context, now time.Time, missing []Told) error {
	switch {
	case len(missing) == 0:
		return nil
	case len(missing) > MaxRepair:
		return fmt.Errorf("%d attributes are too many for one repair", len(missing))
	}
	if err := s.budget.refusal(); err != nil {
		return err
	}
	r := repair{received: now, missing: missing}
	return translate(s.inbox.AppendOther(ctx, r.encode(nil)))
}

func (r *repair) encode(buf []byte) []byte {
	start := len(buf)
	buf = wire.AppendTime(append(buf, recordRepair), r.received)
	buf = wire.AppendUint(buf, uint64(len(r.missing)))
	for i := range r.missing {
		buf = wire.AppendUint(wire.AppendString(buf, r.missing[i].User), uint64(r.missing[i].field))
	}
	return wire.Seal(buf, start)
}

func readRepair(r *wire.Reader) *repair {
	rep := &repair{received: r.Time()}
	n := r.Uint()
	if n > uint64(r.Len()) || n > MaxRepair {
		r.Fail()
		return rep
	}
	for range n {
		rep.missing = append(rep.missing, Told{User: r.Text(), field: uint32(r.Uint())})
	}
	return rep
}

// applyRepair has attributes sent again. What MoEngage was told of them counts as uncertain from now
// on, so that nothing that follows is thought to be needless.
func (b *batch) applyRepair(seq uint64, r *repair) {
	b.now = r.received
	c := &cause{seq: seq}
	for i := range r.missing {
		f, u := b.fieldOf(r.missing[i].field), b.user(r.missing[i].User)
		if f == nil {
			continue
		}
		p, e := b.st.rules.For(f.key, f.id), b.entry(u, f.number)
		value, known := e.expected(&p)
		if !known || e.moving() || !f.readableBy(&p) {
			continue
		}
		t, s := domain.TransitionValue, b.entry(u, b.st.registry.speaker(f).number).said(&p)
		if f.class != domain.ClassTrait {
			if t = domain.TransitionExit; bytes.Equal(value, domain.JSONTrue) {
				t = domain.TransitionEnter
			}
		}
		c.event = &domain.Event{Received: r.received, Time: r.received}
		if s != nil {
			c.event.Time = time.Unix(0, s.Time).UTC()
			if f.class == domain.ClassTrait {
				c.event.MessageID = s.Message
			}
		}
		e.lastSent = lastSent{kind: uncertainlySent}
		b.write(u, f.number)
		b.wantAttribute(u, f, &p, e, c, t, bytes.Clone(value))
	}
}

// Verification is what came of the last verification of one computation. It names no user.
type Verification struct {
	Key      string    `json:"key"`
	ID       string    `json:"id"`
	At       time.Time `json:"at"`       // when it ended
	Told     uint64    `json:"told"`     // users MoEngage was told of
	Asked    uint64    `json:"asked"`    // users read back
	Moving   uint64    `json:"moving"`   // … of whom more was on the way, so that they prove nothing
	Compared uint64    `json:"compared"` // the others
	Agree    uint64    `json:"agree"`
	Differ   uint64    `json:"differ"`
	Repaired uint64    `json:"repaired"` // users whose attributes were queued again

	// Code and Error say why the verification failed. The counts are then those of the part before, or those of an
	// earlier verification that found differences: it failed at FailedAt then, else at At.
	Code     string     `json:"code,omitempty"`
	Error    string     `json:"error,omitempty"`
	FailedAt *time.Time `json:"failed_at,omitempty"`
}

// withFindings returns what is kept of v behind the last verification: one that failed says nothing about the
// differences that were found before, so they stay. One that compared none of those MoEngage was told of may
// have asked for nobody, so that an earlier failure stays as well.
func (v Verification) withFindings(last Verification) Verification {
	switch {
	case v.Code == "" && v.Compared == 0 && v.Told > 0 && (last.Differ > 0 || last.Code != ""):
		return last
	case v.Code == "" || v.Differ > 0 || last.Differ == 0:
		return v
	}
	last.Code, last.Error, last.FailedAt = v.Code, v.Error, &v.At
	return last
}

// SetVerification keeps v in place of the last one of its computation, whose differences outlive a failure.
func (s *Store) SetVerification(ctx context.Context, v Verification) error {
	return s.run(ctx, func(b *batch) error {
		runs, key := b.tx.Bucket(bucketRuns), []byte(runOfVerification+v.Key+"\x00"+v.ID)
		var last Verification
		_ = json.Unmarshal(runs.Get(key), &last) // one that cannot be read has no findings
		text, err := json.Marshal(v.withFindings(last))
		if err == nil {
			b.put(runs, key, text)
		}
		return err
	}, nil)
}

// Verifications lists the last verification of every computation that had one, by key.
func (v *reader) Verifications() (list []Verification, err error) {
	err = v.look(func(tx *bolt.Tx) error {
		return forEachRun(tx, runOfVerification, func(text []byte) error {
			var r Verification
			if err := json.Unmarshal(text, &r); err != nil {
				return fmt.Errorf("the record of a verification: %w", err)
			}
			list = append(list, r)
			return nil
		})
	})
	return list, err
}
