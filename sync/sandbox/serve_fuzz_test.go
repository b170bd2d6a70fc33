package sandbox

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"personasync/sync/sandbox/internal/rawjson"
)

// FuzzReadBulk compares the walk with encoding/json.
func FuzzReadBulk(f *testing.F) {
	f.Add(bulkBody(fine, eventOf("user-2", `{"action":"x","attributes":{"a":[1,{"b":"]"}]}}`)))
	f.Add(`{ "type" : "transition" , "elements" : [ { } , [ ] , 1 , "a\"b" , null ] }`)
	f.Add(`{"elements":[{"type":"customer","customer_id":"\u0061\\","customer_id":"b\ud800","attributes":{"\"":{}}}],"type":"tr\u0061nsition"}`)
	f.Add(`[]`)
	f.Add(strings.Repeat("[", 20_000))
	f.Fuzz(func(t *testing.T, body string) {
		trimmed := bytes.TrimSpace([]byte(body))
		if !rawjson.WellFormed(trimmed) {
			return
		}
		read, refusal := readBulk(trimmed)
		got := read.elements
		var whole map[string]json.RawMessage
		var kind string
		var items []json.RawMessage
		if json.Unmarshal(trimmed, &whole) != nil || json.Unmarshal(whole["type"], &kind) != nil || kind != "transition" ||
			json.Unmarshal(whole["elements"], &items) != nil || len(items) == 0 {
			if refusal == nil {
				t.Fatalf("accepted as %d elements", len(got))
			}
			return
		}
		if refusal != nil || len(got) != len(items) {
			t.Fatalf("%d elements, %+v; want %d", len(got), refusal, len(items))
		}
		for i, raw := range items {
			compareElement(t, got[i], raw)
		}
	})
}

func compareElement(t *testing.T, got element, raw json.RawMessage) {
	t.Helper()
	var want map[string]json.RawMessage
	if json.Unmarshal(raw, &want) != nil || want == nil {
		if got.refusal == nil {
			t.Fatalf("%s is taken for an element", raw)
		}
		return
	}
	var user string
	if json.Unmarshal(want["customer_id"], &user) == nil && user != got.user {
		t.Fatalf("user %q, want %q", got.user, user)
	}
	if !bytes.Equal(got.attributes, want["attributes"]) || !bytes.Equal(got.actions, want["actions"]) {
		t.Fatalf("attributes %s, actions %s of %s", got.attributes, got.actions, raw)
	}
	if got.refusal == nil && user == "" && string(want["customer_id"]) != `""` {
		t.Fatalf("%s needs no user", raw)
	}
}

// FuzzServe sends arbitrary requests. Each must be answered, and never with 5xx.
func FuzzServe(f *testing.F) {
	paths := []string{bulkPath, customerPath, eventPath, cohortsPath, exportPath, "/v1/integrations/authentication"}
	f.Add(0, bulkBody(fine))
	f.Add(1, `{"type":"customer","customer_id":"user-1","attributes":{"addValueToArrayField":{"a":{}},"b":[[],{}]},"unset_attributes":[1,{}]}`)
	f.Add(2, eventOf("user-1", `{"action":"x","current_time":{},"attributes":[]}`))
	f.Add(3, fineCohort)
	f.Add(4, exportBody("user-1"))
	f.Add(5, `{"app_id":"WS1"}`)
	f.Fuzz(func(t *testing.T, path int, body string) {
		s := New(Options{})
		path = (path%len(paths) + len(paths)) % len(paths)
		got := record(s, newRequest(t, "http://sandbox"+paths[path], body))
		if got.status >= 500 || !json.Valid([]byte(got.body)) {
			t.Errorf("answered %d %q", got.status, got.body)
		}
		for id := range s.workspace.state.users {
			if p, _ := s.User(id); !json.Valid(mustMarshal(t, p)) {
				t.Errorf("profile of %q is not JSON", id)
			}
		}
	})
}

func mustMarshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
