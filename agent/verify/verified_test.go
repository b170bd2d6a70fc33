package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
	"personasync/sync/sandbox"
)

var quiet = slog.New(slog.DiscardHandler)

// inProcess passes requests to a handler without a network.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	p.ServeHTTP(answer, r)
	return answer.Result(), nil
}

// workspace is a store, and a MoEngage to which its changes were sent.
type workspace struct {
	t     *testing.T
	store *store.Store
	box   *sandbox.Sandbox
}

func newWorkspace(t *testing.T, send domain.SendMethods) *workspace {
	t.Helper()
	s, err := store.Open(t.TempDir(), store.Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.SetRules(t.Context(), domain.Rules{Defaults: domain.Policy{Send: send, Collapse: true}}); err != nil {
		t.Fatal(err)
	}
	return &workspace{t, s, sandbox.New(sandbox.Options{})}
}

func (w *workspace) config() syncer.Config {
	return syncer.Config{
		BaseURL: "https://api-01.moengage.com", WorkspaceID: "workspace", APIKey: "key", UsersPerMinute: 10_000, EventsPerMinute: 10_000,
		Transport: inProcess{w.box}, Realtime: func(string) bool { return true },
	}
}

// enter receives that users entered the audience vip.
func (w *workspace) enter(users ...string) {
	w.t.Helper()
	now := time.Now()
	var events []*domain.Event
	for _, user := range users {
		events = append(events, &domain.Event{
			Received: now, Time: now, MessageID: "m-" + user, Raw: []byte("{}"), Call: domain.CallIdentify,
			User: domain.Identifier{ID: user}, Class: domain.ClassAudience, Space: "spa", ComputationID: "aud_1", Key: "vip", Flag: domain.FlagIn,
		})
	}
	if err := errors.Join(w.store.Append(w.t.Context(), events...), w.store.Applied(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

// deliver sends until so many changes were delivered.
func (w *workspace) deliver(changes uint64) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	defer stop()
	c := w.config()
	c.Observe = func(syncer.Report) {
		go func() { // a report precedes the settling of its request
			for ctx.Err() == nil {
				if n, err := w.store.Counts(); err == nil && n.Changes.Delivered >= changes {
					stop()
				}
				time.Sleep(time.Millisecond)
			}
		}()
	}
	if err := syncer.New(c, w.store, quiet).Run(ctx); err != nil {
		w.t.Fatal(err)
	}
	if n, err := w.store.Counts(); err != nil || n.Changes.Delivered != changes {
		w.t.Fatalf("%d changes were delivered, %v", n.Changes.Delivered, err)
	}
}

func (w *workspace) verify(o api.VerifyOrder) (*api.VerifyReport, error) {
	w.t.Helper()
	v := New(w.store, w.config(), quiet)
	defer v.Close()
	return v.Verify(w.t.Context(), o, nil)
}

// recorded is the one verification that the store keeps.
func (w *workspace) recorded() store.Verification {
	w.t.Helper()
	list, err := w.store.Verifications()
	if err != nil || len(list) != 1 {
		w.t.Fatalf("recorded: %+v, %v", list, err)
	}
	return list[0]
}

func users(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("usr_%02d", i))
	}
	return list
}

func attributes(t *testing.T) *workspace { return newWorkspace(t, domain.SendAttribute) }

// TestEveryUserIsReadBack in as many requests as it takes, the last of which is not full.
func TestEveryUserIsReadBack(t *testing.T) {
	w := attributes(t)
	const n = 2*syncer.MaxExport + 3
	w.enter(users(n)...)
	w.deliver(n)
	lost := []string{"usr_00", "usr_19", "usr_20", "usr_42"}
	for _, user := range lost {
		if !w.box.Lose(user) {
			t.Fatalf("%s was not there", user)
		}
	}
	r, err := w.verify(api.VerifyOrder{Key: "vip"})
	if err != nil {
		t.Fatal(err)
	}
	var differ []string
	for _, d := range r.Differences {
		differ = append(differ, d.User)
	}
	slices.Sort(differ)
	if r.Told != n || r.Asked != n || r.Compared != n || r.Agree != n-4 || r.Moving != 0 || r.Repaired != 0 || !slices.Equal(differ, lost) {
		t.Errorf("report %+v", r)
	}
	if r.Agreement == nil || r.Agreement.Level != 1 || r.Agreement.Low != r.Agreement.Share {
		t.Errorf("of everybody the agreement is %+v", r.Agreement)
	}
	if got := w.recorded(); got.Differ != 4 || got.Code != "" || got.Key != "vip" || got.ID != "aud_1" {
		t.Errorf("recorded: %+v", got)
	}
	if n, err := w.store.Counts(); err != nil || n.Changes.Pending != 0 {
		t.Errorf("without --repair %d changes are pending, %v", n.Changes.Pending, err)
	}
}

func TestARepairQueuesAgainWhatDiffers(t *testing.T) {
	w := attributes(t)
	w.enter(users(5)...)
	w.deliver(5)
	w.box.Lose("usr_01")
	w.box.Lose("usr_03", "vip")
	r, err := w.verify(api.VerifyOrder{Key: "aud_1", Repair: true})
	if err != nil || r.Differ != 2 || r.Repaired != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	w.deliver(7)
	if r, err = w.verify(api.VerifyOrder{Key: "vip", Repair: true}); err != nil || r.Differ != 0 || r.Agree != 5 || r.Repaired != 0 {
		t.Errorf("after the repair: %+v, %v", r, err)
	}
}

func TestASampleAsksForSoManyUsers(t *testing.T) {
	w := attributes(t)
	w.enter(users(30)...)
	w.deliver(30)
	asked := map[string]bool{}
	for range 20 {
		v := &verification{Verifier: New(w.store, w.config(), quiet), order: api.VerifyOrder{Key: "vip", Sample: 4}, report: &api.VerifyReport{}}
		sample, err := v.draw(t.Context())
		if err != nil || len(sample) != 4 || v.report.Told != 30 || len(slices.Compact(slices.Sorted(slices.Values(sample)))) != 4 {
			t.Fatalf("drew %q of %d, %v", sample, v.report.Told, err)
		}
		for _, user := range sample {
			asked[user] = true
		}
	}
	if len(asked) < 20 { // 80 draws of 30: fewer than 20 users have a probability below 1e-7
		t.Errorf("20 samples of 4 hold %d users of 30", len(asked))
	}
	r, err := w.verify(api.VerifyOrder{Key: "vip", Sample: 4})
	if err != nil || r.Told != 30 || r.Asked != 4 || r.Compared != 4 || r.Agreement.Level == 1 || r.Agreement.Low >= 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err = w.verify(api.VerifyOrder{Key: "vip", Sample: 100}); err != nil || r.Asked != 30 || r.Agreement.Level != 1 {
		t.Errorf("a sample of more than there are: %+v, %v", r, err)
	}
}

// TestAUserOnTheMoveProvesNothing: MoEngage takes a moment to apply, and a pending change will alter the value.
func TestAUserOnTheMoveProvesNothing(t *testing.T) {
	w := attributes(t)
	w.enter(users(3)...)
	w.deliver(3)
	r, err := w.verify(api.VerifyOrder{Key: "vip", Settle: time.Hour})
	if err != nil || r.Told != 3 || r.Moving != 3 || r.Compared != 0 || r.Agreement != nil {
		t.Errorf("within the time to settle: %+v, %v", r, err)
	}
}

// TestAFailureIsRecordedAndAnEndIsNot: what the last verification found stays when a stop cuts one off.
func TestAFailureIsRecordedAndAnEndIsNot(t *testing.T) {
	w := attributes(t)
	w.enter(users(3)...)
	w.deliver(3)
	v := New(w.store, w.config(), quiet)
	defer v.Close()
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := v.Verify(ended, api.VerifyOrder{Key: "vip"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cut off: %v", err)
	}
	if list, err := w.store.Verifications(); err != nil || len(list) != 0 {
		t.Errorf("recorded of one that was cut off: %+v, %v", list, err)
	}
	w.box.Fail(sandbox.Fault{Status: http.StatusForbidden})
	if _, err := v.Verify(t.Context(), api.VerifyOrder{Key: "vip"}, nil); err == nil {
		t.Error("a refusal is no error")
	}
	if got := w.recorded(); got.Code == "" || got.Error == "" || got.Compared != 0 {
		t.Errorf("recorded of a refusal: %+v", got)
	}
}

func TestEventsCannotBeReadBack(t *testing.T) {
	w := newWorkspace(t, domain.SendEvent)
	w.enter("usr_00")
	if _, err := w.verify(api.VerifyOrder{Key: "vip"}); !errors.Is(err, api.ErrUnreadable) {
		t.Errorf("got %v", err)
	}
	v := New(w.store, w.config(), quiet)
	defer v.Close()
	if err := v.everything(func() int { return 1 })(t.Context(), time.Now()); err != nil {
		t.Errorf("the nightly verification: %v", err)
	}
}

// TestProgressCountsUsers: done never passes the total.
func TestProgressCountsUsers(t *testing.T) {
	w := attributes(t)
	w.enter(users(25)...)
	w.deliver(25)
	v := New(w.store, w.config(), quiet)
	defer v.Close()
	var steps []int64
	_, err := v.Verify(t.Context(), api.VerifyOrder{Key: "vip"}, func(done, total int64) {
		if total != 25 || done > total {
			t.Errorf("%d of %d", done, total)
		}
		steps = append(steps, done)
	})
	if err != nil || !slices.Equal(steps, []int64{20, 25}) {
		t.Errorf("progress %v, %v", steps, err)
	}
}
