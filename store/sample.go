package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// A Sample is what the agent looked like at one moment: counters as they stood, and gauges. One a
// minute is kept for a day, so that whoever is called at night sees how it came to this, over a restart
// too. The store fills in what it counts itself; the rest is told by whoever keeps the sample.
type Sample struct {
	At time.Time

	// Counters, since the store was made.
	Received, Rejected, Created, Delivered uint64

	// Gauges.
	Pending, Held, Parked, Unapplied uint64
	OldestPending                    time.Duration

	// From outside the store.
	DataBytes, FreeBytes int64
	Requests, Failures   uint64        // to MoEngage in the minute before
	LatencyP50           time.Duration // of those that were answered; zero without any
	LatencyP95           time.Duration

	// Audiences are those with the most members, at most SampledAudiences.
	Audiences []AudienceSample
}

// AudienceSample is one audience within a sample.
type AudienceSample struct {
	Space, Key, ID           string
	Members, Entered, Exited uint64

	number uint32 // of its field, which is what is kept
}

const (
	// SampledAudiences is how many audiences a sample tells of: a day of them is under 2 MB.
	SampledAudiences = 24

	sampleEvery   = time.Minute
	samplesKept   = 24 * 60
	sampleVersion = byte(1)
)

// Sample says how things are now, as far as the store knows.
func (v *reader) Sample(now time.Time) (s Sample, err error) {
	last, rules := v.inbox.Last(), v.inbox.Others.Load()
	err = v.read(func(b *batch) error {
		l := &b.st.ledger
		refusals, _, err := v.refusals(b)
		if err != nil {
			return err
		}
		s = Sample{
			At: now, Rejected: sumRefusals(refusals), Created: l.changes.Created, Delivered: l.changes.Delivered,
			Pending: l.changes.Pending, Held: l.changes.Held, Parked: l.events.Parked + l.changes.Parked,
		}
		if last > b.st.applied {
			s.Unapplied = last - b.st.applied
		}
		s.Received = l.events.Accepted + s.Unapplied - min(s.Unapplied, uint64(max(rules, 0)))
		if at := oldest(b); !at.IsZero() && at.Before(now) {
			s.OldestPending = now.Sub(at)
		}
		s.Audiences = largest(b.st.registry, SampledAudiences)
		return nil
	})
	return s, err
}

// largest returns the audiences with the most members.
func largest(r *registry, n int) (list []AudienceSample) {
	for _, f := range r.fields {
		if f.audience() {
			list = append(list, AudienceSample{f.space, f.key, f.id, f.members, f.entered, f.exited, f.number})
		}
	}
	slices.SortStableFunc(list, func(a, b AudienceSample) int { return cmp.Compare(b.Members, a.Members) })
	return list[:min(len(list), n)]
}

// KeepSample keeps s as that of its minute, and lets go of those older than a day.
func (s *Store) KeepSample(ctx context.Context, sample Sample) error {
	return s.run(ctx, func(b *batch) error {
		kept := b.tx.Bucket(bucketSamples)
		if kept == nil {
			return nil // an older store on a disk that had no room for the bucket: see openState
		}
		minute := sampleNumber(sample.At)
		b.put(kept, numberKey(minute), sample.encode(nil))
		for _, key := range outdated(kept, minute) {
			b.remove(kept, key)
		}
		return b.err
	}, nil)
}

func sampleNumber(at time.Time) uint64 {
	return uint64(max(at.Unix(), 0)) / uint64(sampleEvery/time.Second)
}

// outdated lists samples older than a day before minute. After a clock was set back there are also
// some that lie ahead: they go, too, or they would stay for ever.
func outdated(kept *bolt.Bucket, minute uint64) (keys [][]byte) {
	c := kept.Cursor()
	for k, _ := c.First(); k != nil && number(k)+samplesKept <= minute; k, _ = c.Next() {
		keys = append(keys, slices.Clone(k))
	}
	for k, _ := c.Seek(numberKey(minute + 2)); k != nil; k, _ = c.Next() {
		keys = append(keys, slices.Clone(k))
	}
	return keys
}

// Samples lists what was kept since then, the oldest first. Damaged ones are left out.
func (v *reader) Samples(since time.Time) (list []Sample, err error) {
	err = v.read(func(b *batch) error {
		kept := b.tx.Bucket(bucketSamples)
		if kept == nil {
			return nil
		}
		c := kept.Cursor()
		for k, frame := c.Seek(numberKey(sampleNumber(since))); k != nil; k, frame = c.Next() {
			s, err := decodeSample(frame)
			if err != nil || s.At.Before(since) {
				continue
			}
			for i := range s.Audiences {
				a := &s.Audiences[i]
				if f := b.fieldOf(a.number); f != nil {
					a.Space, a.Key, a.ID = f.space, f.key, f.id
				}
			}
			list = append(list, s)
		}
		return nil
	})
	return list, err
}

func (s *Sample) encode(buf []byte) []byte {
	start := len(buf)
	buf = wire.AppendTime(append(buf, sampleVersion), s.At)
	for _, n := range s.counts() {
		buf = wire.AppendUint(buf, *n)
	}
	for _, n := range s.sizes() {
		buf = wire.AppendInt(buf, *n)
	}
	buf = wire.AppendUint(buf, uint64(len(s.Audiences)))
	for i := range s.Audiences {
		a := &s.Audiences[i]
		buf = binary.AppendUvarint(buf, uint64(a.number))
		buf = wire.AppendUint(wire.AppendUint(wire.AppendUint(buf, a.Members), a.Entered), a.Exited)
	}
	return wire.Seal(buf, start)
}

func (s *Sample) counts() [10]*uint64 {
	return [...]*uint64{&s.Received, &s.Rejected, &s.Created, &s.Delivered,
		&s.Pending, &s.Held, &s.Parked, &s.Unapplied, &s.Requests, &s.Failures}
}

func (s *Sample) sizes() [5]*int64 {
	return [...]*int64{&s.DataBytes, &s.FreeBytes,
		(*int64)(&s.OldestPending), (*int64)(&s.LatencyP50), (*int64)(&s.LatencyP95)}
}

func decodeSample(frame []byte) (s Sample, err error) {
	r, err := wire.Unseal(frame, sampleVersion)
	if err != nil {
		return s, err
	}
	s.At = r.Time()
	for _, n := range s.counts() {
		*n = r.Uint()
	}
	for _, n := range s.sizes() {
		*n = r.Int()
	}
	n := r.Uint()
	if n > SampledAudiences {
		return s, wire.ErrDamaged
	}
	for range n {
		s.Audiences = append(s.Audiences, AudienceSample{number: uint32(r.Uint()), Members: r.Uint(), Entered: r.Uint(), Exited: r.Uint()})
	}
	return s, r.Done()
}

// addBuckets makes the buckets that an older version did not know. It writes nothing where they are
// there already; without room the store goes on without them.
func (s *Store) addBuckets() error {
	missing := false
	err := s.db.View(func(tx *bolt.Tx) error {
		missing = slices.ContainsFunc(stateBuckets, func(name []byte) bool { return tx.Bucket(name) == nil })
		return nil
	})
	if err != nil || !missing {
		return err
	}
	err = translate(s.db.Update(func(tx *bolt.Tx) error {
		for _, name := range stateBuckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	}))
	if errors.Is(err, domain.ErrFull) {
		s.log.Error("the disk is full: the history of the status page is kept from the next start on", "err", err)
		return nil
	}
	return err
}
