package syncer_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
	"personasync/sync/sandbox"
)

// inProcess passes requests to a handler without a network.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	p.ServeHTTP(answer, r)
	return answer.Result(), nil
}

// A sender takes due changes from the store and sends them to MoEngage. Here the sandbox stands in for
// MoEngage. It checks requests as MoEngage's documents say, and its data can be read.
func ExampleSender() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	quiet := slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	s, err := store.Open(dir, store.Options{Log: quiet})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	rules := domain.Rules{Defaults: domain.Policy{Send: domain.SendAttribute, Collapse: true}}
	now := time.Now()
	entered := &domain.Event{
		Received: now, Time: now, MessageID: "m-1", Raw: []byte("{}"),
		Call: domain.CallIdentify, User: domain.Identifier{ID: "ann"},
		Class: domain.ClassAudience, ComputationID: "aud_1", Key: "vip", Flag: domain.FlagIn,
	}
	if err := s.SetRules(ctx, rules); err != nil {
		log.Fatal(err)
	}
	if err := s.Append(ctx, entered); err != nil {
		log.Fatal(err)
	}

	moengage := sandbox.New(sandbox.Options{})
	sender := syncer.New(syncer.Config{
		BaseURL: "https://api-01.moengage.com", WorkspaceID: "workspace", APIKey: "key",
		Transport: inProcess{Handler: moengage},
		Observe: func(r syncer.Report) {
			fmt.Println("answered", r.Status, r.Code)
			stop()
		},
	}, s, quiet)
	if err := sender.Run(ctx); err != nil { // returns once ctx is done and no request is in flight
		log.Fatal(err)
	}

	profile, _ := moengage.User("ann")
	fmt.Println("vip:", string(profile.Attributes["vip"]))
	// Output:
	// answered 200 accepted
	// vip: true
}
