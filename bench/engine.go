//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"personasync/agent/segment"
	"personasync/bench/internal/child"
	"personasync/bench/internal/contender"
	"personasync/bench/internal/figures"
	"personasync/bench/internal/load"
	"personasync/store"
	"personasync/store/domain"
)

// engineWork is the role that works on a store of one engine.
type engineWork struct {
	order   child.Order
	shared  *store.Shared // nil: files
	s       *store.Store
	figures map[string]float64
	events  *load.Events
	next    int // number of the next event
}

// workOnEngine is the role of a writer without an agent. It says its figures, and returns.
func workOnEngine(ctx context.Context, o child.Order, say func(child.Hello)) (err error) {
	w := &engineWork{order: o, figures: map[string]float64{}, events: load.NewEvents(load.Unlimited)}
	if o.Database != "" {
		if w.shared, err = store.Connect(ctx, contender.Database(o.Database)); err != nil {
			return err
		}
		defer w.shared.Close()
	}
	if err := w.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.s.Close()) }()
	if o.Database != "" {
		h, err := store.AskDatabase(ctx, contender.Database(o.Database))
		if err != nil {
			return err
		}
		w.figures["trip"] = figures.Milliseconds(h.RoundTrip)
	}
	measures := []func(context.Context) error{w.apply, w.page, w.takes, w.both}
	if o.Name == "far" {
		measures = measures[:3]
	}
	for _, measure := range measures {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	say(child.Hello{Figures: w.figures})
	<-ctx.Done()
	return nil
}

// open opens the store, with rules by which each user has one change to send.
func (w *engineWork) open(ctx context.Context) (err error) {
	options := store.Options{Log: slog.New(slog.DiscardHandler), ReceivedBytes: 1, Delivered: time.Second}
	if w.shared != nil {
		w.s, err = w.shared.Open(ctx, w.order.Dir, options)
	} else {
		w.s, err = store.Open(w.order.Dir, options)
	}
	if err != nil {
		return err
	}
	return w.s.SetRules(ctx, domain.Rules{Defaults: domain.Policy{Send: domain.SendAttribute, Collapse: true, OnNull: domain.NullSkip}, OnDelete: "forget", MessageIDs: 48 * time.Hour})
}

// receive appends so many events: each user of the order enters an audience, and then each leaves it, and so on.
func (w *engineWork) receive(ctx context.Context, count int) error {
	const group = 1000
	for end := w.next + count; w.next < end; {
		events := make([]*domain.Event, min(group, end-w.next))
		bodies, received := bytes.Repeat([]byte(load.Sample), len(events)), time.Now()
		for i := range events {
			body := bodies[i*load.EventBytes : (i+1)*load.EventBytes : (i+1)*load.EventBytes]
			w.events.Write(body, uint64(w.next%w.order.Count))
			events[i] = segment.Read(body, segment.Reading{Received: received, Verified: true})
			events[i].Time, events[i].MessageID = received, fmt.Sprint("m", w.next)
			if w.next/w.order.Count%2 == 1 {
				events[i].Flag = domain.FlagOut
			}
			w.next++
		}
		if err := w.s.Append(ctx, events...); err != nil {
			return err
		}
	}
	return nil
}

// apply measures how fast received events are applied: all of them, while more come as fast as they can be received, and
// those that are left then, while nothing comes.
func (w *engineWork) apply(ctx context.Context) error {
	began := time.Now()
	if err := w.receive(ctx, w.order.Count); err != nil {
		return err
	}
	appended, used := time.Now(), processorTime()
	counts, err := w.s.Counts()
	if err != nil {
		return err
	}
	if err := w.s.Applied(ctx); err != nil {
		return err
	}
	left := float64(counts.Unapplied)
	if left < float64(w.order.Count)/4 {
		return fmt.Errorf("only %.0f of %d events were left to be applied once they had come: too few to measure", left, w.order.Count)
	}
	w.figures["append"] = float64(w.order.Count) / appended.Sub(began).Seconds()
	w.figures["beside"] = float64(w.order.Count) / time.Since(began).Seconds()
	w.figures["apply"] = left / time.Since(appended).Seconds()
	w.figures["cpu"] = float64((processorTime() - used).Microseconds()) / left
	return nil
}

