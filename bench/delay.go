//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"personasync/bench/internal/figures"
	"personasync/bench/internal/load"
)

const (
	delayRate    = 500                   // events a second: a load that leaves the machine idle most of the time
	delayLatency = 50 * time.Millisecond // response time of MoEngage
)

// delayWaits are the values of schedule.max_delay that are measured.
var delayWaits = []time.Duration{0, time.Second}

func delayFigure(wait time.Duration) string { return fmt.Sprintf("delay/%v", wait) }

// measureDelay measures the time from the post of an event until MoEngage has accepted the change.
func measureDelay(ctx context.Context, b *bench) error {
	program, err := b.product(ctx)
	if err != nil {
		return err
	}
	for rep := range b.reps {
		for _, wait := range delayWaits {
			if err := delayWith(ctx, b, program, wait); err != nil {
				return err
			}
			name := delayFigure(wait)
			b.say("delay %d/%d  max_delay %-3v  %5.0f ms until MoEngage has accepted an event, p99 %5.0f ms", rep+1, b.reps, wait, b.book.Last(name+"/p50"), b.book.Last(name+"/p99"))
		}
	}
	return nil
}

func delayWith(ctx context.Context, b *bench, program string, wait time.Duration) (err error) {
	dir, err := b.folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	address, err := freeAddress()
	if err != nil {
		return err
	}
	arrivals := &arrivals{
		Handler: unlimitedSandbox(delayLatency),
		posted:  make(map[string]time.Time),
	}
	moengage := httptest.NewServer(arrivals)
	defer moengage.Close()
	settings := productConfig(dir, address, moengage.URL, fmt.Sprintf(`mode = "realtime"`+"\nmax_delay = %q", wait))
	c, err := b.launch(ctx, program, settings, address, uint64(b.served))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	b.served++
	if err := arrivals.post(ctx, b, address); err != nil {
		return err
	}
	took, err := arrivals.wait(ctx)
	if err != nil {
		return err
	}
	b.book.Add(delayFigure(wait)+"/p50", figures.Milliseconds(took[len(took)/2]))
	b.book.Add(delayFigure(wait)+"/p99", figures.Milliseconds(took[len(took)*99/100]))
	return nil
}

// arrivals is MoEngage, and notes when it has accepted each user.
type arrivals struct {
	http.Handler
	mu     sync.Mutex
	posted map[string]time.Time // by user, until MoEngage has accepted them
	took   []time.Duration
}

var aUser = regexp.MustCompile(`usr_[0-9a-f]{16}`)

func (a *arrivals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	a.Handler.ServeHTTP(w, r)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, user := range aUser.FindAll(body, -1) {
		if at, waits := a.posted[string(user)]; waits {
			a.took = append(a.took, time.Since(at))
			delete(a.posted, string(user))
		}
	}
}

// post posts events of distinct users at a steady rate, for as long as a load lasts. What a slow post delays it makes up for.
func (a *arrivals) post(ctx context.Context, b *bench, address string) error {
	client := &http.Client{Timeout: startPatience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var posts errgroup.Group
	posts.SetLimit(64)
	events := load.NewEvents(load.Unlimited)
	began := time.Now()
	for n := range int(b.during.Seconds() * delayRate) {
		time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / delayRate)))
		r := load.NewRequest(address, 1)
		r.Fill(events, uint64(b.served))
		user := load.UserID(load.Scatter(uint64(b.served)))
		b.served++
		posts.Go(func() error {
			a.mu.Lock()
			a.posted[user] = time.Now()
			a.mu.Unlock()
			status, err := postOne(ctx, client, address, r)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("an event was answered %d", status)
			}
			return err
		})
	}
	return posts.Wait()
}

// wait waits until every posted user was accepted, and returns how long each took, the shortest first.
func (a *arrivals) wait(ctx context.Context) ([]time.Duration, error) {
	for deadline := time.Now().Add(startPatience); ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		a.mu.Lock()
		left, took := len(a.posted), a.took
		a.mu.Unlock()
		switch {
		case left == 0 && len(took) > 0:
			slices.Sort(took)
			return took, nil
		case time.Now().After(deadline):
			return nil, fmt.Errorf("%d users have not reached MoEngage", left)
		}
	}
	return nil, ctx.Err()
}
