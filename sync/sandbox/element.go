package sandbox

import (
	"strings"

	"personasync/sync/sandbox/internal/rawjson"
)

type elementKind uint8

const (
	unknownKind elementKind = iota
	customer
	event
	device
	uid // a member of a cohort
)

// element is one statement about one user. The raw parts alias the request's body.
type element struct {
	kind         elementKind
	user         string
	attributes   []byte // of a customer: an object, or nil
	unset        []byte // of a customer: unset_attributes
	actions      []byte // of an event: a non-empty array
	events       int    // number of those actions
	existingOnly bool
	wrongCase    string   // the type as written if only its case is wrong: neither processed nor refused
	refusal      *refusal // why the schema refuses it
}

// readBulk parses the body of /v1/transition. A bad element has its own refusal. The returned refusal concerns
// the whole body.
func readBulk(body []byte) (c content, _ *refusal) {
	if kind := rawjson.Text(rawjson.Member(body, "type")); kind != "transition" {
		return c, &refusal{400, "AttributeError", "type should be transition", "type"}
	}
	raw := rawjson.Member(body, "elements")
	if !rawjson.Is(raw, '[') {
		return c, &noElements
	}
	c.elements = make([]element, 0, len(raw)/100)
	for item := range rawjson.Items(raw) {
		c.elements = append(c.elements, readElement(item))
	}
	if len(c.elements) == 0 {
		return content{}, &noElements
	}
	return c, nil
}

// readSingle returns the reader of /v1/customer, /v1/event or /v1/device, whose body is one element.
func readSingle(want elementKind) func(body []byte) (content, *refusal) {
	return func(body []byte) (content, *refusal) {
		e := readElement(body)
		switch {
		case e.refusal == &missingBulkUser:
			return content{}, &missingUser // the same refusal, worded differently
		case e.refusal == nil && e.kind != want:
			return content{}, &refusal{400, "AttributeError", "type should be " + want.String(), "type"}
		}
		return content{elements: []element{e}}, e.refusal
	}
}

func readElement(raw []byte) element {
	if !rawjson.Is(raw, '{') {
		return element{refusal: expected("object", "elements")}
	}
	var e element
	var kind, user []byte
	for name, value := range rawjson.Members(raw) {
		switch string(name) {
		case "type":
			kind = value
		case "customer_id":
			user = value
		case "attributes":
			e.attributes = value
		case "unset_attributes":
			e.unset = value
		case "actions":
			e.actions = value
		case "update_existing_only":
			e.existingOnly = rawjson.Is(value, 't')
		}
	}
	e.user = rawjson.Text(user)
	e.kind, e.wrongCase = readKind(kind)
	switch {
	case e.kind == unknownKind:
		e.refusal = &badElementType
	case user == nil:
		e.refusal = &missingBulkUser
	case !rawjson.Is(user, '"'):
		e.refusal = &wrongType
	case e.attributes != nil && !rawjson.Is(e.attributes, '{'):
		e.refusal = expected("object", "attributes")
	case e.kind == event:
		e.events, e.refusal = readActions(e.actions)
	case e.kind == customer:
		e.refusal = checkArrayFields(e.attributes)
	}
	return e
}

func readKind(raw []byte) (elementKind, string) {
	kind := rawjson.Text(raw)
	for k := customer; k <= device; k++ {
		if kind == k.String() {
			return k, ""
		}
		if strings.EqualFold(kind, k.String()) {
			return k, kind
		}
	}
	return unknownKind, ""
}

// String returns the word for the kind in a request.
func (k elementKind) String() string {
	return [...]string{"", "customer", "event", "device", "member"}[k]
}

func readActions(raw []byte) (n int, _ *refusal) {
	if !rawjson.Is(raw, '[') {
		return 0, missing("actions")
	}
	for action := range rawjson.Items(raw) {
		if len(rawjson.Text(rawjson.Member(action, "action"))) == 0 {
			return 0, &emptyAction
		}
		n++
	}
	if n == 0 {
		return 0, missing("actions")
	}
	return n, nil
}

const (
	addToArray      = "addValueToArrayField"
	removeFromArray = "removeValueFromArrayField"
)

// checkArrayFields refuses an array field with values to add and to remove.
func checkArrayFields(attributes []byte) *refusal {
	var add, remove []byte
	for name, value := range rawjson.Members(attributes) {
		switch string(name) {
		case addToArray:
			add = value
		case removeFromArray:
			remove = value
		}
	}
	if add == nil || remove == nil {
		return nil
	}
	for field := range rawjson.Members(add) {
		if rawjson.Member(remove, string(field)) != nil {
			r := arrayFieldError(string(field))
			return &r
		}
	}
	return nil
}

// content is a parsed body.
type content struct {
	elements []element
	cohort   cohortChange
	fields   []string // of an export
	test     connectionTest
}

// cohortChange is the cohort and direction of a cohort sync. The elements are its members.
type cohortChange struct {
	add      bool
	id, name string
}

// connectionTest is the body of the authentication endpoint, which repeats the credentials.
type connectionTest struct{ app, secret string }
