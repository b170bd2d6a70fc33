//go:build linux

// Package seed creates the data directories that measurements start with.
package seed

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"personasync/agent/segment"
	"personasync/bench/internal/child"
	"personasync/bench/internal/load"
	"personasync/store"
	"personasync/store/domain"
)

// A seed is a data directory for a measurement to start with. It is written through the store in large groups
// and kept while the store's source is unchanged.
type seed struct {
	lay func(ctx context.Context, s *store.Store, dir string, count int) error

	rules     domain.Rules
	unapplied bool // records stay in the inbox: the store is closed as soon as they are appended
}

// seeds are the seeds by name.
var seeds = map[string]seed{
	// users: count users in one audience, without pending changes.
	"users": {lay: layUsers, rules: seedRules(domain.SendNone)},

	// pending: count users, each with one pending attribute.
	"pending": {lay: layUsers, rules: seedRules(domain.SendAttribute)},

	// state: a state.db of count bytes, a good part of it users.
	"state": {lay: layState, rules: seedRules(domain.SendNone)},

	// backlog: count received events that are not applied.
	"backlog": {lay: layBacklog, unapplied: true, rules: seedRules(domain.SendAsReceived)},
}

func seedRules(send domain.SendMethods) domain.Rules {
	return domain.Rules{Defaults: domain.Policy{Send: send, Collapse: true, OnNull: domain.NullSkip}, OnDelete: "forget", MessageIDs: 48 * time.Hour}
}

// seedGroup is the number of events per Append.
const seedGroup = 10_000

// Lay is the role that creates a seed.
func Lay(ctx context.Context, o child.Order, say func(child.Hello)) (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := store.Open(o.Dir, store.Options{Log: log, ReceivedBytes: 1}) // applied records are not needed
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	kind := seeds[o.Name]
	if err := s.SetRules(ctx, kind.rules); err != nil {
		return err
	}
	if err := kind.lay(ctx, s, o.Dir, o.Count); err != nil {
		return err
	}
	if !kind.unapplied {
		if err := trimmed(ctx, s); err != nil {
			return err
		}
	}
	say(child.Hello{})
	return nil
}

// trimmed waits until everything is applied, and then removes the records.
func trimmed(ctx context.Context, s *store.Store) error {
	if err := s.Applied(ctx); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = s.Prune(ctx, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// layUsers creates users 0 to count-1 in key order. A tree filled from left to right takes minutes less than
// one filled at random. Its pages are emptier, so it is not smaller.
func layUsers(ctx context.Context, s *store.Store, _ string, count int) error {
	for group := range slices.Chunk(SortedUsers(count), seedGroup) {
		if err := AppendUsers(ctx, s, group); err != nil {
			return err
		}
	}
	return nil
}

// layState creates some users, and then unusable events of the largest size until the state is large enough.
// That takes a fraction of the time of filling it with users.
func layState(ctx context.Context, s *store.Store, dir string, size int) error {
	const bytesOfUser, eventsOfGroup = 1000, 500
	if err := layUsers(ctx, s, dir, size/bytesOfUser); err != nil {
		return err
	}
	raw := bytes.Repeat([]byte("x"), segment.MaxEventBytes)
	for {
		if err := trimmed(ctx, s); err != nil {
			return err
		}
		info, err := os.Stat(filepath.Join(dir, stateFile))
		if err != nil || info.Size() >= int64(size) {
			return err
		}
		events := make([]*domain.Event, eventsOfGroup)
		for i := range events {
			now := time.Now()
			events[i] = &domain.Event{Received: now, Time: now, MessageID: "seed", Fault: "not_json", Sentence: "it is not JSON", Raw: raw}
		}
		if err := s.Append(ctx, events...); err != nil {
			return err
		}
	}
}

// stateFile is the name of the store's state file.
const stateFile = "state.db"

// SortedUsers returns the scattered numbers of users 0 to count-1 in the store's key order: by partition
// (FORMAT.md of package store), then by id.
func SortedUsers(count int) []uint64 {
	type keyed struct {
		partition byte
		number    uint64
	}
	all := make([]keyed, count)
	for i := range all {
		n := load.Scatter(uint64(i))
		all[i] = keyed{partition(load.UserID(n)), n}
	}
	slices.SortFunc(all, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.number, b.number))
	})
	sorted := make([]uint64, count)
	for i := range all {
		sorted[i] = all[i].number
	}
	return sorted
}

// partition returns the store's partition of a user.
func partition(id string) byte {
	hash := uint32(2166136261) // FNV-1a
	for i := range len(id) {
		hash = (hash ^ uint32(id[i])) * 16777619
	}
	return byte(hash % 64) // partitions, see store/FORMAT.md
}

// Numbers returns the scattered numbers of count users from one on.
func Numbers(from, count int) []uint64 {
	list := make([]uint64, count)
	for i := range list {
		list[i] = load.Scatter(uint64(from + i))
	}
	return list
}

// AppendUsers appends an event of each user, who enters an audience.
func AppendUsers(ctx context.Context, s *store.Store, numbers []uint64) error {
	now := time.Now()
	events := make([]*domain.Event, len(numbers))
	for i, n := range numbers {
		id := load.UserID(n)
		events[i] = &domain.Event{
			Received: now, Time: now, Call: domain.CallIdentify, MessageID: "seed-" + id,
			User: domain.Identifier{ID: id}, Class: domain.ClassAudience,
			Space: "spa_7Qm2cXwT9LrVb4KdYh3NzE", Key: "everybody", ComputationID: "aud_2bIXzfWru4zCBz3N14fvoj3cSEED",
			Flag: domain.FlagIn, Raw: []byte("{}"),
		}
	}
	return s.Append(ctx, events...)
}

// layBacklog appends events faster than they are applied, until enough are queued.
func layBacklog(ctx context.Context, s *store.Store, _ string, count int) error {
	source := load.NewEvents(load.Unlimited)
	for n := uint64(backlogFirst); ; n += seedGroup {
		events := make([]*domain.Event, seedGroup)
		bodies := bytes.Repeat([]byte(load.Sample), seedGroup)
		received := time.Now()
		for i := range events {
			body := bodies[i*load.EventBytes : (i+1)*load.EventBytes : (i+1)*load.EventBytes]
			source.Write(body, n+uint64(i))
			events[i] = segment.Read(body, segment.Reading{Received: received, Verified: true})
		}
		if err := s.Append(ctx, events...); err != nil {
			return err
		}
		counts, err := s.Counts()
		if err != nil || counts.Unapplied >= uint64(count) {
			return err
		}
		if n > backlogFirst+50*uint64(count) {
			return errors.New("events are applied as fast as they can be appended: there is no backlog to lay")
		}
	}
}

// backlogFirst is the number of a backlog's first event. It is beyond the numbers that a load posts.
const backlogFirst = 1 << 30

// CopyFiles copies the store's files and syncs them, so that writeback does not disturb the next measurement.
func CopyFiles(ctx context.Context, from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "*.db"))
	if err != nil {
		return err
	}
	files = append(files, filepath.Join(from, "running")) // marks a clean stop, so that nothing needs to be checked
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := copyFile(f, filepath.Join(to, filepath.Base(f))); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := out.ReadFrom(in); err != nil {
		return err
	}
	return out.Sync()
}
