package syncer

import (
	"strings"
	"testing"

	"personasync/store/domain"
)

func TestPreviewShowsTheRequestWithoutSecrets(t *testing.T) {
	c := Config{BaseURL: "https://api-02.moengage.com/", WorkspaceID: "WS", APIKey: "s3cret"}
	p, err := c.Preview(documentedLease())
	if err != nil || len(p) != 1 {
		t.Fatalf("%d requests, %v", len(p), err)
	}
	if string(p[0].Body) != documented || p[0].Users != 2 || p[0].Events != 1 {
		t.Errorf("%d users, %d events: %s", p[0].Users, p[0].Events, p[0].Body)
	}
	if p[0].Method != "POST" || p[0].URL != "https://api-02.moengage.com/v1/transition/WS" {
		t.Errorf("%s %s", p[0].Method, p[0].URL)
	}
	if got := p[0].Header.Get("Authorization"); got != "Basic ********" {
		t.Errorf("Authorization: %s", got)
	}
}

func TestPreviewCutsAsTheSenderDoes(t *testing.T) {
	f := &domain.Lease{}
	for range 25 {
		f.Users = append(f.Users, user("someone", 10, 10))
	}
	p, err := Config{UsersPerMinute: 600}.Preview(f)
	if err != nil || len(p) != 3 || p[0].Users != 10 || p[2].Users != 5 {
		t.Errorf("by limits: %d requests, %v", len(p), err)
	}
	p, err = Config{MaxRequestBytes: 1000}.Preview(f)
	users, events := 0, 0
	for _, r := range p {
		if len(r.Body) > 1000 {
			t.Errorf("%d bytes", len(r.Body))
		}
		users, events = users+r.Users, events+r.Events
	}
	if err != nil || users != 25 || events != 25 {
		t.Errorf("by bytes: %d users and %d events in %d requests, %v", users, events, len(p), err)
	}
}

func TestPreviewNamesWhatWouldBeParked(t *testing.T) {
	c := Config{MaxRequestBytes: 400}
	big := user("aa", 1000, 10)
	big.Attributes[0].ID = domain.ID{Epoch: 1, Seq: 2, Slot: 3}
	p, err := c.Preview(&domain.Lease{Users: []domain.UserChanges{big, user("bb", 250, 200)}})
	if err == nil || !strings.Contains(err.Error(), "00000001-2-3") || !strings.Contains(err.Error(), codeTooLarge) {
		t.Errorf("error %v", err)
	}
	if len(p) != 3 {
		t.Errorf("%d requests, want the first event, the second's attributes and its event", len(p))
	}
	if p, err := c.Preview(&domain.Lease{}); len(p) != 0 || err != nil {
		t.Errorf("an empty lease: %d requests, %v", len(p), err)
	}
}

func TestPreviewNamesAnEventThatWouldBeParked(t *testing.T) {
	d := domain.UserChanges{User: "ann", Event: &domain.Change{ID: domain.ID{Epoch: 1, Seq: 2, Slot: 4}, Kind: domain.KindEvent, Name: "Moved", Props: []byte("{")}}
	p, err := Config{}.Preview(&domain.Lease{Users: []domain.UserChanges{d, user("bob", 1, 1)}})
	if err == nil || !strings.Contains(err.Error(), "change 00000001-2-4 would be parked as unencodable: ") {
		t.Errorf("error %v", err)
	}
	if len(p) != 1 || p[0].Users != 1 || p[0].Events != 1 {
		t.Errorf("requests %+v, want one with the other user", p)
	}
}

func TestPreviewOfACohort(t *testing.T) {
	in := func(user, cohort string) domain.UserChanges {
		return domain.UserChanges{User: user, Attributes: []domain.Change{{Kind: domain.KindCohort, Name: cohort, Transition: domain.TransitionEnter}}}
	}
	p, err := Config{BaseURL: "https://api-02.moengage.com", WorkspaceID: "WS"}.Preview(&domain.Lease{Endpoint: domain.EndpointCohort, Users: []domain.UserChanges{in("ann", "vip"), in("bob", "vip"), in("ann", "gold")}})
	if err != nil || len(p) != 2 || p[0].Users != 2 || p[1].Users != 1 || p[0].URL != "https://api-02.moengage.com/v1/integrations/cohortsync" {
		t.Errorf("%+v, %v", p, err)
	}
}
