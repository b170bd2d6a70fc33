package syncer

import (
	"fmt"
	"slices"

	"personasync/store/domain"
	"personasync/sync/internal/payload"
	"personasync/sync/internal/ratelimit"
)

const (
	envelopeHead = `{"type":"transition","elements":[`
	envelopeTail = `]}`
)

// leastElement returns a lower bound of an element's bytes, so that a limit in bytes limits the number of
// elements.
func (c Config) leastElement() int {
	switch c.Endpoint {
	case domain.EndpointCohort:
		return len(`{"uid":"ab"},`)
	case domain.EndpointDelete:
		return c.MaxRequestBytes // one a request
	}
	return len(`{"type":"customer","customer_id":"","attributes":{}}`)
}

// item is one element of a request: the attributes of a user, an event, or a cohort member. They are
// separate because MoEngage may refuse one and accept the other.
type item struct {
	user     int  // index into Lease.Users
	event    bool // otherwise its attributes
	from, to int  // the element's bytes in load.body
}

// load is an encoded lease: one request, or several if MoEngage refuses it whole. Users are added up to a size. The
// bisector takes smaller requests from it without encoding it again.
type load struct {
	enc     payload.Encoder
	cohort  bool // for Cohort Sync
	deletes bool // one delete a request
	limit   int  // bytes of the whole body

	head, tail string // text around the elements

	body   []byte // head and elements with commas; the tail is added by request
	items  []item
	faults []fault
	added  int // users accepted by add

	users, events int
}

// fault is the attributes, or the event, of a user that fit no request.
type fault struct {
	user  int
	event bool
	code  string // of the failure table: too_large, unencodable
	bytes int    // size of a request with only this element, if it is too large
	limit int    // the exceeded limit
}

func (f fault) sentence() string {
	if f.code != codeTooLarge {
		return meanings[f.code].Means
	}
	return fmt.Sprintf("%s A request with nothing else would have %d bytes; the limit is %d.", meanings[f.code].Means, f.bytes, f.limit)
}

// newLoad returns an empty load within the configured size of a request.
func newLoad(c Config) *load {
	l := &load{enc: c.encoder(), cohort: c.Endpoint == domain.EndpointCohort, deletes: c.Endpoint == domain.EndpointDelete, limit: c.MaxRequestBytes, body: make([]byte, 0, min(c.MaxRequestBytes, 4096))}
	if !l.cohort && !l.deletes { // otherwise the first member determines the cohort, and a delete is a whole request
		l.begin(envelopeHead, envelopeTail)
	}
	return l
}

// begin sets the text around the elements, before the first of them.
func (l *load) begin(head, tail string) {
	l.head, l.tail = head, tail
	l.body = append(l.body[:0], head...)
}

// add adds a user's changes and reports whether it did. It returns false for changes that would make the request
// too large. Changes that fit no request at all are added, and their unsendable parts become faults. If not
// both fit, the attributes are added, and the event stays for the next request with neither
// item nor fault.
func (l *load) add(d domain.UserChanges) bool {
	switch {
	case l.cohort:
		return l.addMember(d)
	case l.deletes:
		return l.addDelete(d)
	}
	mark := *l
	fits := true
	if len(d.Attributes) > 0 {
		fits = l.element(false, func(b []byte) ([]byte, error) { return l.enc.AppendAttributes(b, d.User, d.Attributes) })
	}
	if fits && d.Event != nil {
		fits = l.element(true, func(b []byte) ([]byte, error) { return l.enc.AppendEvent(b, d.User, d.Event) })
	}
	if !fits && mark.added > 0 {
		*l = mark
		l.body = l.body[:len(mark.body)]
		return false
	}
	l.added++
	return true
}

// addDelete is add for deletes. MoEngage takes one user a request.
func (l *load) addDelete(d domain.UserChanges) bool {
	if l.added > 0 {
		return false
	}
	if d.Event == nil || d.Event.Kind != domain.KindDelete {
		l.faults = append(l.faults, fault{user: l.added, code: codeUnencodable}) // the outbox never produces this
	} else {
		l.element(true, func(b []byte) ([]byte, error) { return payload.AppendDelete(b, d.User) })
	}
	l.added++
	return true
}

// addMember is add for cohorts. It also returns false for a change to another cohort or in the other
// direction.
func (l *load) addMember(d domain.UserChanges) bool {
	if len(d.Attributes) != 1 {
		l.faults = append(l.faults, fault{user: l.added, code: codeUnencodable}) // the outbox never produces this
		l.added++
		return true
	}
	head := payload.CohortHead(&d.Attributes[0])
	switch {
	case len(l.items) == 0:
		l.begin(head, payload.CohortTail)
	case l.head != head:
		return false
	}
	mark := *l
	fits := l.element(false, func(b []byte) ([]byte, error) { return payload.AppendMember(b, d.User) })
	if !fits && mark.added > 0 {
		return false
	}
	l.added++
	return true
}

// element appends one element with write. It returns false if the element is valid but the request is full. An
// element that MoEngage would never accept becomes a fault and takes no space.
func (l *load) element(event bool, write func([]byte) ([]byte, error)) bool {
	before := len(l.body)
	if len(l.items) > 0 {
		l.body = append(l.body, ',')
	}
	from := len(l.body)
	body, err := write(l.body)
	l.body = body
	size := len(body) - from
	alone := len(l.head) + size + len(l.tail)
	switch {
	case err != nil:
		l.faults = append(l.faults, fault{user: l.added, event: event, code: codeUnencodable})
	case alone > l.limit:
		l.faults = append(l.faults, fault{user: l.added, event: event, code: codeTooLarge, bytes: alone, limit: l.limit})
	case len(body)+len(l.tail) > l.limit:
		l.body = body[:before]
		return false
	default:
		l.items = append(l.items, item{user: l.added, event: event, from: from, to: len(body)})
		l.count(event)
		return true
	}
	l.body = body[:before]
	return true
}

func (l *load) count(event bool) {
	if event {
		l.events++
	} else {
		l.users++
	}
}

// request returns the body with these items in this order. The caller may keep it, because a transport may
// still read it after the answer.
func (l *load) request(items []item) []byte {
	if len(items) == len(l.items) {
		return append(slices.Clip(l.body), l.tail...)
	}
	size := len(l.head) + len(l.tail)
	for _, it := range items {
		size += it.to - it.from + 1
	}
	b := append(make([]byte, 0, size), l.head...)
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, l.body[it.from:it.to]...)
	}
	return append(b, l.tail...)
}

// weigh returns the cost of a request with these items at MoEngage: a customer element is a user, and an action
// is an event. Where MoEngage counts requests, users are not counted.
func (l *load) weigh(items []item) ratelimit.Amount {
	users, events := count(items)
	if l.cohort || l.deletes {
		users, events = 0, 0
	}
	return ratelimit.Amount{Users: users, Events: events, Calls: min(len(items), 1)}
}

func count(items []item) (users, events int) {
	for _, it := range items {
		if it.event {
			events++
		} else {
			users++
		}
	}
	return users, events
}

func (c Config) encoder() payload.Encoder {
	return payload.Encoder{UpdateExistingOnly: c.UpdateExistingOnly, RealTimeAction: c.RealTimeAction}
}
