package api

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"personasync/store"
)

// worker takes every order, keeps it, and answers with err or a fixed result.
type worker struct {
	upkeepFuncs
	err    error
	action ActionOrder
	verify VerifyOrder
	order  Order
	users  []string
	text   string // computation of a flush, user of a forget
	secret Authentication
}

func (w *worker) Configuration(context.Context) (*Configuration, error) {
	return &Configuration{File: "/etc/personasync/agent.toml"}, w.err
}
func (w *worker) Authenticate(context.Context) (Authentication, error) { return w.secret, w.err }
func (w *worker) TestNotify(context.Context) ([]NotifyTest, error) {
	return []NotifyTest{{Receiver: "url", Error: "it answered 404"}}, w.err
}
func (w *worker) Flush(_ context.Context, computation string) (FlushReceipt, error) {
	w.text = computation
	return FlushReceipt{Job: "nightly", Pending: 3}, w.err
}
func (w *worker) Retry(_ context.Context, o ActionOrder) (*ActionReceipt, error) {
	w.action = o
	return &ActionReceipt{Done: 1, Skipped: []Skipped{{ID: "x", Why: "y"}}}, w.err
}
func (w *worker) Drop(_ context.Context, o ActionOrder) (*ActionReceipt, error) {
	w.action = o
	return &ActionReceipt{Done: 2}, w.err
}
func (w *worker) Verify(_ context.Context, o VerifyOrder, progress func(done, total int64)) (*VerifyReport, error) {
	w.verify = o
	progress(5, 9)
	return &VerifyReport{Verification: store.Verification{Asked: 9}}, w.err
}
func (w *worker) VerifyUser(_ context.Context, user string, settle time.Duration) (*UserVerification, error) {
	w.text = user + " " + settle.String()
	return &UserVerification{User: user}, w.err
}
func (w *worker) Order(_ context.Context, o Order, progress func(done, total int64)) (store.MembershipReport, error) {
	w.order = o
	w.order.Users = nil
	users, err := collect(o.Users)
	w.users = users
	progress(1, 2)
	return store.MembershipReport{Key: o.Key}, errors.Join(err, w.err)
}
func (w *worker) Forget(_ context.Context, o ForgetOrder) (store.ForgetReport, error) {
	w.text = o.User
	return store.ForgetReport{}, w.err
}

// employ returns a worker, and a client of the agent that it works for.
func employ(t *testing.T) (*worker, *Client) {
	w := &worker{}
	s := testServer(&answers{})
	s.Running, s.Orders, s.Upkeep = w, w, w
	return w, dial(t, serveSocket(t, s.Socket()))
}

func TestWhatARunningAgentDoesIsAskedOverTheSocket(t *testing.T) {
	w, c := employ(t)
	ctx := t.Context()
	w.secret = Authentication{BaseURL: "https://api-01.moengage.com", Code: "unauthorized"}
	if got, err := c.Configuration(ctx); err != nil || got.File != "/etc/personasync/agent.toml" {
		t.Errorf("configuration: %+v, %v", got, err)
	}
	if got, err := c.Authenticate(ctx); err != nil || got != w.secret {
		t.Errorf("authenticate: %+v, %v", got, err)
	}
	if got, err := c.TestNotify(ctx); err != nil || len(got) != 1 || got[0].Error != "it answered 404" {
		t.Errorf("test of notifications: %+v, %v", got, err)
	}
	if got, err := c.Flush(ctx, "vip"); err != nil || got != (FlushReceipt{Job: "nightly", Pending: 3}) || w.text != "vip" {
		t.Errorf("flush of %q: %+v, %v", w.text, got, err)
	}
	want := ActionOrder{IDs: []string{"00000001-1-0"}, All: true, Reason: "anonymous", DryRun: true}
	same := func(o ActionOrder) bool {
		return slices.Equal(o.IDs, want.IDs) && o.All == want.All && o.Reason == want.Reason && o.DryRun == want.DryRun
	}
	if got, err := c.Retry(ctx, want); err != nil || got.Done != 1 || len(got.Skipped) != 1 || !same(w.action) {
		t.Errorf("retry of %+v: %+v, %v", w.action, got, err)
	}
	w.action = ActionOrder{}
	if got, err := c.Drop(ctx, want); err != nil || got.Done != 2 || !same(w.action) {
		t.Errorf("drop of %+v: %+v, %v", w.action, got, err)
	}
	verify := VerifyOrder{Key: "vip", Sample: 7, Repair: true, Settle: 90 * time.Second}
	var far int64
	if got, err := c.Verify(ctx, verify, func(done, _ int64) { far = done }); err != nil || got.Asked != 9 || w.verify != verify || far != 5 {
		t.Errorf("verify of %+v: %+v up to %d, %v", w.verify, got, far, err)
	}
}

func TestOrdersCrossTheSocketWithTheirLists(t *testing.T) {
	w, c := employ(t)
	asOf := time.Date(2026, 3, 1, 2, 3, 4, 5, time.UTC)
	order := Order{Verb: "import", Key: "vip & co", ID: "aud_1", AsOf: asOf, Events: true, DryRun: true, Users: ids([]string{"ann", "bob"}, nil)}
	got, err := c.Order(t.Context(), order, nil)
	if err != nil || got.Key != "vip & co" || !slices.Equal(w.users, []string{"ann", "bob"}) {
		t.Fatalf("%+v of %q, %v", got, w.users, err)
	}
	if o := w.order; o.Verb != "import" || o.ID != "aud_1" || !o.AsOf.Equal(asOf) || !o.Events || !o.DryRun {
		t.Errorf("it arrived as %+v", o)
	}
	// A list that ends with an error must not arrive as a short one.
	broken := errors.New("the file ends in the middle")
	order.Users = ids([]string{"ann"}, broken)
	if _, err := c.Order(t.Context(), order, nil); err == nil {
		t.Error("an order with half a list was carried out")
	}
	if _, err := c.Forget(t.Context(), ForgetOrder{User: "ann/../?b"}); err != nil || w.text != "ann/../?b" {
		t.Errorf("forget of %q: %v", w.text, err)
	}
	if _, err := c.Forget(t.Context(), ForgetOrder{}); !errors.Is(err, ErrUsage) {
		t.Errorf("forget of nobody: %v", err)
	}
	w.err = store.ErrUnderway
	if _, err := c.Forget(t.Context(), ForgetOrder{User: "ann"}); !errors.Is(err, store.ErrUnderway) {
		t.Errorf("an order that fails: %v", err)
	}
}
