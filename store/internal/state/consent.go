package state

import (
	"bytes"
	"slices"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
)

// BlockConsent is the number of the row that has a user's consent:
//
//	rows: userKey | 0xFFFE -> frame( time, since, record, whether the reserved event, categories )
//
// A user has one from the first statement on that comes while a computation asks for consent. It stays when none asks
// any more, and is kept up to date, or a later configuration would go by an old statement.
const BlockConsent = 0xFFFE

// consentVersion is no version of a membership row, so that neither is ever read as the other.
const consentVersion byte = 0x41

// consentRow is the consent of a user within a transaction. It is decoded when somebody asks.
type consentRow struct {
	frame []byte          // as it was read on the way to the pending index
	kept  *domain.Consent // nil: no statement is known
	read  bool
	dirty bool
}

// ConsentOf returns the newest statement of a user's consent, nil before the first statement. It must not be changed.
func ConsentOf(tx *Tx, u *User) *domain.Consent {
	row := &u.consent
	if row.read {
		return row.kept
	}
	row.read = true
	frame := row.frame
	if !u.whole {
		frame = get(tx.row, tx.rowKey(u, BlockConsent))
	}
	if frame == nil {
		return nil
	}
	c, err := DecodeConsent(tx.rowKey(u, BlockConsent), frame)
	if err != nil {
		tx.Quarantine(BucketRows, RowKey(u.Key, BlockConsent), frame, err)
		return nil
	}
	row.kept = c
	return c
}

// SetConsent has Flush write the consent of a user.
func SetConsent(u *User, c domain.Consent) {
	u.room.consent = c
	u.consent = consentRow{kept: &u.room.consent, read: true, dirty: true}
}

// ForgetConsent has Flush remove the consent of a user.
func ForgetConsent(u *User) { u.consent = consentRow{read: true, dirty: true} }

// Allows reports whether a user has given every category that a policy asks for, and is not in its holdout.
func Allows(tx *Tx, u *User, p *domain.Policy) bool {
	if p.HoldsOut(u.ID) {
		return false
	}
	if len(p.Consent) == 0 {
		return true
	}
	c := ConsentOf(tx, u)
	return c != nil && c.Covers(p.Consent)
}

func (tx *Tx) flushConsent(u *User) {
	if !u.consent.dirty {
		return
	}
	key := tx.rowKey(u, BlockConsent)
	if c := u.consent.kept; c != nil {
		tx.Put(tx.Rows, key, tx.Frame(func(buf []byte) []byte { return encodeConsent(buf, key, c) }))
	} else {
		tx.Remove(tx.Rows, key)
	}
}

// encodeConsent appends the frame of a user's consent, sealed under the key of its row.
func encodeConsent(buf, key []byte, c *domain.Consent) []byte {
	start := len(buf)
	buf = wire.AppendInt(append(buf, consentVersion), c.Time)
	buf = wire.AppendUint(wire.AppendInt(buf, c.Time-c.Since), c.Seq)
	return wire.SealKeyed(wire.AppendTexts(append(buf, record.BoolByte(c.Updated)), c.Given), start, key)
}

// DecodeConsent reads what encodeConsent wrote.
func DecodeConsent(key, frame []byte) (*domain.Consent, error) {
	r, err := wire.UnsealKeyed(frame, consentVersion, key)
	if err != nil {
		return nil, err
	}
	c := &domain.Consent{Time: r.Int()}
	c.Since = c.Time - r.Int()
	c.Seq, c.Updated = r.Uint(), r.Byte() == 1
	c.Given = r.Texts()
	return c, r.Done()
}

// UsersAfter returns up to n users whose keys are behind after, in the order of their keys, those of this transaction
// included, and whether there are more.
func UsersAfter(tx *Tx, after []byte, n int) (ids []string, more bool) {
	var keys [][]byte
	for _, u := range tx.users.order {
		if bytes.Compare(u.Key, after) > 0 {
			keys = append(keys, u.Key)
		}
	}
	c := tx.Rows.Cursor()
	at := after
	for read := 0; read <= n; read++ {
		if len(at) > 0 {
			at = append(RowKey(at, BlockIndex), 0) // behind the last row of that user
		}
		k, _ := c.Seek(at)
		if k == nil {
			break
		}
		id, _, ok := UserOf(k)
		if !ok {
			tx.Contradiction("a key among the rows of users that is not theirs")
			break
		}
		at = UserKey(id)
		keys = append(keys, at)
	}
	slices.SortFunc(keys, bytes.Compare)
	keys = slices.CompactFunc(keys, bytes.Equal)
	for _, k := range keys[:min(n, len(keys))] {
		id, _, _ := UserOf(k)
		ids = append(ids, id)
	}
	return ids, len(keys) > n
}

// MetaConsent is present while users are still to be compared with the categories that a change of the configuration
// asks for. Its value is a Comparing.
var MetaConsent = []byte("consent")

// Comparing is how far that is: Done users, up to the one whose key is Last.
type Comparing struct {
	Done uint64
	Last []byte
}

// ReadComparing returns how far the comparison is. under says whether there is one.
func ReadComparing(v []byte) (c Comparing, under bool) {
	if len(v) == 0 {
		return c, false
	}
	r := wire.NewReader(v)
	c.Done = r.Uint()
	c.Last = bytes.Clone(r.Rest())
	return c, r.OK()
}

// IsComparing reports whether users are still to be compared.
func IsComparing(tx *Tx) bool { return len(tx.Bucket(BucketMeta).Get(MetaConsent)) > 0 }

// Encode returns the value of MetaConsent.
func (c *Comparing) Encode() []byte { return append(wire.AppendUint(nil, c.Done), c.Last...) }
