package query

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"personasync/store/engine"
	"personasync/store/internal/refusal"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// Sample holds the agent's counters and gauges at one moment. One a minute is kept for a day, so that an operator
// called at night sees what led to it, even across a restart. The store fills in its own counts, and the caller the rest. Its many fields are those of one frame.
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

	// Audiences are those with the most members, at most sampledAudiences.
	Audiences []AudienceSample
}

// AudienceSample is one audience within a sample.
type AudienceSample struct {
	Space, Key, ID           string
	Members, Entered, Exited uint64

	Number uint32 // of its field; kept in place of the key
}

const (
	// sampledAudiences is how many audiences a sample tells of: a day of them is under 2 MB.
	sampledAudiences = 24

	sampleEvery   = time.Minute
	samplesKept   = 24 * 60
	sampleVersion = byte(1)
)

// Sample says how things are now, as far as the store knows.
func (v *Reader) Sample(now time.Time) (s Sample, err error) {
	last, rules := v.Inbox.Last(), v.Inbox.Others()
	err = v.Read(func(tx *state.Tx) error {
		l := &tx.State.Ledger
		refusals, _, err := v.refusals(tx)
		if err != nil {
			return err
		}
		s = Sample{
			At: now, Rejected: refusal.Sum(refusals), Created: l.Changes.Created, Delivered: l.Changes.Delivered,
			Pending: l.Changes.Pending, Held: l.Changes.Held, Parked: l.Events.Parked + l.Changes.Parked,
		}
		if last > tx.State.Applied {
			s.Unapplied = last - tx.State.Applied
		}
		s.Received = l.Events.Accepted + s.Unapplied - min(s.Unapplied, uint64(max(rules, 0)))
		if at := oldest(tx); !at.IsZero() && at.Before(now) {
			s.OldestPending = now.Sub(at)
		}
		s.Audiences = largest(tx.State.Registry, sampledAudiences)
		return nil
	})
	return s, err
}

// largest returns the audiences with the most members.
func largest(r *state.Registry, n int) (list []AudienceSample) {
	for _, f := range r.Fields {
		if f.Audience() {
			list = append(list, AudienceSample{f.Space, f.Key, f.ID, f.Members, f.Entered, f.Exited, f.Number})
		}
	}
	slices.SortStableFunc(list, func(a, b AudienceSample) int { return cmp.Compare(b.Members, a.Members) })
	return list[:min(len(list), n)]
}

// SampleNumber returns the number under which the sample of a time is kept: minutes since 1970.
func SampleNumber(at time.Time) uint64 {
	return uint64(max(at.Unix(), 0)) / uint64(sampleEvery/time.Second)
}

// Outdated lists samples older than a day before minute. After a clock was set back there are also
// some that lie ahead: they go, too, or they would stay forever.
func Outdated(kept engine.Bucket, minute uint64) (keys [][]byte) {
	c := kept.Cursor()
	for k, _ := c.First(); k != nil && state.Number(k)+samplesKept <= minute; k, _ = c.Next() {
		keys = append(keys, slices.Clone(k))
	}
	for k, _ := c.Seek(state.NumberKey(minute + 2)); k != nil; k, _ = c.Next() {
		keys = append(keys, slices.Clone(k))
	}
	return keys
}

// Samples lists the samples since then, the oldest first. It leaves out corrupt ones.
func (v *Reader) Samples(since time.Time) (list []Sample, err error) {
	err = v.Read(func(tx *state.Tx) error {
		kept := tx.Bucket(state.BucketSamples)
		if kept == nil {
			return nil
		}
		c := kept.Cursor()
		for k, frame := c.Seek(state.NumberKey(SampleNumber(since))); k != nil; k, frame = c.Next() {
			s, err := DecodeSample(frame)
			if err != nil || s.At.Before(since) {
				continue
			}
			for i := range s.Audiences {
				a := &s.Audiences[i]
				if f := tx.FieldOf(a.Number); f != nil {
					a.Space, a.Key, a.ID = f.Space, f.Key, f.ID
				}
			}
			list = append(list, s)
		}
		return nil
	})
	return list, err
}

// Encode appends the frame of s to buf.
func (s *Sample) Encode(buf []byte) []byte {
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
		buf = binary.AppendUvarint(buf, uint64(a.Number))
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

// DecodeSample is the inverse of Encode. Its errors are those of package wire.
func DecodeSample(frame []byte) (s Sample, err error) {
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
	if n > sampledAudiences {
		return s, wire.ErrDamaged
	}
	for range n {
		s.Audiences = append(s.Audiences, AudienceSample{Number: uint32(r.Uint()), Members: r.Uint(), Entered: r.Uint(), Exited: r.Uint()})
	}
	return s, r.Done()
}