// processorTime is the time of the processors that this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// page measures a first page of pending changes, and the figures of a status.
func (w *engineWork) page(context.Context) error {
	var took []time.Duration
	for range 21 {
		began := time.Now()
		_, _, err := w.s.Changes(domain.OutboxFilter{State: domain.StatePending, Limit: 100})
		if err == nil {
			_, err = w.s.Counts()
		}
		if err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	w.figures["page"] = quantile(took, 0.5)
	return nil
}

// takes measures a drain of half of what is pending, and of the other half while a transaction of others keeps the vacuum
// from removing anything.
func (w *engineWork) takes(ctx context.Context) error {
	began := time.Now()
	took, users, err := w.drain(ctx, w.order.Count/2)
	if err != nil {
		return err
	}
	w.figures["drain"] = float64(users) / time.Since(began).Seconds()
	w.figures["take"] = quantile(took, 0.99)
	unpin, err := w.pin(ctx)
	if err != nil {
		return err
	}
	took, _, err = w.drain(ctx, w.order.Count)
	w.figures["pinned"] = quantile(took, 0.99)
	return errors.Join(err, unpin())
}

// pin has a transaction of another client keep the vacuum from removing anything until unpin. The client must end it: a
// server that sleeps does not see that its client was killed.
func (w *engineWork) pin(ctx context.Context) (unpin func() error, err error) {
	url, _, found := strings.Cut(w.order.Database, "#")
	if !found || w.order.Name == "far" {
		return func() error { return nil }, nil
	}
	client := exec.CommandContext(ctx, "psql", "-Xqt", "-d", url)
	input, err := client.StdinPipe()
	if err == nil {
		err = client.Start()
	}
	if err == nil {
		_, err = io.WriteString(input, "begin isolation level repeatable read;\nselect txid_current();\n")
	}
	time.Sleep(time.Second)
	return func() error { return errors.Join(input.Close(), client.Wait()) }, err
}

// drain takes and settles up to so many users, and returns how long each Take lasted.
func (w *engineWork) drain(ctx context.Context, most int) (took []time.Duration, users int, err error) {
	for users < most {
		began := time.Now()
		lease, _, err := w.s.Take(ctx, domain.TakeOptions{
			Endpoint: domain.EndpointTransition, Now: began, MaxUsers: 500, MaxEvents: 500,
			Due: func(string) time.Time { return began.Add(time.Hour) }, Fit: func(domain.UserChanges) bool { return true },
		})
		took = append(took, time.Since(began))
		if err != nil || lease == nil {
			return took, users, err
		}
		done := domain.Result{Verdict: domain.Delivered}
		results := make([]domain.UserResult, len(lease.Users))
		for i := range results {
			results[i] = domain.UserResult{Attributes: done, Event: done}
		}
		if err := w.s.Settle(ctx, domain.Settlement{Lease: lease.ID, At: time.Now(), Results: results}); err != nil {
			return took, users, err
		}
		users += len(lease.Users)
	}
	return took, users, nil
}

// bothRate is how many events a second come in, and leave, in both.
const bothRate = 2500

// senders is how many requests are in flight at once, as an agent has them unless told otherwise.
const senders = 4

// both receives and sends at once for the time of the order, each on its own, and measures after a warm-up how many users
// are sent, and how the tables or files grow in the second half.
func (w *engineWork) both(ctx context.Context) error {
	during, stop := context.WithTimeout(ctx, w.order.For)
	defer stop()
	var sent atomic.Int64
	work := []func(context.Context) error{w.receiveSteadily}
	for range senders {
		work = append(work, func(ctx context.Context) error { return w.sendSteadily(ctx, &sent) })
	}
	failed := make(chan error)
	for _, f := range work {
		go func() {
			err := f(during)
			if during.Err() != nil {
				err = nil // it was interrupted
			}
			stop()
			failed <- err
		}()
	}
	sizes, err := []float64{}, error(nil)
	warmup := min(w.order.For/2, 15*time.Second)
	time.Sleep(warmup)
	began, before := time.Now(), sent.Load()
	for tick := time.NewTicker(warmup / 3); during.Err() == nil && err == nil; {
		for more := true; more && err == nil; {
			more, err = w.s.Prune(ctx, time.Now())
		}
		if err == nil {
			var size float64
			size, err = w.size(ctx)
			sizes = append(sizes, size)
		}
		select {
		case <-tick.C:
		case <-during.Done():
		}
	}
	w.figures["both"] = float64(sent.Load()-before) / time.Since(began).Seconds()
	stop()
	for range work {
		err = errors.Join(err, <-failed)
	}
	if err != nil {
		return err
	}
	counts, err := w.s.Counts()
	if err != nil {
		return err
	}
	w.figures["behind"] = float64(counts.Unapplied + counts.Changes.Pending)
	if half := len(sizes) / 2; half > 0 {
		w.figures["growth"] = 100 * (slices.Max(sizes[half:])/slices.Max(sizes[:half]) - 1)
	}
	return nil
}

// receiveSteadily receives bothRate events a second. What a slow append delays it makes up for.
func (w *engineWork) receiveSteadily(ctx context.Context) error {
	const ticks = 10 // a second
	for began, n := time.Now(), 1; ; n++ {
		if err := w.receive(ctx, bothRate/ticks); err != nil {
			return err
		}
		select {
		case <-time.After(time.Until(began.Add(time.Duration(n) * time.Second / ticks))):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendSteadily sends what becomes due.
func (w *engineWork) sendSteadily(ctx context.Context, sent *atomic.Int64) error {
	for {
		_, users, err := w.drain(ctx, 1)
		if err != nil {
			return err
		}
		if sent.Add(int64(users)); users > 0 {
			continue
		}
		select {
		case <-w.s.Wake(domain.EndpointTransition): // of one of the senders
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// size is the bytes of all tables but the inbox, or of the whole file of the state.
func (w *engineWork) size(ctx context.Context) (float64, error) {
	url, schema, found := strings.Cut(w.order.Database, "#")
	if !found {
		info, err := os.Stat(filepath.Join(w.order.Dir, "state.db"))
		if err != nil {
			return 0, err
		}
		return float64(info.Size()), nil
	}
	text, err := psql(ctx, url, fmt.Sprintf("select sum(pg_total_relation_size(format('%%I.%%I', schemaname, tablename)::regclass)) from pg_tables where schemaname = '%s' and tablename not like 'records%%%%'", schema))
	if err != nil {
		return 0, err
	}
	var size float64
	_, err = fmt.Sscan(text, &size)
	return size, err
}

// quantile is that of durations, in ms.
func quantile(list []time.Duration, q float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return figures.Milliseconds(list[min(int(q*float64(len(list))), len(list)-1)])
}
