package store

import "context"

// SetRetention changes how long things are kept, from the next Prune on. Of o only the retention
// fields are read.
func (s *Store) SetRetention(o Options) {
	// The writer owns the options, so it makes the change; an error would only say that it has ended.
	_ = s.run(context.Background(), func(*batch) error {
		s.o.Delivered, s.o.ReceivedFor, s.o.ReceivedBytes, s.o.Parked = o.Delivered, o.ReceivedFor, o.ReceivedBytes, o.Parked
		return nil
	}, nil)
}
