package segment

import (
	"cmp"
	"fmt"
	"time"

	"personasync/store/domain"
)

// Route is how an event arrived. It decides which members an event may omit.
type Route uint8

// RouteWebhook is a webhook delivery. RouteTracking is a call of the Tracking API, by an SDK or a program.
const (
	RouteWebhook  Route = 0
	RouteTracking Route = 1
)

// Limits on one event.
const (
	// MaxEventBytes is the largest event that Segment's Tracking API accepts: 32 KB.
	MaxEventBytes = 32 << 10

	maxMessageID = 256 // bytes; Segment documents 100 characters
	maxName      = 512 // bytes of a computation's key, id and space, and of a column's name
	maxValues    = 1000
)

// Reading has everything that Read needs besides the event's bytes.
type Reading struct {
	Route    Route
	Received time.Time

	// Latest is an upper bound of the time of receipt; zero means Received. It is later than Received after the
	// clock was set back. An event up to Latest is not in the future. An event without a time gets Latest, so
	// that it is not older than earlier events.
	Latest time.Time

	// Ahead is how far Received may be ahead of the true time, after a recent jump of the clock.
	Ahead time.Duration

	// Verified means that these exact bytes are covered by a signature or a token, or that the operator chose
	// auth = "off". Only a delete requires it.
	Verified bool

	// CheckID returns "" if MoEngage accepts the id, or a reason code. Nil accepts every id.
	CheckID func(id string) (fault string)

	// Call is the call that a Tracking path implies. It takes precedence over the event's type.
	Call domain.Call

	// Position is the event's index in its delivery, from 0. Events without a time keep that order.
	Position int

	// Trace is what the delivery is part of; nil: it names none.
	Trace *domain.Trace

	// SentAt is when the batch was sent, by the client's clock, or zero. It is used on Tracking routes only.
	// SentAtUnreadable means that the batch has a sentAt that could not be parsed.
	SentAt           time.Time
	SentAtUnreadable bool

	// OddTime, if not nil, is called for times that could not be parsed or were parsed by a guess.
	OddTime func(OddTime)

	// Size is the event's size in bytes when it was sent, if members of the batch have been merged into raw
	// since. Zero means len(raw).
	Size int
}

// Read parses one event. It never fails: an unusable event has a Fault, and whatever else could be read. The
// event keeps raw without copying it, so the caller must not change raw afterwards.
//
//   - A userId, anonymousId or messageId that is a number is taken in full digits, 48213.0 as 48213. "", blanks
//     and null mean no id.
//   - An e-mail address is trimmed of blanks and otherwise kept as written. Its local part is case-sensitive by
//     RFC 5321, and MoEngage compares ids byte by byte, so lowering it could name another user.
//   - The traits.email of a group call belongs to the account, not the user, and is ignored.
//   - An event without context.personas is ordinary. Missing members do not fault it, unless it names its
//     computation itself (see computation.go) or Segment's Tracking API would refuse it.
//   - A CheckID reason never becomes the event's Fault, because another identifier may be usable.
func Read(raw []byte, how Reading) *domain.Event {
	e := &domain.Event{Received: how.Received.UTC().Round(0), ClockAhead: how.Ahead, Tracking: how.Route == RouteTracking, Trace: how.Trace, Raw: raw}
	if e.Time = e.Received; how.Latest.After(e.Received) {
		e.Time = how.Latest.UTC().Round(0)
	}
	r := reader{document: document{raw: raw}, how: how, event: e}
	if r.scan() {
		r.envelope()
		r.refusals()
		readComputation(&r)
	}
	if e.MessageID == "" {
		e.MessageID = nameless(raw)
	}
	return e
}

// A reader is the state of one Read.
type reader struct {
	document
	how   Reading
	event *domain.Event
	top   parts
}

// parts locates the parts of an event in its bytes. An absent part has length 0. It has a field for each part that is read.
type parts struct {
	whole                                domain.Span
	kind, userID, anonymousID, messageID domain.Span
	name                                 domain.Span
	originalTimestamp, timestamp, sentAt domain.Span
	context, traits, properties, group   domain.Span
	contextTraits, personas, consent     domain.Span
	userIDIsOdd                          bool // it names a user but cannot be used
	anonymousIDIsOdd, emailIsOdd         bool
}

// scan reads raw once and notes where the envelope's parts are. It reports whether raw is an object.
func (r *reader) scan() bool {
	s := scanner{b: r.raw}
	if s.peek() != '{' {
		return r.notAnObject(&s)
	}
	start := s.i
	m := members{scanner: s}
	for m.next() {
		r.topMember(&m)
	}
	r.top.whole = spanOf(start, m.i)
	if m.failed || !m.end() {
		r.fault(FaultInvalidJSON, "The event is "+m.err().Error()+". Check the program that forwards the events: it cut or changed this one.")
		return false
	}
	if r.broken = m.badUTF8; r.broken {
		r.fault(FaultInvalidUTF8, "The event contains bytes that are not UTF-8, so its texts cannot be trusted. Send JSON in UTF-8.")
	}
	r.hugeNumber, r.halfName = m.hugeNumber, m.halfName
	if m.deepest > maxDepth {
		r.faultf(FaultTooDeep, "The event nests %d levels deep; at most %d are read. Map fewer levels into it.", m.deepest, maxDepth)
	}
	return true
}

// notAnObject faults an event that is another JSON value, or not JSON.
func (r *reader) notAnObject(s *scanner) bool {
	at := domain.Span{Off: uint32(s.i)}
	if !s.document() {
		r.fault(FaultInvalidJSON, "The event is "+s.err().Error()+". Check the program that forwards the events: it cut or changed this one.")
		return false
	}
	at.Len = uint32(s.i) - at.Off
	r.fault(FaultNotAnObject, "An event is a JSON object; this one is "+shownValue(r.raw, at)+". Map the whole event ($.) in Segment's webhook settings.")
	return false
}

