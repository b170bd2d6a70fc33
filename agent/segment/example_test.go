package segment_test

import (
	"fmt"
	"log"
	"time"

	"personasync/agent/segment"
)

// A Segment webhook delivers one event or an array. Each event is read by itself, so one unusable event does
// not affect the others.
func Example() {
	delivery := []byte(`[
		{"type":"identify","userId":"ann","messageId":"m-1","timestamp":"2026-03-14T12:00:00Z","traits":{"vip":true},
		 "context":{"personas":{"computation_class":"audience","computation_id":"aud_1","computation_key":"vip","space_id":"spa_1"}}},
		{"type":"track","userId":"bob","messageId":"m-2","timestamp":"2026-03-14T12:00:01Z","event":"Left","properties":{"vip":"perhaps"},
		 "context":{"personas":{"computation_class":"audience","computation_id":"aud_1","computation_key":"vip","space_id":"spa_1"}}}
	]`)
	events, _, err := segment.Split(delivery)
	if err != nil {
		log.Fatal(err)
	}
	for i, raw := range events {
		e := segment.Read(raw, segment.Reading{Received: time.Now(), Position: i})
		switch {
		case e.Fault != "":
			fmt.Println(e.User.ID, "is parked:", e.Fault)
		default:
			fmt.Println(e.User.ID, e.Call, e.Class, e.Key, string(e.Bytes(e.Object)))
		}
	}
	// Output:
	// ann identify audience vip {"vip":true}
	// bob is parked: undetermined
}

// Segment's Tracking API refuses some events that the webhook route accepts and parks, so that the SDK learns
// of them. An event that only this agent cannot use is never refused.
func ExampleRefuses() {
	how := segment.Reading{Route: segment.RouteTracking, Received: time.Now()}
	for _, raw := range []string{
		`{"type":"track","event":"Paid"}`,
		`{"type":"track","userId":"ann"}`,
		`{"type":"track","userId":"ann","event":"Paid"}`,
	} {
		e := segment.Read([]byte(raw), how)
		fmt.Printf("refused: %-5t %s\n", segment.Refuses(e.Fault), e.Fault)
	}
	// Output:
	// refused: true  no_user_anon_id
	// refused: true  no_event_name
	// refused: false
}
