//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"personasync/bench/internal/child"
	"personasync/bench/internal/contender"
	"personasync/bench/internal/figures"
	"personasync/bench/internal/load"
)

// timeCommits is the role that commits single events to bbolt and reports the median time.
func timeCommits(ctx context.Context, o child.Order, say func(child.Hello)) (err error) {
	db, err := bolt.Open(filepath.Join(o.Dir, "commits.db"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, InitialMmapSize: 1 << 30})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	took := make([]time.Duration, 0, o.Count)
	for n := range o.Count {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		began := time.Now()
		if err := commitOne(db, uint64(n)); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	say(child.Hello{Figures: map[string]float64{"p50": figures.Milliseconds(took[len(took)/2]), "p99": figures.Milliseconds(took[len(took)*99/100])}})
	return nil
}

func commitOne(db *bolt.DB, n uint64) error {
	return db.Update(func(tx *bolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte("events"))
		if err != nil {
			return err
		}
		bucket.FillPercent = 1
		return bucket.Put(fmt.Appendf(nil, "%016x", n), []byte(load.Sample))
	})
}

// measureLone compares the latency of a single client with the cost of its bytes on disk.
func measureLone(ctx context.Context, b *bench) error {
	c, err := contender.Named("agent")
	if err != nil {
		return err
	}
	for rep := range b.reps {
		if err := acknowledgeAs(ctx, b, "lone/agent", c, shapes[0]); err != nil {
			return err
		}
		if err := commits(ctx, b); err != nil {
			return err
		}
		b.say("lone %d/%d  %.3f ms a post, %.3f ms a bbolt commit", rep+1, b.reps, b.book.Last("lone/agent/p50"), b.book.Last("lone/commit/p50"))
	}
	return nil
}

// commits times single commits in a child, so that its database shares nothing with this process.
func commits(ctx context.Context, b *bench) error {
	dir, err := b.folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := b.start(ctx, child.Order{Role: "commits", Dir: dir, Count: b.sizes.Commits})
	if err != nil {
		return err
	}
	for quantile, figure := range c.Figures {
		b.book.Add("lone/commit/"+quantile, figure)
	}
	return c.Stop()
}
