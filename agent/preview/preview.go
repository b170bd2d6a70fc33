package preview

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// Settings is the configuration that a delivery is read and sent by.
type Settings struct {
	Config   *config.Config
	Endpoint func(domain.Endpoint) syncer.Config // how its requests are made
}

// Try runs f with a trial of a store, by rules: store.TryNew, or View.Try.
type Try func(rules domain.Rules, f func(*store.Trial) error) error

// Run reads a delivery and shows its effect in the store that try is about. The error is api.ErrUsage if the query
// is no delivery. A delivery that ingest refuses is a result.
func Run(s Settings, q api.PreviewQuery, try Try) (*api.PreviewResult, error) {
	return run(s, q, s.Config.Rules(), try, func([]*domain.Event) []*domain.Event { return nil })
}

// run is Run with events that are applied before the delivery's.
func run(s Settings, q api.PreviewQuery, rules domain.Rules, try Try, before func([]*domain.Event) []*domain.Event) (*api.PreviewResult, error) {
	d, err := readDelivery(q)
	if err != nil {
		return nil, err
	}
	r := &api.PreviewResult{Path: d.path, Remarks: []string{}, Events: []api.PreviewEvent{}}
	events, refused, err := read(s.Config, d, q.Received)
	if err != nil || refused != nil {
		r.Refused = refused
		return r, err
	}
	if most := api.MaxPreview; len(events) > most {
		r.More, events = len(events)-most, events[:most]
	}
	err = try(rules, func(t *store.Trial) error {
		for _, e := range before(events) {
			if _, err := t.Apply(e); err != nil {
				return err
			}
		}
		for _, e := range events {
			came, err := t.Apply(e)
			if err != nil {
				return err
			}
			r.Events = append(r.Events, api.PreviewEvent{PreviewReading: readingOf(e, &rules), PreviewOutcome: outcomeOf(s, e, &came, &rules)})
		}
		return nil
	})
	return r, err
}

// read has ingest's own handler read the delivery.
func read(c *config.Config, d delivery, received time.Time) ([]*domain.Event, *api.PreviewRefusal, error) {
	request, err := d.request()
	if err != nil {
		return nil, nil, err
	}
	settings := ingest.Config{
		SharedSecrets: []string{secret}, WriteKeys: []string{secret}, AuthRequired: c.Ingest.Auth != "off",
		MaxBodyBytes: c.Ingest.MaxBodyBytes, CheckID: syncer.CheckID,
	}
	if c.TakesToken() {
		settings.BearerTokens = []string{secret}
	}
	var taken inbox
	handler := ingest.New(settings, &taken, slog.New(slog.DiscardHandler))
	if !received.IsZero() {
		handler.Clock = ingest.ClockAt(received)
	}
	a := answer{header: http.Header{}}
	handler.ServeHTTP(&a, request)
	if a.status == http.StatusOK {
		return taken.events, nil, nil
	}
	refused := &api.PreviewRefusal{Status: a.status}
	if err := json.Unmarshal(a.body, refused); err != nil {
		return nil, nil, err
	}
	if refused.Code == "invalid_json" {
		refused.Advice = advice(d.body)
	}
	return nil, refused, nil
}

// answer keeps what a handler answers.
type answer struct {
	header http.Header
	status int
	body   []byte
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.body = append(a.body, b...)
	return len(b), nil
}

// inbox keeps the events that a handler accepts.
type inbox struct{ events []*domain.Event }

// Append implements ingest.Inbox.
func (i *inbox) Append(_ context.Context, events ...*domain.Event) error {
	i.events = append(i.events, events...)
	return nil
}

// CountRefusal implements ingest.Inbox.
func (*inbox) CountRefusal(domain.Refusal) {}

// Receipt returns a receipt that suits a delivery whatever the day is: a second after the latest time in it.
func Receipt(c *config.Config, q api.PreviewQuery) (time.Time, error) {
	at := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	d, err := readDelivery(q)
	if err != nil {
		return at, err
	}
	events, _, err := read(c, d, time.Time{})
	for i, e := range events {
		if e.TimeSource == domain.TimeOwn && (i == 0 || e.Time.After(at)) {
			at = e.Time
		}
	}
	return at.Add(time.Second), err
}

// readingOf describes how an event was read.
func readingOf(e *domain.Event, rules *domain.Rules) api.PreviewReading {
	r := api.PreviewReading{
		Type: e.Call.String(), Name: e.Name, Class: e.Class.String(), Computation: e.Key, ComputationID: e.ComputationID, Space: e.Space,
		Says: says(e.Flag), PassThrough: e.PassThrough, MessageID: e.MessageID, EventTime: domain.Timestamp(e.Time),
		TimeSource: e.TimeSource.String(), TimeSentence: e.TimeSource.Sentence(), LeftOut: e.LeftOutNames(),
	}
	if e.Consent != nil {
		r.Consent = &e.Consent.Given
	}
	p := rules.For(e.Key, e.ComputationID)
	who, _ := domain.IdentifyUser(e, &p)
	r.User = who.ID
	switch who.ID {
	case "":
	case e.User.ID:
		r.UserFrom = "userId"
	case e.Anonymous.ID:
		r.UserFrom = "anonymousId"
	case e.Email.ID:
		r.UserFrom = "email"
	}
	for _, c := range e.Columns {
		if r.Values == nil {
			r.Values = make(map[string]json.RawMessage, len(e.Columns))
		}
		if value := e.Bytes(c.Value); json.Valid(value) {
			r.Values[c.Name] = value
		}
	}
	return r
}

func says(f domain.Flag) string {
	switch f {
	case domain.FlagIn:
		return "in"
	case domain.FlagOut:
		return "out"
	}
	return ""
}

// outcomeOf describes what an event came to.
func outcomeOf(s Settings, e *domain.Event, came *store.TrialResult, rules *domain.Rules) api.PreviewOutcome {
	o := verdict(e, came, rules)
	o.Changes, o.Requests = []api.PreviewChange{}, []syncer.Preview{}
	for i := range came.Changes {
		if c := &came.Changes[i]; c.Kind != domain.KindReceived {
			o.Changes = append(o.Changes, changeOf(c))
		}
	}
	return sent(s, o, came)
}

// changeOf is a change as a preview shows it.
func changeOf(c *domain.Change) api.PreviewChange {
	p := api.PreviewChange{
		Kind: c.Kind.String(), Computation: c.Computation, Transition: c.Transition.String(), Name: c.Name, Value: c.Value,
		State: c.State.String(), Reason: c.Reason, Sentence: c.Sentence,
	}
	if p.Value == nil {
		p.Value = json.RawMessage("null")
	}
	return p
}

// sent adds the requests in which the changes leave.
func sent(s Settings, o api.PreviewOutcome, came *store.TrialResult) api.PreviewOutcome {
	made := make(map[domain.ID]bool, len(came.Changes))
	for i := range came.Changes {
		made[came.Changes[i].ID] = true
	}
	for _, lease := range came.Leases {
		requests, err := s.Endpoint(lease.Endpoint).Preview(lease)
		o.Requests = append(o.Requests, requests...)
		if err != nil {
			o.WouldPark = append(o.WouldPark, strings.Split(err.Error(), "\n")...)
		}
		for _, d := range lease.Users {
			for _, c := range d.Attributes {
				o.Earlier += count(!made[c.ID])
			}
			o.Earlier += count(d.Event != nil && !made[d.Event.ID])
		}
	}
	return o
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}
