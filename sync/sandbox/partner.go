package sandbox

import (
	"bytes"
	"encoding/json"
	"net/http"

	"personasync/sync/sandbox/internal/rawjson"
)

// The private endpoint of Segment's own MoEngage destination takes one identify or track call a request, in
// Segment's format. Its shape is taken from @segment/action-destinations, moengage. MoEngage documents only its
// limit of 500 requests a second, which the sandbox does not enforce.

// readPartner converts Segment's call to a MoEngage element.
func readPartner(c *call) *refusal {
	user := rawjson.Member(c.body, "user_id")
	if rawjson.Text(user) == "" {
		user = rawjson.Member(c.body, "anonymous_id")
	}
	e := element{user: rawjson.Text(user), existingOnly: rawjson.Is(rawjson.Member(c.body, "update_existing_only"), 't')}
	switch rawjson.Text(rawjson.Member(c.body, "type")) {
	case "identify":
		e.kind, e.attributes = customer, rawjson.Member(c.body, "traits")
	case "track":
		name := rawjson.Member(c.body, "event")
		if rawjson.Text(name) == "" {
			return missing("event")
		}
		e.kind, e.events = event, 1
		e.actions = actionOf(name, rawjson.Member(c.body, "properties"), rawjson.Member(c.body, "timestamp"))
	default:
		return &refusal{400, "AttributeError", "type should be identify/track", "type"}
	}
	switch {
	case e.user == "":
		return missing("user_id")
	case e.attributes != nil && !rawjson.Is(e.attributes, '{'):
		return expected("object", "traits")
	}
	c.elements = []element{e}
	return nil
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

// partnerAuthentication answers the credentials test of Segment's destination, a GET.
func (s *Sandbox) partnerAuthentication(w http.ResponseWriter, r *http.Request) {
	c := &call{endpoint: partner, header: r.Header, query: appID(r)}
	if bad := c.checkCredentials(s.options.WorkspaceID, s.options.APIKey); bad != nil {
		refuse(*bad, "").write(w, nil, 0)
		return
	}
	jsonAnswer(http.StatusOK, []byte(`{"status":"success"}`)).write(w, nil, 0)
}
