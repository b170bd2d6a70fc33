package sandbox

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Requests of Segment's own MoEngage destination, as written by @segment/action-destinations.
func TestSegmentsOwnDestinationIsTaken(t *testing.T) {
	s := serve(t, Options{Strict: true})
	wantStatus(t, s.post(partnerPath, `{"type":"identify","user_id":"user-1","traits":{"vip":true},"context":{"app":{},"os":{},"library":{}},"anonymous_id":"a-1","timestamp":"2026-03-14T09:26:53.589Z","update_existing_only":false}`), 200)
	wantStatus(t, s.post(partnerPath, `{"type":"track","user_id":"user-1","event":"Audience Entered","context":{"app":{},"os":{},"library":{}},"properties":{"audience_key":"vip"},"timestamp":"2026-03-14T09:26:53.589Z","update_existing_only":false}`), 200)
	wantStatus(t, s.post(partnerPath, `{"type":"page","user_id":"user-1"}`), 400)
	wantStatus(t, s.post(partnerPath, `{"type":"identify","traits":{}}`), 400)
	p, _ := s.User("user-1")
	if string(p.Attributes["vip"]) != "true" {
		t.Errorf("attributes %s", p.Attributes)
	}
	if len(p.Events) != 1 || p.Events[0].Action != "Audience Entered" || string(p.Events[0].Attributes) != `{"audience_key":"vip"}` ||
		!p.Events[0].Time.Equal(time.Date(2026, 3, 14, 9, 26, 53, 589e6, time.UTC)) {
		t.Errorf("events %+v", p.Events)
	}
}

func TestSegmentsOwnDestinationTestsItsCredentials(t *testing.T) {
	s := New(Options{WorkspaceID: workspaceID, APIKey: apiKey})
	for password, want := range map[string]int{apiKey: 200, "other": 401, "": 401} {
		r := httptest.NewRequest(http.MethodGet, "/v1/integrations/segment/auth?appId="+workspaceID, nil)
		r.SetBasicAuth(workspaceID, password)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("with the key %q: %d, want %d", password, w.Code, want)
		}
	}
}

// A deleted user stays for 24 hours, and can be updated until then (OpenAPI file, Delete User).
func TestADeletedUserGoesAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		wantStatus(t, send(t, s, customerOf("user-1", `{"a":1}`)), 200)
		wantStatus(t, record(s, newRequest(t, "http://sandbox"+deletePath, `{"identity_type":"customer_id","identity_value":"user-1"}`)), 200)
		time.Sleep(23 * time.Hour)
		wantStatus(t, send(t, s, customerOf("user-1", `{"b":2}`)), 200)
		if p, known := s.User("user-1"); !known || len(p.Attributes) != 2 {
			t.Errorf("within the day: %v %v", known, p.Attributes)
		}
		time.Sleep(time.Hour)
		if _, known := s.User("user-1"); known {
			t.Error("the user is there still")
		}
		wantStatus(t, send(t, s, customerOf("user-1", `{"c":3}`)), 200)
		if p, known := s.User("user-1"); !known || len(p.Attributes) != 1 {
			t.Errorf("made again: %v %v", known, p.Attributes)
		}
	})
}

func TestDeletionAnswersOverloadInAFormOfItsOwn(t *testing.T) {
	s := serve(t, Options{})
	s.Fail(Fault{Status: 429})
	a := s.post(deletePath, `{"identity_type":"customer_id","identity_value":"user-1"}`)
	want := `{"title":"Rate Limits Exceeded","description":"Rate limits for customers exceeded. Please Try After Some Time"}`
	if a.status != 429 || a.body != want {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestMergedUsersBecomeOne(t *testing.T) {
	s := serve(t, Options{})
	wantStatus(t, s.bulk(customerOf("old", `{"a":1,"b":1}`), customerOf("new", `{"b":2}`), eventOf("old", `{"action":"x"}`)), 200)
	wantStatus(t, s.post(mergePath, `{"merge_data":[{"merged_user":"nobody","retained_user":"new"},{"merged_user":"old","retained_user":"new"}]}`), 200)
	if _, known := s.User("old"); known {
		t.Error("the merged user is there still")
	}
	p, _ := s.User("new")
	got := map[string]string{}
	for name, value := range p.Attributes {
		got[name] = string(value)
	}
	if diff := cmp.Diff(map[string]string{"a": "1", "b": "2"}, got); diff != "" || len(p.Events) != 1 {
		t.Errorf("%d events; attributes (-want +got):\n%s", len(p.Events), diff)
	}
	wantRules(t, s.Sandbox, UnknownUID)
}

func TestADeviceMakesNoUser(t *testing.T) {
	s := serve(t, Options{Strict: true})
	wantStatus(t, s.post("/v1/device/"+workspaceID, `{"type":"device","customer_id":"user-1","device_id":"d1","attributes":{"platform":"ANDROID","push_id":"p"}}`), 200)
	s.wantStored("user-1", false)
}
