package query

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/apply"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// ToldUser is what MoEngage was told of one user and one computation.
type ToldUser struct {
	User       string
	Attributes []record.Told

	// Moving says that more is on the way, or waits for an operator, or went so recently that MoEngage
	// may not have applied it: what MoEngage holds now proves nothing.
	Moving bool
}

// ToldUsers lists a page of the users whom MoEngage was told an attribute of this computation about;
// next is the cursor of the page behind it, "" at the end. An unknown key is ErrNotFound, an ambiguous
// one an *AmbiguousError. Pages without users are possible.
func (v *Reader) ToldUsers(key, cursor string) (users []string, next string, err error) {
	from, err := hex.DecodeString(cursor)
	if err != nil {
		return nil, "", ErrBadCursor
	}
	err = v.Read(func(tx *state.Tx) error {
		numbers, err := attributesOf(tx, key)
		if err != nil {
			return err
		}
		c := tx.Rows.Cursor()
		k, frame := c.Seek(from)
		for n := 0; k != nil; k, frame = c.Next() {
			id, rest, ok := state.UserOf(k)
			another := len(users) == 0 || users[len(users)-1] != id
			if n++; n > state.PageScan && another { // never between the rows of one user
				next = hex.EncodeToString(k)
				return nil
			}
			if ok && another && len(rest) == 2 && toldIn(tx, k, frame, numbers) {
				users = append(users, id)
			}
		}
		return nil
	})
	return users, next, err
}

// attributesOf returns the numbers of the fields that are sent as attributes of a computation, the list
// among them. A cohort is none, because its members cannot be read back.
func attributesOf(tx *state.Tx, key string) (map[uint32]bool, error) {
	f, err := tx.State.Registry.One(key)
	if err != nil {
		return nil, err
	}
	p := tx.State.Rules.For(f.Key, f.ID)
	numbers := make(map[uint32]bool)
	for _, x := range tx.State.Registry.Fields {
		if x.Space == f.Space && x.Key == f.Key && x.ID == f.ID && !x.Gone() && x.ReadableBy(&p) {
			numbers[x.Number] = true
		}
	}
	return numbers, nil
}

// toldIn reports whether a row says that MoEngage was told of one of the fields.
func toldIn(tx *state.Tx, key, frame []byte, fields map[uint32]bool) bool {
	n := binary.BigEndian.Uint16(key[len(key)-2:])
	if n == state.BlockIndex || !anyIn(fields, n) {
		return false
	}
	row, err := state.DecodeBlock(key, frame, tx.State.Epochs)
	if err != nil {
		return false // set aside when next written; doctor counts it
	}
	return slices.ContainsFunc(row.Entries, func(e *state.Entry) bool { return fields[row.Field(e)] && e.LastSent.Kind != state.NeverSent })
}

func anyIn(fields map[uint32]bool, block uint16) bool {
	for f := range fields {
		if uint16(f/state.BlockSize) == block {
			return true
		}
	}
	return false
}

// Told returns what MoEngage should hold of these users and this computation, all at one moment, in
// their order. A user with a change sent after settled counts as moving. A user without anything sent, as
// after an erasure, has no attributes.
func (v *Reader) Told(key string, users []string, settled time.Time) (list []ToldUser, err error) {
	err = v.Read(func(tx *state.Tx) error {
		numbers, err := attributesOf(tx, key)
		if err != nil {
			return err
		}
		tx.WantUsers(slices.Values(users))
		for _, id := range users {
			list = append(list, toldUser(tx, id, numbers, settled))
		}
		return nil
	})
	return list, err
}

func toldUser(tx *state.Tx, id string, numbers map[uint32]bool, settled time.Time) ToldUser {
	t, u := ToldUser{User: id}, tx.User(id)
	t.Moving = apply.ToldSince(tx, u, numbers, settled)
	for _, n := range state.BlockNumbers(tx, u) {
		if !anyIn(numbers, n) {
			continue
		}
		row := tx.Block(u, n)
		for _, e := range row.Entries {
			f := tx.FieldOf(row.Field(e))
			if f == nil || !numbers[f.Number] {
				continue
			}
			t.Moving = t.Moving || e.Moving()
			p := tx.State.Rules.For(f.Key, f.ID)
			if value, known := e.Expected(&p); known {
				told := record.Told{User: id, Name: f.Attribute(&p), Value: bytes.Clone(value), Field: f.Number}
				if f.Kind() == domain.KindList {
					told.Entry = f.Key
				}
				t.Attributes = append(t.Attributes, told)
			}
		}
	}
	return t
}

// SendsAttributes reports whether a computation's changes leave as attributes, or as entries of a list,
// which are all that can be read back. An unknown key is ErrNotFound, an ambiguous one an *AmbiguousError.
func (v *Reader) SendsAttributes(key string) (yes bool, err error) {
	err = v.Read(func(tx *state.Tx) error {
		f, err := tx.State.Registry.One(key)
		if err == nil {
			p := tx.State.Rules.For(f.Key, f.ID)
			yes = p.SendsAttributes() || p.Send.Has(domain.SendList)
		}
		return err
	})
	return yes, err
}

// Verification is the result of the last verification of one computation. It names no user.
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

// WithFindings returns the verification to keep when v follows last. One that failed says nothing about the
// differences that were found before, so they stay. One that compared none of those MoEngage was told of may
// have asked for nobody, so that an earlier failure stays as well.
func (v Verification) WithFindings(last Verification) Verification {
	switch {
	case v.Code == "" && v.Compared == 0 && v.Told > 0 && (last.Differ > 0 || last.Code != ""):
		return last
	case v.Code == "" || v.Differ > 0 || last.Differ == 0:
		return v
	}
	last.Code, last.Error, last.FailedAt = v.Code, v.Error, &v.At
	return last
}

// Verifications lists the last verification of every computation that had one, by key.
func (v *Reader) Verifications() ([]Verification, error) {
	return allRuns[Verification](v, RunOfVerification, "a verification")
}
