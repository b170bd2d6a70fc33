package sandbox

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// failure is a documented error body without its request id.
func failure(kind, message, attribute string) map[string]any {
	e := map[string]any{"type": kind, "message": message}
	if attribute != "" {
		e["attribute"] = attribute
	}
	return map[string]any{"status": "fail", "error": e}
}

func without(name string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Del(name) }
}

func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func login(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

var (
	fine         = customerOf("user-1", `{"vip":true}`)
	fineCohort   = `{"action":"add_members","partner":"p","parameters":{"cohort_name":"A","cohort_id":"c1","members":[{"uid":"user-1"}]}}`
	cohortsPath  = "/v1/integrations/cohortsync"
	exportPath   = "/v1/customers/export?app_id=" + workspaceID
	customerPath = "/v1/customer/" + workspaceID
	eventPath    = "/v1/event/" + workspaceID
	deletePath   = "/v1/customer/delete?app_id=" + workspaceID
	mergePath    = "/v1/customer/merge?app_id=" + workspaceID
	partnerPath  = "/v1/integrations/segment?appId=" + workspaceID
)

func TestDocumentedErrors(t *testing.T) {
	const badAuth = "Authentication required"
	strict := []struct {
		name   string
		path   string
		body   string
		change func(*http.Request)
		status int
		want   map[string]any
	}{
		{"no content type", bulkPath, bulkBody(fine), without("Content-Type"), 400,
			failure("Missing header value", "The Content-Type Header is required", "")},
		{"another content type", bulkPath, bulkBody(fine), with("Content-Type", "text/plain"), 415,
			failure("Unsupported Media Type", "Unsupported Media Type", "")},
		{"content type is judged before credentials", bulkPath, "{", func(r *http.Request) {
			without("Content-Type")(r)
			without("Authorization")(r)
		}, 400, failure("Missing header value", "The Content-Type Header is required", "")},
		{"no credentials", bulkPath, bulkBody(fine), without("Authorization"), 401,
			failure("Authentication Required", "Authentication Header Required", "")},
		{"credentials that are not Basic", bulkPath, bulkBody(fine), with("Authorization", "Bearer x"), 401,
			failure(badAuth, "Invalid identity information found", "")},
		{"no workspace in the credentials", bulkPath, bulkBody(fine), login("", apiKey), 401,
			failure(badAuth, "APP_KEY missing in the authentication header", "")},
		{"no key in the credentials", bulkPath, bulkBody(fine), login(workspaceID, ""), 401,
			failure(badAuth, "APP_SECRET missing in the authentication header", "")},
		{"a wrong key", bulkPath, bulkBody(fine), login(workspaceID, "other"), 401,
			failure(badAuth, "App Secret key mismatch. Please login to the dashboard to verify key", "")},
		{"another workspace", bulkPath, bulkBody(fine), login("WS2", apiKey), 401,
			failure(badAuth, "Invalid APP_ID used in Authentication Header", "")},
		{"another workspace in the path", "/v1/transition/WS2", bulkBody(fine), nil, 409,
			failure("Authentication Mismatch", "App key mismatch in params and authentication", "")},
		{"another workspace in MOE-APPKEY", bulkPath, bulkBody(fine), with("MOE-APPKEY", "WS2"), 409,
			failure("Authentication Mismatch", "App key mismatch in params and authentication", "")},
		{"no workspace in the URL", "/v1/transition", bulkBody(fine), nil, 400,
			failure("ParamsRequired", "app_id is required in path/query params.", "")},
		{"cohort sync without MOE-APPKEY", cohortsPath, fineCohort, without("MOE-APPKEY"), 401,
			failure(badAuth, "APP_KEY missing in the authentication header", "")},
		{"credentials are judged before size", bulkPath, strings.Repeat("x", 200_000), without("Authorization"), 401,
			failure("Authentication Required", "Authentication Header Required", "")},
		{"a bulk body over 102,400 bytes", bulkPath, bulkBody(fine) + strings.Repeat(" ", 102_400), nil, 413,
			failure("Payload too large", "Payload can not exceed 128KB", "")},
		{"a single body over 131,072 bytes", customerPath, fine + strings.Repeat(" ", 131_072), nil, 413,
			failure("Payload too large", "Payload can not exceed 128KB", "")},
		{"no body", bulkPath, " ", nil, 400,
			failure("Empty request body", "A valid JSON document is required", "")},
		{"half a body", bulkPath, `{"type":"transition"`, nil, 400,
			failure("Malformed JSON", "Could not decode the request body. The JSON was incorrect or not encoded as UTF-8.", "")},
		{"broken UTF-8", bulkPath, bulkBody(customerOf("user-1", "{\"a\":\"\xff\"}")), nil, 400,
			failure("Malformed JSON", "Could not decode the request body. The JSON was incorrect or not encoded as UTF-8.", "")},
		{"a string", bulkPath, `"hello"`, nil, 400,
			failure("Body type is not JSON", "A valid JSON document is required.", "")},
		{"no elements", bulkPath, bulkBody(), nil, 400,
			failure("MissingAttributeError", "'elements cannot be empty array", "elements")},
		{"an unknown element type", bulkPath, bulkBody(fine, `{"type":"person","customer_id":"user-1"}`), nil, 400,
			failure("AttributeError", "'type in elements should be customer/event/device", "type")},
		{"an element without customer_id", bulkPath, bulkBody(fine, `{"type":"customer","attributes":{}}`), nil, 400,
			failure("MissingAttributeError", "'customer_id not found in the payload", "customer_id")},
		{"a single customer without customer_id", customerPath, `{"type":"customer","attributes":{}}`, nil, 400,
			failure("MissingAttributeError", "customer_id is not found in the payload", "customer_id")},
		{"a number for customer_id", bulkPath, bulkBody(`{"type":"customer","customer_id":5}`), nil, 400,
			failure("TypeError", "expected string", "customer_id")},
		{"attributes that are a list", bulkPath, bulkBody(customerOf("user-1", `[]`)), nil, 400,
			failure("TypeError", "expected object", "attributes")},
		{"no actions", bulkPath, bulkBody(eventOf("user-1")), nil, 400,
			failure("MissingAttributeError", "actions is not found in the payload", "actions")},
		{"an action without a name", eventPath, eventOf("user-1", `{"action":"x"}`, `{"action":""}`), nil, 400,
			failure("AttributeError", "'action cannot be empty Unicode string", "action")},
		{"adding to and removing from one field", bulkPath,
			bulkBody(customerOf("user-1", `{"addValueToArrayField":{"a":["x"],"b":["y"]},"removeValueFromArrayField":{"b":["z"]}}`)), nil, 400,
			failure("ArrayFieldError", "Cannot add and remove 'b' at the same time", "b")},
		{"an event at the customer endpoint", customerPath, eventOf("user-1", `{"action":"x"}`), nil, 400,
			failure("AttributeError", "type should be customer", "type")},
		{"a cohort action that is neither", cohortsPath, strings.Replace(fineCohort, "add_members", "add", 1), nil, 400,
			failure("AttributeError", "action should be add_members/remove_members", "action")},
		{"a cohort without members", cohortsPath, strings.Replace(fineCohort, `{"uid":"user-1"}`, "", 1), nil, 400,
			failure("MissingAttributeError", "members is not found in the payload", "members")},
		{"reading back 21 users", exportPath, exportBody(make([]string, 21)...), nil, 400,
			failure("LimitBreached", "max limit allowed is 20", "identifiers")},
		{"a connection test without a region", "/v1/integrations/authentication",
			`{"app_id":"WS1","app_secret":"k-secret","source":"agent"}`, nil, 400,
			failure("MissingAttributeError", "region is not found in the payload", "region")},
		{"a connection test with a wrong key", "/v1/integrations/authentication",
			`{"app_id":"WS1","app_secret":"other","source":"agent","region":"01"}`, nil, 401,
			failure(badAuth, "App Secret key mismatch. Please login to the dashboard to verify key", "")},
		{"an unknown path", "/v1/nothing", "{}", nil, 404, failure("Not Found", "Not Found", "")},
		{"a path that there is not", "/v1/opengdpr_requests/WS1", "{}", nil, 404, failure("Not Found", "Not Found", "")},
		{"deleting an unknown user", deletePath, `{"identity_type":"customer_id","identity_value":"user-1"}`, nil, 400,
			failure("Not Found", "User doesn't exists with customer id user-1", "")},
		{"deleting nobody", deletePath, `{"identity_type":"customer_id"}`, nil, 400,
			failure("MissingAttributeError", "identity_value is not found in the payload", "identity_value")},
		{"merging 51 pairs", mergePath, `{"merge_data":[` + strings.Repeat(`{"merged_user":"old","retained_user":"new"},`, 50) + `{"merged_user":"old","retained_user":"new"}]}`, nil, 400,
			failure("LimitBreached", "max limit allowed is 50", "merge_data")},
		{"a customer at the device endpoint", "/v1/device/" + workspaceID, fine, nil, 400,
			failure("AttributeError", "type should be device", "type")},
		{"another method", bulkPath, "", func(r *http.Request) { r.Method = http.MethodPut }, 405,
			failure("Method Not Allowed", "Method Not Allowed", "")},
	}
	s := serve(t, Options{Strict: true})
	for _, tt := range strict {
		t.Run(tt.name, func(t *testing.T) {
			change := tt.change
			if change == nil {
				change = func(*http.Request) {}
			}
			got := s.post(tt.path, tt.body, change)
			wantStatus(t, got, tt.status)
			if diff := cmp.Diff(tt.want, withoutRequestID(t, got.body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
	if n := s.Stats().Profiles; n != 0 {
		t.Errorf("%d profiles were stored of refused requests", n)
	}
}

func exportBody(users ...string) string {
	var ids []string
	for _, u := range users {
		ids = append(ids, `{"identifier_type":"customer_id","identifier":"`+u+`"}`)
	}
	return `{"data":{"identifiers":[` + strings.Join(ids, ",") + `],"user_fields_to_export":["vip"]}}`
}

func withoutRequestID(t *testing.T, body string) map[string]any {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if e, ok := got["error"].(map[string]any); ok {
		delete(e, "request_id")
	}
	return got
}

func TestAcceptedRequestIsAnsweredAsDocumented(t *testing.T) {
	s := serve(t, Options{})
	got := s.bulk(fine)
	wantStatus(t, got, 200)
	want := `{"status":"success","message":"Your request has been accepted and will be processed soon.","request_id":"` + requestID(1) + `"}`
	if got.body != want {
		t.Errorf("body %s, want %s", got.body, want)
	}
	for name, want := range map[string]string{limitHeader: "60000", remainingHeader: "59999", "Content-Type": "application/json"} {
		if got := got.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	wantStatus(t, s.post("/v1/transition?app_id="+workspaceID, bulkBody(fine)), 200)
	wantRules(t, s.Sandbox)
}

func TestEmptyOptionsAcceptAnyCredentialsButWantThem(t *testing.T) {
	s := New(Options{})
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		want   int
	}{
		{"any pair", login("WS9", "whatever"), 200},
		{"none", without("Authorization"), 401},
		{"no key", login("WS9", ""), 401},
		{"a pair for another path", login("WS8", "whatever"), 409},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRequest(t, "http://sandbox/v1/transition/WS9", bulkBody(fine), without("MOE-APPKEY"), tt.change)
			if got := record(s, r); got.status != tt.want {
				t.Errorf("status %d, want %d", got.status, tt.want)
			}
		})
	}
	wantRules(t, s, NoAppKey)
}

func TestLenientBulkDropsBadElementsAndTakesTheRest(t *testing.T) {
	s := serve(t, Options{})
	wantStatus(t, s.bulk(`{"type":"person"}`, fine, `{"type":"customer"}`, `7`), 200)
	wantAttribute(t, s.Sandbox, "user-1", "vip", "true")
	wantRules(t, s.Sandbox, BadElement, BadElement, BadElement)
	if got := s.Requests()[0]; got.Users != 1 {
		t.Errorf("%d users were counted, want 1", got.Users)
	}
}

func TestConnectionTestAnswersTheWorkspace(t *testing.T) {
	s := serve(t, Options{})
	got := s.post("/v1/integrations/authentication", `{"app_id":"WS1","app_secret":"k-secret","source":"agent","region":"01"}`)
	wantStatus(t, got, 200)
	if want := `{"status":"success","app_name":"Sandbox"}`; got.body != want {
		t.Errorf("body %s, want %s", got.body, want)
	}
}

func TestSizesBetweenTheReadingsOfALimitAreRecorded(t *testing.T) {
	s := serve(t, Options{})
	pad := func(body string, size int) string { return body + strings.Repeat(" ", size-len(body)) }
	wantStatus(t, s.post(bulkPath, pad(bulkBody(fine), 100_000)), 200)
	wantRules(t, s.Sandbox)
	wantStatus(t, s.post(bulkPath, pad(bulkBody(fine), 100_001)), 200)
	wantStatus(t, s.post(bulkPath, pad(bulkBody(fine), 102_400)), 200)
	wantStatus(t, s.post(bulkPath, pad(bulkBody(fine), 102_401)), 413)
	wantStatus(t, s.post(customerPath, pad(fine, 128_000)), 200)
	wantStatus(t, s.post(customerPath, pad(fine, 131_072)), 200)
	wantRules(t, s.Sandbox, SoftSize, SoftSize, SoftSize)
}