// topMember notes a member of the event. Of duplicates the last counts, as in JSON.parse.
func (r *reader) topMember(m *members) {
	t := &r.top
	switch string(m.name) {
	case "type":
		t.kind = m.value
	case "userId":
		t.userID = m.value
	case "anonymousId":
		t.anonymousID = m.value
	case "messageId":
		t.messageID = m.value
	case "event":
		t.name = m.value
	case "originalTimestamp":
		t.originalTimestamp = m.value
	case "timestamp":
		t.timestamp = m.value
	case "sentAt":
		t.sentAt = m.value
	case "context":
		t.context = m.value
	case "traits":
		t.traits = m.value
	case "properties":
		t.properties = m.value
	case "groupId":
		t.group = m.value
	}
}

// envelope reads the members common to all events.
func (r *reader) envelope() {
	t, e := &r.top, r.event
	r.context()
	e.Call = r.call()
	e.MessageID = r.messageID()
	if e.Call == domain.CallTrack {
		e.Name = r.text(t.name)
	}
	r.time()
	e.User, t.userIDIsOdd = r.identifier(t.userID)
	e.Anonymous, t.anonymousIDIsOdd = r.identifier(t.anonymousID)
	e.Email, t.emailIsOdd = r.identifier(r.email())
	e.Consent = r.preferences()
}

// context locates context.personas and context.traits.
func (r *reader) context() {
	for m := r.walk(r.top.context); m.next(); {
		switch string(m.name) {
		case "personas":
			r.top.personas = m.value
		case "traits":
			r.top.contextTraits = m.value
		case "consent":
			r.top.consent = m.value
		}
	}
}

// call returns the call implied by the path, or else the event's type. On the webhook route a missing type is
// guessed from the event's shape, because a mapping may omit it.
func (r *reader) call() domain.Call {
	if r.how.Call != domain.CallUnknown {
		return r.how.Call
	}
	if r.first(r.top.kind) == '"' {
		return callOf(string(r.decoded(r.top.kind)))
	}
	if r.how.Route == RouteTracking {
		return domain.CallUnknown
	}
	return r.shape()
}

func callOf(kind string) domain.Call {
	switch kind {
	case "identify":
		return domain.CallIdentify
	case "track":
		return domain.CallTrack
	case "group":
		return domain.CallGroup
	case "page":
		return domain.CallPage
	case "screen":
		return domain.CallScreen
	case "alias":
		return domain.CallAlias
	case "delete":
		return domain.CallDelete
	}
	return domain.CallUnknown
}

// shape guesses the call of an event without a type from the parts that only this call has.
func (r *reader) shape() domain.Call {
	t := &r.top
	switch {
	case r.first(t.name) == '"', r.first(t.properties) == '{':
		return domain.CallTrack
	case r.first(t.traits) == '{' && r.hasID(t.group):
		return domain.CallGroup
	case r.first(t.traits) == '{':
		return domain.CallIdentify
	}
	return domain.CallUnknown
}

// refusals makes the checks of Segment's Tracking API on one event.
func (r *reader) refusals() {
	if r.how.Route != RouteTracking {
		return
	}
	e := r.event
	size := r.how.Size
	size = cmp.Or(size, len(r.raw))
	if size > MaxEventBytes {
		r.faultf(FaultEventTooLarge, "The event is over %d bytes, the most that one may have. Send less in it.", MaxEventBytes)
	}
	if e.Call == domain.CallUnknown {
		r.unknownType("In a batch each event says its type: identify, track, group, page, screen or alias.")
	}
	if e.Call == domain.CallDelete {
		return
	}
	if !r.given(r.top.userID) && !r.given(r.top.anonymousID) {
		r.fault(FaultNoUserAnonID, "The event has neither a userId nor an anonymousId. Give it one of them.")
	}
	if e.Call == domain.CallTrack && e.Name == "" {
		r.fault(FaultNoEventName, "The track call has no event name. Put it into the event field.")
	}
}

// deletion checks Segment's {"type":"delete"}, which erases a user. It must come by the webhook: a write key is
// public in every browser, so it is not enough.
func (r *reader) deletion() {
	if r.how.Route == RouteTracking {
		r.fault(FaultUnverified, "Deletes are accepted only from Segment's webhook. Use `personasync user forget ID` if this one is intended.")
	}
	if !r.how.Verified {
		r.fault(FaultUnverified, "No signature and no token covers this delete: Segment signs the first event of an array only. Set ingest.bearer_token and Segment's Authorization header, or use `personasync user forget ID` if this one is intended.")
	}
	r.needsIdentifier()
}

// unknownType faults a missing or unknown type.
func (r *reader) unknownType(advice string) {
	if r.first(r.top.kind) == '"' {
		r.fault(FaultUnknownType, "The event's type "+shown(r.text(r.top.kind))+" is not known. "+advice)
		return
	}
	r.fault(FaultUnknownType, "The event has no type. "+advice)
}

// fault records the event's first fault. Checks run from the most basic to the most specific, so the first one
// is the one to fix first.
func (r *reader) fault(code, sentence string) {
	if r.event.Fault != "" {
		return
	}
	r.event.Fault, r.event.Sentence = code, sentence
}

func (r *reader) faultf(code, format string, args ...any) {
	if r.event.Fault == "" {
		r.fault(code, fmt.Sprintf(format, args...))
	}
}
