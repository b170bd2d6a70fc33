// Command sdk sends an identify and a track of the shape Engage sends with Segment's SDK for Go, its endpoint
// changed and nothing else.
//
//	go run . ENDPOINT WRITE-KEY USER
package main

import (
	"log"
	"os"

	"gopkg.in/segmentio/analytics-go.v3"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: sdk ENDPOINT WRITE-KEY USER")
	}
	failed := make(chan error, 2)
	client, err := analytics.NewWithConfig(os.Args[2], analytics.Config{Endpoint: os.Args[1], BatchSize: 2, Callback: reporter(failed)})
	if err != nil {
		log.Fatal(err)
	}
	user, context := os.Args[3], &analytics.Context{Extra: map[string]any{"personas": map[string]any{
		"computation_class": "audience", "computation_id": "aud_vip", "computation_key": "vip", "namespace": "spa_check", "space_id": "spa_check",
	}}}
	for _, m := range []analytics.Message{
		analytics.Identify{UserId: user, Traits: analytics.Traits{"vip": true}, Context: context},
		analytics.Track{UserId: user, Event: "Audience Entered", Properties: analytics.Properties{"audience_key": "vip", "vip": true}, Context: context},
	} {
		if err := client.Enqueue(m); err != nil {
			log.Fatal(err)
		}
	}
	if err := client.Close(); err != nil {
		log.Fatal(err)
	}
	select {
	case err := <-failed:
		log.Fatal(err)
	default:
	}
}

// reporter is told of each message's end.
type reporter chan error

func (reporter) Success(analytics.Message)              {}
func (r reporter) Failure(_ analytics.Message, e error) { r <- e }
