package domain

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sort"
	"strconv"
)

// Rollout is whom MoEngage is told of, while a computation goes live or is measured. Each user has a position from 0 up
// to 1 in each computation:
//
//	0                Share                 1-Holdout        1
//	├─ told ─────────┼─ held as rollout ───┼─ never told ───┤
//
// So a share that grows adds users and takes none away, and never reaches the holdout, which comes first where the two
// overlap. A list narrows the told ones further.
type Rollout struct {
	Share   float64 `json:"share"`             // of all users; the others are held
	Holdout float64 `json:"holdout,omitempty"` // of all users; never told
	List    string  `json:"list,omitempty"`    // of Rules.Lists: users who are not on it are held; "": no list
}

// Told says in words whom MoEngage is told of. r may be nil.
func (r *Rollout) Told() (text string) {
	switch {
	case r == nil:
		return "all users"
	case r.Share <= 0:
		return "nobody (share = 0)"
	case r.List != "" && r.Share < 1:
		text = Percent(r.Share) + " of the users in " + r.List
	case r.List != "":
		text = "the users in " + r.List
	case r.Share < 1:
		text = Percent(r.Share) + " of the users"
	default:
		text = "all users"
	}
	if r.Holdout > 0 {
		text += ", but never " + Percent(r.Holdout) + " (holdout)"
	}
	return text
}

// The reasons why something is not told: held until the share reaches the user, held until the pause of the computation ends, or
// withheld as from any other of the holdout.
const (
	ReasonRollout = "rollout"
	ReasonPaused  = "paused"
	ReasonHoldout = "holdout"
)

// IsSelection reports whether a change that is held for a reason leaves by itself.
func IsSelection(reason string) bool { return reason == ReasonRollout || reason == ReasonPaused }

// positionDigits is how many hexadecimal digits of the digest make a position: 52 bits, which a float64 and a signed
// integer of any database hold exactly.
const positionDigits = 13

// position returns the place of a user in a computation, from 0 up to 1: the first 13 hexadecimal digits of the SHA-256
// of "key:user", divided by 16^13. It depends on nothing else, so that it is the same on every host, after a restart, in
// a later version and in an analyst's SQL. docs/go-live.md promises it.
func position(key, user string) float64 {
	sum := sha256.Sum256([]byte(key + ":" + user))
	return float64(binary.BigEndian.Uint64(sum[:])>>(64-4*positionDigits)) / (1 << (4 * positionDigits))
}

// UserList is a set of users: the first 8 bytes of the SHA-256 of each id, sorted, one behind the other. It names nobody,
// because rules are kept for longer than an erased user's id may be.
type UserList []byte

const listed = 8 // bytes of a digest in a UserList

func listedAs(user string) []byte {
	sum := sha256.Sum256([]byte(user))
	return sum[:listed]
}

// NewUserList returns the set of users, each once.
func NewUserList(users []string) UserList {
	digests := make([][]byte, len(users))
	for i, user := range users {
		digests[i] = listedAs(user)
	}
	slices.SortFunc(digests, bytes.Compare)
	return bytes.Join(slices.CompactFunc(digests, bytes.Equal), nil)
}

// Len returns the number of users.
func (l UserList) Len() int { return len(l) / listed }

// Has reports whether a user is in the set.
func (l UserList) Has(user string) bool {
	want := listedAs(user)
	at := sort.Search(l.Len(), func(i int) bool { return bytes.Compare(l[i*listed:(i+1)*listed], want) >= 0 })
	return at < l.Len() && bytes.Equal(l[at*listed:(at+1)*listed], want)
}

// HoldsOut reports whether a user is in the holdout of the computation that the policy was found for; see Rules.For.
func (p *Policy) HoldsOut(user string) bool {
	return p.Rollout != nil && p.Rollout.Holdout > 0 && position(p.Of, user) >= 1-p.Rollout.Holdout
}

// Reaches reports whether a user, if not in the holdout, is told: in the share, and on the list if there is one.
func (p *Policy) Reaches(user string) bool {
	return p.Rollout == nil || p.inShare(user) && (p.Rollout.List == "" || p.Listed.Has(user))
}

func (p *Policy) inShare(user string) bool {
	return p.Rollout.Share >= 1 || position(p.Of, user) < p.Rollout.Share
}

// HeldSentence says why a change of a user is held for a reason that IsSelection, as it is now.
func (p *Policy) HeldSentence(reason, user string) string {
	switch {
	case reason == ReasonRollout:
		return p.RolloutSentence(user)
	case p.Paused != nil:
		return p.Paused.sentence()
	}
	return "the pause of its computation is over: it leaves once all users were compared"
}

// RolloutSentence says why the rollout does not tell a user, "" if it does.
func (p *Policy) RolloutSentence(user string) string {
	switch {
	case p.HoldsOut(user):
		return "the user is in the holdout of " + Percent(p.Rollout.Holdout)
	case p.Reaches(user):
		return ""
	case p.inShare(user):
		return "the user is not in only_users_file"
	}
	return "the user is not in the share of " + Percent(p.Rollout.Share)
}

// Selects reports whether any computation tells some users alone, by consent or by a rollout, or is paused.
func (r *Rules) Selects() bool {
	selects := func(p *Policy) bool { return len(p.Consent) > 0 || p.Rollout != nil }
	return len(r.Paused) > 0 || selects(&r.Defaults) || slices.ContainsFunc(r.Sections, func(s Section) bool { return selects(&s.Policy) })
}

// Withholds reports whether a policy withholds from some users what others are told.
func (p *Policy) Withholds() bool {
	return len(p.Consent) > 0 || p.Rollout != nil && p.Rollout.Holdout > 0
}

// SameSelection reports whether two policies of one computation tell the same users.
func (p *Policy) SameSelection(o *Policy) bool {
	same := p.Rollout == o.Rollout || p.Rollout != nil && o.Rollout != nil && *p.Rollout == *o.Rollout
	return same && (p.Paused == nil) == (o.Paused == nil) && slices.Equal(p.Consent, o.Consent) && bytes.Equal(p.Listed, o.Listed)
}

// Percent returns a share for people, such as "5 %".
func Percent(share float64) string {
	return strconv.FormatFloat(share*100, 'g', 6, 64) + " %"
}
