package demo

import (
	"crypto/rand"
	"encoding/json"
	"time"

	"personasync/store/domain"
)

const (
	identify = "identify"
	track    = "track"
)

const (
	shoppers = "high_value_shoppers" // send = "both"
	carts    = "cart_abandoners_7d"  // send = "as_received", the default
	value    = "lifetime_value"      // a computed trait
)

// delivery is one event of Segment, with the expected outcome.
type delivery struct {
	call, user, key string
	value           any
	at              time.Time
	fields          map[string]any
}

// body is the event's JSON, the same bytes each time.
func (d *delivery) body() []byte {
	raw, err := json.Marshal(d.fields)
	if err != nil {
		panic(err) // it holds strings, numbers and booleans
	}
	return raw
}

// computed returns an event in the shape that Engage sends: sentAt is null, originalTimestamp has nanoseconds, and
// not all integrations are booleans.
func computed(call, user, class, key string, value any) *delivery {
	d := &delivery{call: call, user: user, key: key, value: value, at: time.Now()}
	object := map[string]any{key: value}
	d.fields = map[string]any{
		"type": call, "userId": user, "sentAt": nil, "writeKey": "REDACTED",
		"messageId":    "personas_" + rand.Text(),
		"integrations": map[string]any{"All": false, "Webhooks (Actions)": true, "Warehouses": map[string]any{"all": false}},
		"context": map[string]any{
			"integrations": map[string]any{"personas": false},
			"library":      map[string]any{"name": "unknown", "version": "unknown"},
			"personas": map[string]any{
				"computation_class": class, "computation_id": computationIDs[key], "computation_key": key,
				"namespace": "spa_demo", "space_id": "spa_demo",
			},
		},
	}
	switch call {
	case identify:
		d.fields["traits"] = object
	case track:
		object["audience_key"] = key
		d.fields["properties"] = object
		d.fields["event"] = "Audience Entered"
		if value == false {
			d.fields["event"] = "Audience Exited"
		}
	}
	d.happenedAt(d.at)
	return d
}

var computationIDs = map[string]string{
	shoppers: "aud_2bIXzfWru4zCBz3N14fvoj3cUCt",
	carts:    "aud_24n91ijropk2L9eNImJsYCSZPIq",
	value:    "tra_2c0Vd9QmPmH7yRzq1WbD4nJtXsE",
}

func (d *delivery) happenedAt(at time.Time) {
	d.at = at.UTC()
	d.fields["originalTimestamp"] = d.at.Format(time.RFC3339Nano)
	d.fields["timestamp"] = d.at.Format("2006-01-02T15:04:05.000Z")
	d.fields["receivedAt"] = d.at.Add(time.Second).Format("2006-01-02T15:04:05.000Z")
}

func membership(call, user, key string, in bool) *delivery {
	return computed(call, user, "audience", key, in)
}

func trait(user, key string, v float64) *delivery {
	return computed(identify, user, "trait", key, v)
}

// anHourEarlier makes a late delivery. Segment retries for hours and promises no order.
func anHourEarlier(d *delivery) *delivery {
	d.happenedAt(d.at.Add(-time.Hour))
	return d
}

// undetermined returns a track of an audience without the flag that says whether the user is in it.
func undetermined(user, key string) *delivery {
	d := computed(track, user, "audience", key, nil)
	d.fields["properties"] = map[string]any{"audience_key": key}
	return d
}

// verdict is the expected outcome of a delivery: its word, and the term of the ledger that counts it.
type verdict struct {
	word  string
	count func(domain.EventLedger) uint64
}

var (
	enters   = verdict{"enter", func(l domain.EventLedger) uint64 { return l.Transitions }}
	exits    = verdict{"exit", func(l domain.EventLedger) uint64 { return l.Transitions }}
	changes  = verdict{"value", func(l domain.EventLedger) uint64 { return l.Transitions }}
	repeats  = verdict{"duplicate", func(l domain.EventLedger) uint64 { return l.Duplicate }}
	isStale  = verdict{"stale", func(l domain.EventLedger) uint64 { return l.Stale }}
	isParked = verdict{"parked", func(l domain.EventLedger) uint64 { return l.Parked }}
)
