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
)

// timeCommits is the role that commits single events to bbolt and reports the median time.
func timeCommits(ctx context.Context, o order, say func(hello)) (err error) {
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
	say(hello{Figures: map[string]float64{"p50": milliseconds(took[len(took)/2]), "p99": milliseconds(took[len(took)*99/100])}})
	return nil
}

func commitOne(db *bolt.DB, n uint64) error {
	return db.Update(func(tx *bolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte("events"))
		if err != nil {
			return err
		}
		bucket.FillPercent = 1
		return bucket.Put(fmt.Appendf(nil, "%016x", n), []byte(sample))
	})
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// measureLone compares the latency of a single client with the cost of its bytes on disk.
func (b *bench) measureLone(ctx context.Context) error {
	c, err := contenderNamed("agent")
	if err != nil {
		return err
	}
	for rep := range b.reps {
		if err := b.acknowledgeAs(ctx, "lone/agent", c, shapes[0]); err != nil {
			return err
		}
		if err := b.commits(ctx); err != nil {
			return err
		}
		b.say("lone %d/%d  %.3f ms a post, %.3f ms a bbolt commit", rep+1, b.reps, last(b.book["lone/agent/p50"]), last(b.book["lone/commit/p50"]))
	}
	return nil
}

func (b *bench) commits(ctx context.Context) error {
	dir, err := b.folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := b.start(ctx, order{Role: "commits", Dir: dir, Count: b.sizes.Commits})
	if err != nil {
		return err
	}
	for quantile, figure := range c.Figures {
		b.book.add("lone/commit/"+quantile, figure)
	}
	return c.stop()
}
