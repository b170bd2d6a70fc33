package query

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/apply"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// The short names of the events of these tests, and when all of them are received.
var (
	enter   = statetest.Enter
	exit    = statetest.Exit
	trait   = statetest.Trait
	track   = statetest.AsTrack
	receipt = statetest.Receipt
)

// log is an inbox in memory. Its first records may be gone by retention.
type log struct {
	frames [][]byte
	gone   int   // how many of the first are no longer there
	others int64 // records that are no events and not applied
}

func (l *log) Append(_ context.Context, frames ...[]byte) error {
	l.frames = append(l.frames, frames...)
	return nil
}

func (l *log) AppendOther(ctx context.Context, frames ...[]byte) error {
	return l.Append(ctx, frames...)
}

func (l *log) Others() int64 { return l.others }
func (l *log) Last() uint64  { return uint64(len(l.frames)) }

func (l *log) Read(from uint64, maxBytes int) (list []engine.Record, err error) {
	for n := max(from, uint64(l.gone)+1); n <= l.Last() && (len(list) == 0 || maxBytes > 0); n++ {
		frame := l.frames[n-1]
		list, maxBytes = append(list, engine.Record{Seq: n, Frame: frame}), maxBytes-len(frame)
	}
	return list, nil
}

// room is a state with a reader on it.
type room struct {
	*statetest.DB
	*Reader
	inbox *log
}

func newRoom(t testing.TB, send domain.SendMethods, options ...func(*domain.Rules)) *room {
	t.Helper()
	rules := statetest.Rules(send)
	for _, o := range options {
		o(&rules)
	}
	r := &room{DB: statetest.New(t, rules), inbox: new(log)}
	r.Reader = &Reader{State: r.File(), Inbox: r.inbox, Parkings: state.NewParkings(noon)}
	return r
}

// receive appends events and applies them, all in one transaction.
func (r *room) receive(events ...*domain.Event) {
	r.Helper()
	var parked state.NewlyParked
	r.Do(func(tx *state.Tx) {
		for _, e := range events {
			frame := statetest.Frame(e)
			r.Must(r.inbox.Append(r.Context(), frame))
			apply.Record(tx, record.Record{Seq: r.inbox.Last(), Event: e}, frame)
		}
		parked = tx.NewlyParked
	})
	r.Parkings.Merge(parked.Parkings, parked.ParkedAll)
}

// order appends an order on the first field and applies it.
func (r *room) order(o record.Order) {
	r.Helper()
	o.Received, o.Time = receipt, receipt
	frame := record.AppendOrder(nil, &o)
	r.Must(r.inbox.Append(r.Context(), frame))
	r.Do(func(tx *state.Tx) { apply.Record(tx, record.Record{Seq: r.inbox.Last(), Order: &o}, frame) })
}

// later is when deliveries are made.
var later = receipt.Add(time.Hour)

func everything(endpoint domain.Endpoint) domain.TakeOptions {
	return domain.TakeOptions{
		Endpoint: endpoint, Now: later, MaxUsers: 1000, MaxEvents: 1000,
		Due: func(string) time.Time { return later }, Fit: func(domain.UserChanges) bool { return true },
	}
}

func (r *room) take(endpoint domain.Endpoint) (f *domain.Lease) {
	r.Helper()
	r.Do(func(tx *state.Tx) { f, _ = outbox.Take(tx, everything(endpoint)) })
	return f
}

func (r *room) settle(f *domain.Lease, one domain.Result) {
	r.Helper()
	o := domain.Settlement{Lease: f.ID, At: later, Results: make([]domain.UserResult, len(f.Users))}
	for i := range o.Results {
		o.Results[i] = domain.UserResult{Attributes: one, Event: one}
	}
	var parked state.NewlyParked
	r.Do(func(tx *state.Tx) {
		outbox.Settle(tx, o)
		parked = tx.NewlyParked
	})
	r.Parkings.Merge(parked.Parkings, parked.ParkedAll)
}

var (
	delivered = domain.Result{Verdict: domain.Delivered}
	refused   = domain.Result{Verdict: domain.Parked, Reason: "InvalidUser", Sentence: "refused." + domain.Said + "user 12 is unknown", Answer: domain.Answer{Status: 400, At: later}}
	failed    = domain.Result{Verdict: domain.Refused, Reason: "503", Sentence: "busy", RetryAt: later.Add(time.Minute)}
)

// drain settles all that is due with one result.
func (r *room) drain(one domain.Result) {
	r.Helper()
	for f := r.take(domain.EndpointTransition); f != nil; f = r.take(domain.EndpointTransition) {
		r.settle(f, one)
	}
}

// words tells a page as text: user.computation=value of an attribute, user!transition of an event.
func words(page []domain.ChangeInfo) string {
	var list []string
	for _, c := range page {
		switch c.Kind {
		case "event":
			list = append(list, c.User+"!"+c.Transition)
		case "received":
			list = append(list, c.User+"?"+c.Reason)
		default:
			list = append(list, fmt.Sprintf("%s.%s=%s", c.User, c.Computation, c.Value))
		}
	}
	return strings.Join(list, " ")
}

// pages reads a listing page by page, and calls between after each.
func (r *room) pages(f domain.OutboxFilter, between func()) (all []domain.ChangeInfo) {
	r.Helper()
	for {
		page, next, err := r.Changes(f)
		r.Must(err)
		if len(page) > f.Limit {
			r.Fatalf("a page of %d has %d lines", f.Limit, len(page))
		}
		all = append(all, page...)
		if next == "" {
			return all
		}
		if len(all) > 5_000 {
			r.Fatal("its pages do not end")
		}
		f.Cursor = next
		if between != nil {
			between()
		}
	}
}

func receivedAt(minutes int) statetest.Option {
	return statetest.ReceivedAt(receipt.Add(time.Duration(minutes) * time.Minute))
}

func faulty(e *domain.Event) { e.Fault, e.Sentence = "undetermined", "as ingest says" }
