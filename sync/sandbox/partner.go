package sandbox

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// The private endpoint of Segment's own MoEngage destination takes one identify or track call a request, in
// Segment's format. Its shape is taken from @segment/action-destinations, moengage. MoEngage documents only its
// limit of 500 requests a second, which the sandbox does not enforce.

// readPartner converts Segment's call to a MoEngage element.
func readPartner(c *call) *refusal {
	user := member(c.body, "user_id")
	if text(user) == "" {
		user = member(c.body, "anonymous_id")
	}
	e := element{user: text(user), existingOnly: is(member(c.body, "update_existing_only"), 't')}
	switch text(member(c.body, "type")) {
	case "identify":
		e.kind, e.attributes = customer, member(c.body, "traits")
	case "track":
		name := member(c.body, "event")
		if text(name) == "" {
			return missing("event")
		}
		e.kind, e.events = event, 1
		e.actions = actionOf(name, member(c.body, "properties"), member(c.body, "timestamp"))
	default:
		return &refusal{400, "AttributeError", "type should be identify/track", "type"}
	}
	switch {
	case e.user == "":
		return missing("user_id")
	case e.attributes != nil && !is(e.attributes, '{'):
		return expected("object", "traits")
	}
	c.elements = []element{e}
	return nil
}

// actionOf returns the array with one action for an event element.
func actionOf(name, attributes, at []byte) []byte {
	action := map[string]json.RawMessage{"action": name}
	if is(attributes, '{') {
		action["attributes"] = attributes
	}
	if is(at, '"') {
		action["current_time"] = at
	}
	raw, _ := json.Marshal(action) // cannot fail: the parts are valid JSON
	return bytes.Join([][]byte{{'['}, raw, {']'}}, nil)
}

// partnerAuthentication answers the credentials test of Segment's destination, a GET.
func (s *Sandbox) partnerAuthentication(w http.ResponseWriter, r *http.Request) {
	c := &call{endpoint: partner, header: r.Header, query: appID(r)}
	if bad := c.checkCredentials(s.options.WorkspaceID, s.options.APIKey); bad != nil {
		refuse(*bad, "").write(w, nil, 0)
		return
	}
	jsonAnswer(http.StatusOK, []byte(`{"status":"success"}`)).write(w, nil, 0)
}
