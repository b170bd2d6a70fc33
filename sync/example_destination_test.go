package syncer_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"time"

	"personasync/store/domain"
	syncer "personasync/sync"
)

// oneChange is an outbox with one change.
type oneChange struct {
	taken   bool
	settled func()
}

func (o *oneChange) Take(_ context.Context, options domain.TakeOptions) (*domain.Lease, domain.Next, error) {
	vip := domain.Change{Kind: domain.KindAttribute, User: "ann", Name: "vip", Value: []byte("true")}
	ann := domain.UserChanges{User: "ann", Attributes: []domain.Change{vip}}
	if o.taken || !options.Fit(ann) {
		return nil, domain.Next{}, nil
	}
	o.taken = true
	return &domain.Lease{ID: 1, Users: []domain.UserChanges{ann}}, domain.Next{}, nil
}

func (o *oneChange) Settle(_ context.Context, s domain.Settlement) error {
	fmt.Println("delivered:", s.Results[0].Attributes.Verdict == domain.Delivered)
	o.settled()
	return nil
}

func (o *oneChange) Wake(domain.Endpoint) <-chan struct{} { return nil }

func (o *oneChange) Sent(time.Time) ([]domain.SentSecond, error) { return nil, nil }

// A test can be its own destination: any handler that answers as MoEngage does. Here it prints what it is sent.
// The outbox is one of the test, too, so nothing touches a disk or a network.
func ExampleSender_destination() {
	destination := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Println(r.Method, r.URL.Path)
		fmt.Println(string(body))
		fmt.Fprint(w, `{"status":"success"}`)
	})
	ctx, stop := context.WithCancel(context.Background())
	sender := syncer.New(syncer.Config{
		BaseURL: "https://api-01.moengage.com", WorkspaceID: "workspace", APIKey: "key",
		Transport: inProcess{Handler: destination},
	}, &oneChange{settled: stop}, slog.New(slog.DiscardHandler))
	if err := sender.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// POST /v1/transition/workspace
	// {"type":"transition","elements":[{"type":"customer","customer_id":"ann","attributes":{"vip":true}}]}
	// delivered: true
}
