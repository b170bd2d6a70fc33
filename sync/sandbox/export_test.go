package sandbox

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func exportOf(users ...string) string {
	var ids []string
	for _, u := range users {
		ids = append(ids, fmt.Sprintf(`{"identifier_type":"customer_id","identifier":%q}`, u))
	}
	return `{"data":{"identifiers":[` + strings.Join(ids, ",") + `],"user_fields_to_export":["vip"]}}`
}

func TestWhatWasLostIsNotExported(t *testing.T) {
	s := serve(t, Options{})
	wantStatus(t, s.bulk(customerOf("ann", `{"vip":true,"n":1}`), customerOf("bob", `{"vip":true}`)), 200)
	if !s.Lose("ann", "vip") || s.Lose("ann", "vip") || s.Lose("nobody") {
		t.Error("Lose does not say what there was to lose")
	}
	if r, err := http.Post(s.url+"/sandbox/lose?user=bob", "", nil); err != nil || r.Body.Close() != nil || r.StatusCode != 200 {
		t.Errorf("%v, %v", r, err)
	}
	got := s.post(exportPath, exportOf("ann", "bob"))
	wantStatus(t, got, 200)
	if want := `{"data":{"users_not_found":[{"identifier_type":"customer_id","identifier":"bob"}],"users":[{"user_attributes":{"customer_id":"ann"}}]},"status":"success","type":"export_users"}`; got.body != want {
		t.Errorf("answered %s", got.body)
	}
	wantStatus(t, s.bulk(customerOf("bob", `{"vip":false}`)), 200)
	wantAttribute(t, s.Sandbox, "bob", "vip", "false")
}

// Two profiles are kept. The first of three is lost and comes back.
func TestALostUserWhoCameBackIsEvictedInTurn(t *testing.T) {
	st := newState(2, 10)
	st.ensure("ann")
	st.forget(st.users["ann"])
	st.ensure("bob")
	st.ensure("ann") // evicts the empty profile
	if st.users["ann"] == nil || st.users["bob"] == nil || len(st.users) != 2 {
		t.Errorf("kept %v", st.users)
	}
}

func TestExportKeepsItsDocumentedLimits(t *testing.T) {
	s := serve(t, Options{})
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprintf("user-%d", i)
	}
	got := s.post(exportPath, exportOf(many...))
	if wantStatus(t, got, 400); !strings.Contains(got.body, "LimitBreached") {
		t.Errorf("21 users: %s", got.body)
	}
	for range 50 { // a thousand users a minute
		wantStatus(t, s.post(exportPath, exportOf(many[:20]...)), 200)
	}
	wantStatus(t, s.post(exportPath, exportOf("one-more")), 429)
}
