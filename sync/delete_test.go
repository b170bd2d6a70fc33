package syncer

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"personasync/store/domain"
	"personasync/sync/internal/payload"
	"personasync/sync/sandbox"
)

// TestAnswersToADelete: the sandbox answers as MoEngage's documents say, and only its own words about an unknown user
// count as done.
func TestAnswersToADelete(t *testing.T) {
	box := httptest.NewServer(sandbox.New(sandbox.Options{Strict: true}))
	defer box.Close()
	c := Config{Endpoint: domain.EndpointDelete, BaseURL: box.URL, WorkspaceID: "WS", APIKey: "key"}.withDefaults()
	transport := newTransport()
	defer transport.CloseIdleConnections()
	put, err := http.NewRequest(http.MethodPost, box.URL+"/v1/customer/WS", strings.NewReader(`{"type":"customer","customer_id":"ann","attributes":{"vip":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	put.Header = c.header("")
	put.SetBasicAuth("WS", "key")
	if got, err := transport.RoundTrip(put); err != nil || got.StatusCode != http.StatusOK {
		t.Fatalf("the user is not there: %v", err)
	} else {
		got.Body.Close()
	}
	for _, tc := range []struct {
		name, user, fault, code string
		act                     action
	}{
		{"a known user", "ann", "", codeAccepted, actAccept},
		{"the same again", "ann", "", codeAccepted, actAccept},
		{"an unknown user", "bob", "", codeNoSuchUser, actAccept},
		{"no right to delete", "ann", "status=403,count=1", "http_403", actStop},
		{"wrong credentials", "ann", "status=401,count=1", "http_401", actStop},
		{"another address", "ann", "status=404,count=1", "http_404", actStop},
		{"over the limit", "ann", "status=429,count=1", "http_429", actRetry},
		{"a failure", "ann", "status=500,count=1", "http_500", actUncertain},
		{"no answer", "ann", "reset,when=after,count=1", codeLost, actUncertain},
	} {
		if tc.fault != "" {
			got, err := http.Post(box.URL+"/sandbox/fail?spec="+tc.fault, "", nil)
			if err != nil || got.StatusCode != http.StatusOK {
				t.Fatalf("%s: %v", tc.name, err)
			}
			got.Body.Close()
		}
		body, err := payload.AppendDelete(nil, tc.user)
		if err != nil {
			t.Fatal(err)
		}
		if got := newClient(c, transport).post(t.Context(), body); got.Code != tc.code || got.act != tc.act {
			t.Errorf("%s: %s, %d: %s", tc.name, got.Code, got.act, got.message)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestARequestDeletesOneUser: MoEngage takes one, and the outbox offers more.
func TestARequestDeletesOneUser(t *testing.T) {
	c := Config{Endpoint: domain.EndpointDelete, BaseURL: "http://moengage", WorkspaceID: "W S"}
	remove := func(user string) domain.UserChanges {
		return domain.UserChanges{User: user, Event: &domain.Change{Kind: domain.KindDelete, User: user}}
	}
	list, err := c.Preview(&domain.Lease{Endpoint: domain.EndpointDelete, Users: []domain.UserChanges{remove(`an"n`), remove("bob")}})
	if err != nil || len(list) != 2 {
		t.Fatalf("%d requests, %v", len(list), err)
	}
	if got := string(list[0].Body); got != `{"identity_type":"customer_id","identity_value":"an\"n"}` || list[0].URL != "http://moengage/v1/customer/delete?app_id=W+S" {
		t.Errorf("%s to %s", got, list[0].URL)
	}
}
