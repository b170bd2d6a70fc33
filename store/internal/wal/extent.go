package wal

import (
	"personasync/store/internal/boltfile"
	"personasync/store/internal/wire"
)

// An Extent is how far the records of a segment go.
type Extent struct {
	Epoch        uint32 // of the store it belongs to
	First, Last  uint64 // numbers of the first and the last record; 0 without any
	LastAssigned uint64 // highest number assigned to a record; beyond Last only after damage
}

// ReadExtent reads the extent of the segment at path. No log may have it open to write.
func ReadExtent(path string) (Extent, error) {
	s, err := OpenSegment(path, 0)
	if err != nil {
		return Extent{}, err
	}
	return s.Extent(), s.Close()
}

// ReadRuns returns the runs of consecutive numbers that the records of the segment at path have, in order.
func ReadRuns(path string) (runs []Range, err error) {
	s, err := OpenSegment(path, 0)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	err = boltfile.Guard(func() error {
		_, err := s.Chunks(func(key, chunk []byte, _ uint64) error {
			first, n := numberOf(key), uint64(0)
			for f := (wire.Frames{Rest: chunk}); f.Next(); {
				n++
			}
			switch last := len(runs) - 1; {
			case n == 0:
			case last >= 0 && first == runs[last].Last+1:
				runs[last].Last += n
			default:
				runs = append(runs, Range{first, first + n - 1})
			}
			return nil
		})
		return err
	})
	return runs, err
}
