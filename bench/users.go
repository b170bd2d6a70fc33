//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"personasync/agent/condition"
	"personasync/bench/internal/child"
)

// measureUsers runs the same load on agents with increasing numbers of users. Every event is a transition of
// another user, taken from the stored ones in random order.
func measureUsers(ctx context.Context, b *bench) error {
	folders, err := stores(ctx, b, b.sizes.Users)
	defer removeAll(folders)
	if err != nil {
		return err
	}
	for rep := range b.reps {
		for _, users := range b.sizes.Users {
			name := usersFigure("users", users)
			if err := burst(ctx, b, name, folders, users, rep, b.during); err != nil {
				return fmt.Errorf("%d users: %w", users, err)
			}
			b.say("users %d/%d  %10d stored  %7.0f events/s  p99 %6.2f ms", rep+1, b.reps, users, b.book.Last(name+"/rate"), b.book.Last(name+"/p99"))
		}
	}
	return nil
}

func usersFigure(kind string, users int) string { return fmt.Sprintf("%s/%d", kind, users) }

// stores creates a directory for each number of users, which all repetitions share because each adds little.
// With zero users each repetition has its own.
func stores(ctx context.Context, b *bench, counts []int) (map[int]string, error) {
	folders := make(map[int]string)
	for _, users := range counts {
		if users == 0 {
			continue
		}
		dir, err := sown(ctx, b, "users", users)
		folders[users] = dir
		if err != nil {
			return folders, err
		}
	}
	return folders, nil
}

func removeAll(folders map[int]string) {
	for _, dir := range folders {
		_ = os.RemoveAll(dir)
	}
}

// onStore runs an agent on the directory with that many users while f runs.
func onStore(ctx context.Context, b *bench, folders map[int]string, users int, profile string, f func(*running) error) (err error) {
	dir := folders[users]
	if users == 0 {
		if dir, err = b.folder(); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	r, err := agentOn(ctx, b, child.Order{Dir: dir, Profile: b.profileOf("agent", profile)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	if err := r.applied(ctx); err != nil { // left by the previous repetition
		return err
	}
	return f(r)
}

// burst runs the steady load on an agent with that many stored users.
func burst(ctx context.Context, b *bench, name string, folders map[int]string, users, rep int, during time.Duration) error {
	return onStore(ctx, b, folders, users, "users-"+fmt.Sprint(users), func(r *running) error {
		result, err := press(ctx, b, r.Child, b.eventsOver(users), firstOf(b, rep, during), steady, during)
		if err != nil {
			return err
		}
		record(b, name, result)
		return nil
	})
}

// firstOf returns the number of the first event of a repetition. It is beyond all events of earlier ones.
func firstOf(b *bench, rep int, during time.Duration) uint64 {
	return uint64(rep) * uint64((during+2*time.Second).Seconds()*100_000)
}

// Sizes and durations of the large measurement, from the goals.
const (
	largeUsers     = 20_000_000
	largeBurst     = 30 * time.Second
	largeSustained = 2 * time.Minute
)

// measureLarge compares 20 million users with none: a burst, and a load so long that apply must keep up.
func measureLarge(ctx context.Context, b *bench) error {
	if !b.large {
		return nil
	}
	counts := []int{0, largeUsers}
	folders, err := stores(ctx, b, counts)
	defer removeAll(folders)
	if err != nil {
		return err
	}
	for rep := range b.long {
		for _, users := range counts {
			name := usersFigure("large", users)
			if err := burst(ctx, b, name+"/burst", folders, users, 2*rep, largeBurst); err != nil {
				return err
			}
			if err := sustain(ctx, b, name+"/sustained", folders, users, 2*rep+1); err != nil {
				return err
			}
			b.say("large %d/%d  %10d stored  burst %7.0f events/s  sustained %7.0f, lag at the end %.1f s", rep+1, b.long, users,
				b.book.Last(name+"/burst/rate"), b.book.Last(name+"/sustained/rate"), b.book.Last(name+"/sustained/lag"))
		}
	}
	return nil
}

// sustain runs a load for minutes and samples the number of unapplied records.
func sustain(ctx context.Context, b *bench, name string, folders map[int]string, users, rep int) error {
	return onStore(ctx, b, folders, users, "sustained-"+fmt.Sprint(users), func(r *running) error {
		watching, enough := context.WithCancel(ctx)
		lags := make(chan []uint64, 1)
		go func() {
			var seen []uint64
			_, _ = r.watch(watching, time.Second, func(s condition.Status) bool { seen = append(seen, s.Unapplied); return false })
			lags <- seen
		}()
		result, err := press(ctx, b, r.Child, b.eventsOver(users), firstOf(b, rep, largeSustained), steady, largeSustained)
		enough()
		seen := <-lags
		if err != nil {
			return err
		}
		record(b, name, result)
		b.book.Add(name+"/lag", float64(seen[len(seen)-1])/result.Rate())
		b.book.Add(name+"/lag-half", float64(seen[len(seen)/2])/result.Rate())
		return nil
	})
}
