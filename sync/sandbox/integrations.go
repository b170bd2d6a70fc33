package sandbox

import (
	"encoding/json"
	"strings"

	"personasync/sync/sandbox/internal/rawjson"
)

// Endpoints other than data: cohort sync, reading users back, and the connection test.

// cohortChange is the cohort and direction of a cohort sync. The call's elements are its members.
type cohortChange struct {
	add      bool
	id, name string
}

func readCohort(c *call) *refusal {
	action := rawjson.Text(rawjson.Member(c.body, "action"))
	if action != "add_members" && action != "remove_members" {
		return &refusal{400, "AttributeError", "action should be add_members/remove_members", "action"}
	}
	if rawjson.Text(rawjson.Member(c.body, "partner")) == "" {
		return missing("partner")
	}
	parameters := rawjson.Member(c.body, "parameters")
	c.cohort = cohortChange{
		add:  action == "add_members",
		id:   rawjson.Text(rawjson.Member(parameters, "cohort_id")),
		name: rawjson.Text(rawjson.Member(parameters, "cohort_name")),
	}
	switch {
	case parameters == nil:
		return missing("parameters")
	case c.cohort.id == "":
		return missing("cohort_id")
	case c.cohort.name == "":
		return missing("cohort_name")
	case strings.ContainsAny(c.cohort.name, `|*?\:<>=$"`):
		return &refusal{400, "AttributeError", "cohort_name has a character that is not allowed", "cohort_name"}
	}
	return readMembers(c, rawjson.Member(parameters, "members"))
}

func readMembers(c *call, raw []byte) *refusal {
	for item := range rawjson.Items(raw) {
		id := rawjson.Member(item, "uid")
		switch {
		case id == nil:
			return missing("uid")
		case !rawjson.Is(id, '"'):
			return expected("string", "uid")
		}
		c.elements = append(c.elements, element{kind: uid, user: rawjson.Text(id)})
	}
	if len(c.elements) == 0 {
		return missing("members")
	}
	return nil
}

// acceptCohort changes a cohort and silently skips unknown users.
func (s *Sandbox) acceptCohort(c *call) ([]byte, *refusal) {
	if r := spend(&s.cohortCalls, c, 1, "cohorts"); r != nil {
		return nil, r
	}
	co := s.state.cohorts[c.cohort.id]
	if co == nil {
		co = &cohort{members: map[string]bool{}}
		s.state.cohorts[c.cohort.id] = co
	}
	co.name = c.cohort.name
	for _, e := range c.elements {
		switch {
		case s.state.users[e.user] == nil:
			s.violate(c, UnknownUID, e.user, c.cohort.id)
		case c.cohort.add:
			co.members[e.user] = true
		default:
			delete(co.members, e.user)
		}
	}
	return acceptedBody(c.ID), nil
}

func readExport(c *call) *refusal {
	data := rawjson.Member(c.body, "data")
	for item := range rawjson.Items(rawjson.Member(data, "identifiers")) {
		if rawjson.Text(rawjson.Member(item, "identifier_type")) != "customer_id" {
			return &refusal{400, "AttributeError", "identifier_type should be customer_id", "identifier_type"}
		}
		id := rawjson.Member(item, "identifier")
		if !rawjson.Is(id, '"') {
			return expected("string", "identifier")
		}
		c.elements = append(c.elements, element{kind: uid, user: rawjson.Text(id)})
	}
	for item := range rawjson.Items(rawjson.Member(data, "user_fields_to_export")) {
		c.fields = append(c.fields, rawjson.Text(item))
	}
	switch n := len(c.elements); {
	case n == 0:
		return missing("identifiers")
	case n > 20:
		return &tooManyUsers
	}
	return nil
}

// exportUsers answers Get User, MoEngage's only proof of storage.
func (s *Sandbox) exportUsers(c *call) ([]byte, *refusal) {
	if r := spend(&s.exports, c, len(c.elements), "customers"); r != nil {
		return nil, r
	}

	type identifier struct {
		Type string `json:"identifier_type"`
		ID   string `json:"identifier"`
	}
	type user struct {
		Attributes map[string]json.RawMessage `json:"user_attributes"`
	}
	var data struct {
		NotFound []identifier `json:"users_not_found"`
		Users    []user       `json:"users"`
	}
	data.NotFound, data.Users = []identifier{}, []user{}
	for _, e := range c.elements {
		p := s.state.users[e.user]
		if p == nil {
			data.NotFound = append(data.NotFound, identifier{"customer_id", e.user})
			continue
		}
		data.Users = append(data.Users, user{p.export(c.fields)})
	}
	body, _ := json.Marshal(map[string]any{"status": "success", "type": "export_users", "data": data}) // raw parts are valid JSON
	return body, nil
}

// export returns the requested fields, or all if none are named. It always includes the id.
func (p *profile) export(fields []string) map[string]json.RawMessage {
	out := map[string]json.RawMessage{"customer_id": rawjson.Quote(p.id)}
	if len(fields) == 0 {
		for _, a := range p.attrs {
			out[a.name] = json.RawMessage(a.value)
		}
	}
	for _, name := range fields {
		if a := p.find(name); a != nil {
			out[name] = json.RawMessage(a.value)
		}
	}
	return out
}

// connectionTest is the body of the authentication endpoint, which repeats the credentials.
type connectionTest struct{ app, secret string }

func readAuthentication(c *call) *refusal {
	for _, field := range []string{"app_id", "app_secret", "source", "region"} {
		if rawjson.Text(rawjson.Member(c.body, field)) == "" {
			return missing(field)
		}
	}
	c.test = connectionTest{rawjson.Text(rawjson.Member(c.body, "app_id")), rawjson.Text(rawjson.Member(c.body, "app_secret"))}
	return nil
}

func (s *Sandbox) testConnection(c *call) ([]byte, *refusal) {
	switch {
	case s.options.WorkspaceID != "" && c.test.app != s.options.WorkspaceID:
		return nil, &wrongApp
	case s.options.APIKey != "" && c.test.secret != s.options.APIKey:
		return nil, &wrongSecret
	}
	return []byte(`{"status":"success","app_name":"Sandbox"}`), nil
}
