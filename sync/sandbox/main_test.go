package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	workspaceID = "WS1"
	apiKey      = "k-secret"
)

// served is a sandbox behind real HTTP on loopback.
type served struct {
	*Sandbox
	t   testing.TB
	url string
	c   *http.Client
}

func serve(t testing.TB, o Options) *served {
	t.Helper()
	o.WorkspaceID, o.APIKey = workspaceID, apiKey
	s := New(o)
	srv := httptest.NewServer(s)
	client := &http.Client{
		Transport:     &http.Transport{},
		Timeout:       time.Minute, // a hanging test should report where
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		s.Heal()
		client.CloseIdleConnections()
		srv.Close()
	})
	return &served{s, t, srv.URL, client}
}

// reply is a response with its whole body.
type reply struct {
	status int
	header http.Header
	body   string
}

func newRequest(t testing.TB, url, body string, changes ...func(*http.Request)) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(workspaceID, apiKey)
	r.Header.Set("MOE-APPKEY", workspaceID)
	r.Header.Set("Content-Type", "application/json")
	for _, change := range changes {
		change(r)
	}
	return r
}

func (s *served) do(r *http.Request) (reply, error) {
	resp, err := s.c.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body)}, err
}

func (s *served) try(path, body string, changes ...func(*http.Request)) (reply, error) {
	s.t.Helper()
	return s.do(newRequest(s.t, s.url+path, body, changes...))
}

func (s *served) post(path, body string, changes ...func(*http.Request)) reply {
	s.t.Helper()
	got, err := s.try(path, body, changes...)
	if err != nil {
		s.t.Fatalf("POST %s: %v", path, err)
	}
	return got
}

const bulkPath = "/v1/transition/" + workspaceID

func (s *served) bulk(elements ...string) reply {
	s.t.Helper()
	return s.post(bulkPath, bulkBody(elements...))
}

func (s *served) get(path string, into any) int {
	s.t.Helper()
	resp, err := s.c.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if into != nil {
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			s.t.Fatalf("GET %s: %v", path, err)
		}
	}
	return resp.StatusCode
}

func bulkBody(elements ...string) string {
	return `{"type":"transition","elements":[` + strings.Join(elements, ",") + `]}`
}

func customerOf(user, attributes string) string {
	return fmt.Sprintf(`{"type":"customer","customer_id":%q,"attributes":%s}`, user, attributes)
}

func eventOf(user string, actions ...string) string {
	return fmt.Sprintf(`{"type":"event","customer_id":%q,"actions":[%s]}`, user, strings.Join(actions, ","))
}

func wantStatus(t testing.TB, got reply, status int) {
	t.Helper()
	if got.status != status {
		t.Fatalf("status %d, want %d: %s", got.status, status, got.body)
	}
}

func wantAttribute(t testing.TB, s *Sandbox, user, name, want string) {
	t.Helper()
	p, _ := s.User(user)
	if got := string(p.Attributes[name]); got != want {
		t.Errorf("%s of %s is %s, want %s", name, user, got, want)
	}
}

// rules lists the violations by rule, in order.
func rules(s *Sandbox) []Rule {
	all := []Rule{}
	for _, v := range s.Violations() {
		all = append(all, v.Rule)
	}
	return all
}

func wantRules(t testing.TB, s *Sandbox, want ...Rule) {
	t.Helper()
	if want == nil {
		want = []Rule{}
	}
	got := rules(s)
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}
