package segment_test

import (
	"fmt"
	"log"
	"time"

	"personasync/agent/segment"
)

// A delivery of a Segment webhook is one event, or an array of them. Each is read by itself, so that one that
// cannot be used takes no other with it.
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

// On Segment's Tracking API an event may be refused that a webhook's route takes and parks: the SDK that sent it
// is told so. An event that only this agent cannot use is never refused.
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
