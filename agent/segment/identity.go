package segment

import (
	"crypto/sha256"
	"encoding/hex"

	"personasync/store/domain"
)

// messageID returns the event's own id. An id that is too long to remember, or has half a surrogate pair so
// that two would look the same, is not used. Without an id the hash of the bytes is used, so a repeat has the
// same one.
func (r *reader) messageID() string {
	if id, _ := r.id(r.top.messageID); len(id) <= maxMessageID {
		return id
	}
	return ""
}

// nameless returns the id of an event without a usable messageId.
func nameless(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "raw_" + hex.EncodeToString(sum[:16])
}

// email returns traits.email of an identify and context.traits.email of a track, where Engage puts it
// (using-engage-data, "Email as an identifier"). Each falls back to the other place.
func (r *reader) email() domain.Span {
	first, second := r.top.traits, r.top.contextTraits
	switch r.event.Call {
	case domain.CallGroup:
		first = domain.Span{}
	case domain.CallTrack:
		first, second = second, first
	}
	if at, _ := r.member(first, "email"); r.says(at) {
		return at
	}
	if at, _ := r.member(second, "email"); r.first(at) == '"' {
		return at
	}
	return domain.Span{}
}

// identifier reads one of the event's identifiers. odd means that it names a user but cannot be used.
func (r *reader) identifier(at domain.Span) (i domain.Identifier, odd bool) {
	i.ID, odd = r.id(at)
	if i.ID != "" && r.how.CheckID != nil {
		i.Fault = r.how.CheckID(i.ID)
	}
	return i, odd
}

// needsIdentifier faults an event without a usable identifier. An unusable userId always faults it: the event
// is about a known user, and the anonymousId would turn them into an anonymous one. For the same reason an
// unusable anonymousId takes precedence over an e-mail address.
func (r *reader) needsIdentifier() {
	e, t := r.event, &r.top
	if t.userIDIsOdd {
		r.oddIdentifier("userId", t.userID)
	}
	if e.User.ID == "" && t.anonymousIDIsOdd {
		r.oddIdentifier("anonymousId", t.anonymousID)
	}
	if e.User.ID == "" && e.Anonymous.ID == "" && t.emailIsOdd {
		r.oddIdentifier("e-mail address", r.email())
	}
	if e.User.ID == "" && e.Anonymous.ID == "" && e.Email.ID == "" {
		r.fault(FaultNoIdentifier, "The event has no userId, no anonymousId and no e-mail address, so it identifies no user. Choose at least one identifier for this destination in Segment.")
	}
}

// oddIdentifier faults an identifier by its kind. The sentence never has its content.
func (r *reader) oddIdentifier(name string, at domain.Span) {
	what := shownValue(r.raw, at) + "; it must be a text or a number"
	switch r.first(at) {
	case '"':
		what = "a text with control characters or an unpaired surrogate, so no command could name this user, and two users could look alike"
	case '{', '[', 't', 'f':
	default:
		what = "a number that cannot be written out without an exponent"
	}
	r.fault(FaultBadUserID, "The "+name+" is "+what+". Correct its mapping in Segment.")
}
