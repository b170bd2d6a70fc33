package sandbox

import (
	"bytes"
	"encoding/json"

	"personasync/sync/sandbox/internal/rawjson"
)

// The private endpoint of Segment's own MoEngage destination takes one identify or track call a request, in
// Segment's format. Its shape is taken from @segment/action-destinations, moengage. MoEngage documents only its
// limit of 500 requests a second, which the sandbox does not enforce.

// readPartner converts Segment's call to a MoEngage element.
func readPartner(body []byte) (c content, _ *refusal) {
	user := rawjson.Member(body, "user_id")
	if rawjson.Text(user) == "" {
		user = rawjson.Member(body, "anonymous_id")
	}
	e := element{user: rawjson.Text(user), existingOnly: rawjson.Is(rawjson.Member(body, "update_existing_only"), 't')}
	switch rawjson.Text(rawjson.Member(body, "type")) {
	case "identify":
		e.kind, e.attributes = customer, rawjson.Member(body, "traits")
	case "track":
		name := rawjson.Member(body, "event")
		if rawjson.Text(name) == "" {
			return c, missing("event")
		}
		e.kind, e.events = event, 1
		e.actions = actionOf(name, rawjson.Member(body, "properties"), rawjson.Member(body, "timestamp"))
	default:
		return c, &refusal{400, "AttributeError", "type should be identify/track", "type"}
	}
	switch {
	case e.user == "":
		return c, missing("user_id")
	case e.attributes != nil && !rawjson.Is(e.attributes, '{'):
		return c, expected("object", "traits")
	}
	c.elements = []element{e}
	return c, nil
}

// actionOf returns the array with one action for an event element.
func actionOf(name, attributes, at []byte) []byte {
	action := map[string]json.RawMessage{"action": name}
	if rawjson.Is(attributes, '{') {
		action["attributes"] = attributes
	}
	if rawjson.Is(at, '"') {
		action["current_time"] = at
	}
	raw, _ := json.Marshal(action) // cannot fail: the parts are valid JSON
	return bytes.Join([][]byte{{'['}, raw, {']'}}, nil)
}
