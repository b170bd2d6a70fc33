package sandbox

import (
	"strings"

	"personasync/sync/sandbox/internal/rawjson"
)

// The readers check the schema of one endpoint's body each. They return what they have read up to a refusal, because
// the record counts refused users, too.

const maxPairs = 50 // of a merge request

func readCohort(body []byte) (c content, _ *refusal) {
	action := rawjson.Text(rawjson.Member(body, "action"))
	if action != "add_members" && action != "remove_members" {
		return c, &refusal{400, "AttributeError", "action should be add_members/remove_members", "action"}
	}
	if rawjson.Text(rawjson.Member(body, "partner")) == "" {
		return c, missing("partner")
	}
	parameters := rawjson.Member(body, "parameters")
	c.cohort = cohortChange{
		add:  action == "add_members",
		id:   rawjson.Text(rawjson.Member(parameters, "cohort_id")),
		name: rawjson.Text(rawjson.Member(parameters, "cohort_name")),
	}
	switch {
	case parameters == nil:
		return c, missing("parameters")
	case c.cohort.id == "":
		return c, missing("cohort_id")
	case c.cohort.name == "":
		return c, missing("cohort_name")
	case strings.ContainsAny(c.cohort.name, `|*?\:<>=$"`):
		return c, &refusal{400, "AttributeError", "cohort_name has a character that is not allowed", "cohort_name"}
	}
	r := readMembers(&c, rawjson.Member(parameters, "members"))
	return c, r
}

func readMembers(c *content, raw []byte) *refusal {
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

func readExport(body []byte) (c content, _ *refusal) {
	data := rawjson.Member(body, "data")
	for item := range rawjson.Items(rawjson.Member(data, "identifiers")) {
		if rawjson.Text(rawjson.Member(item, "identifier_type")) != "customer_id" {
			return c, &refusal{400, "AttributeError", "identifier_type should be customer_id", "identifier_type"}
		}
		id := rawjson.Member(item, "identifier")
		if !rawjson.Is(id, '"') {
			return c, expected("string", "identifier")
		}
		c.elements = append(c.elements, element{kind: uid, user: rawjson.Text(id)})
	}
	for item := range rawjson.Items(rawjson.Member(data, "user_fields_to_export")) {
		c.fields = append(c.fields, rawjson.Text(item))
	}
	switch n := len(c.elements); {
	case n == 0:
		return c, missing("identifiers")
	case n > 20:
		return c, &tooManyUsers
	}
	return c, nil
}

func readAuthentication(body []byte) (c content, _ *refusal) {
	for _, field := range []string{"app_id", "app_secret", "source", "region"} {
		if rawjson.Text(rawjson.Member(body, field)) == "" {
			return c, missing(field)
		}
	}
	c.test = connectionTest{rawjson.Text(rawjson.Member(body, "app_id")), rawjson.Text(rawjson.Member(body, "app_secret"))}
	return c, nil
}

func readDeletion(body []byte) (c content, _ *refusal) {
	kind, id := rawjson.Text(rawjson.Member(body, "identity_type")), rawjson.Member(body, "identity_value")
	switch {
	case kind == "":
		return c, missing("identity_type")
	case kind != "customer_id": // moengage_id is documented too, but the sandbox assigns none
		return c, &refusal{400, "AttributeError", "identity_type should be customer_id", "identity_type"}
	case id == nil:
		return c, missing("identity_value")
	case rawjson.Text(id) == "":
		return c, expected("string", "identity_value")
	}
	c.elements = []element{{kind: uid, user: rawjson.Text(id)}}
	return c, nil
}

// readMerger parses pairs of users: the merged one, then the retained one.
func readMerger(body []byte) (c content, _ *refusal) {
	for pair := range rawjson.Items(rawjson.Member(body, "merge_data")) {
		for _, name := range []string{"merged_user", "retained_user"} {
			id := rawjson.Member(pair, name)
			switch {
			case id == nil:
				return c, missing(name)
			case rawjson.Text(id) == "":
				return c, expected("string", name)
			}
			c.elements = append(c.elements, element{kind: uid, user: rawjson.Text(id)})
		}
	}
	switch n := len(c.elements) / 2; {
	case n == 0:
		return c, missing("merge_data")
	case n > maxPairs:
		return c, &refusal{400, "LimitBreached", "max limit allowed is 50", "merge_data"}
	}
	return c, nil
}
