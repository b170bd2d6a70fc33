package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/wire"
)

// Change ids are made of record numbers, and files that are copied back, or a machine that goes back to a snapshot,
// give the same numbers a second time: to other records, whose changes nobody downstream could tell from those
// of before. So the state remembers where it last ran, the run how it left the state, and from the first number that a start on other files
// may give, ids bear another epoch. Those of before keep theirs, with what waits and may have left among them;
// records that wait to be applied are the same ones, and make the same ids.
//
// A restore, which has no file to compare, moves the numbers on instead: see restore.go.

// epochs are the epochs of record numbers, the oldest first.
type epochs []epochFrom

type epochFrom struct {
	first uint64 // the first record number that has it
	epoch uint32
}

// of returns the epoch of the changes that a record makes; 0 without any.
func (e epochs) of(seq uint64) uint32 {
	for i := len(e) - 1; i >= 0; i-- {
		if seq >= e[i].first {
			return e[i].epoch
		}
	}
	return 0
}

var (
	metaEpochs = []byte("epochs") // those beyond the first: ( first record number 8 | epoch 4 )*
	metaHome   = []byte("home")   // see homeOf
)

func epochsIn(tx *bolt.Tx) epochs {
	meta := tx.Bucket(bucketMeta)
	list := epochs{{0, binary.BigEndian.Uint32(meta.Get(boltfile.MetaEpoch))}}
	for v := meta.Get(metaEpochs); len(v) >= 12; v = v[12:] {
		list = append(list, epochFrom{binary.BigEndian.Uint64(v), binary.BigEndian.Uint32(v[8:])})
	}
	return list
}

func (e epochs) encode() (v []byte) {
	for _, one := range e[1:] {
		v = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(v, one.first), one.epoch)
	}
	return v
}

// homeOf says where the file at path is: the run of the machine, its inode, and when that was made. The last is
// there because a file system gives the number of a removed file to the next one; where it keeps no such time,
// it is zero.
func homeOf(path string) []byte {
	boot, _ := os.ReadFile(bootFile)
	home := []byte(strings.TrimSpace(string(boot)))
	var at unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_BTIME, &at) != nil {
		return home
	}
	home = binary.BigEndian.AppendUint64(home, at.Ino)
	return binary.BigEndian.AppendUint64(home, uint64(at.Btime.Sec)*uint64(time.Second)+uint64(at.Btime.Nsec))
}

// changedAt is when the file at path was last written, or got another name or owner: a time that nobody can set.
// It is 0 where it cannot be told.
func changedAt(path string) int64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ctim.Nano()
}

// asLeft reports whether the state is as the last run left it: what is written over it later, even in its place
// and with its times, is a copy. A run that was killed left no word of that.
func (s *Store) asLeft() bool {
	last := s.marker.last
	return last.Phase == phaseStopped && last.Changed != 0 && last.Changed == changedAt(filepath.Join(s.dir, stateFile))
}

// arrival is a start on files that are not where they last ran, or not as that left them, until the state has it.
type arrival struct {
	home  []byte
	first uint64 // the first record number that this run gives
	epoch uint32 // from there on; 0: the one that is
}

// arrive compares where the state is with where it last ran, and how it is with how that left it. A state of a
// version that did not note it is where it was.
func (s *Store) arrive() {
	home := homeOf(filepath.Join(s.dir, stateFile))
	if bytes.Equal(home, s.state.home) && s.left {
		return
	}
	s.arrival = &arrival{home: home, first: s.inbox.Next.Load()}
	if len(s.state.home) > 0 && !s.retention.Load().restoring {
		s.arrival.epoch = rand.Uint32() | 1
		s.log.Info("the files may be a copy, or the last run was cut off: change ids made from now on bear another epoch", "epoch", fmt.Sprintf("%08x", s.arrival.epoch),
			"first_record", s.arrival.first)
	}
}

// moveIn notes where the state runs.
func (b *batch) moveIn(a *arrival) {
	meta := b.tx.Bucket(bucketMeta)
	b.st.home = a.home
	b.put(meta, metaHome, a.home)
	if a.epoch == 0 {
		return
	}
	if last := len(b.st.epochs) - 1; last > 0 && b.st.epochs[last].first == a.first {
		b.st.epochs = b.st.epochs[:last] // it gave no number
	}
	b.st.epochs = append(b.st.epochs[:len(b.st.epochs):len(b.st.epochs)], epochFrom{a.first, a.epoch})
	b.put(meta, metaEpochs, b.st.epochs.encode())
}

// putID writes an id without its epoch, which follows from the number.
func putID(b []byte, id domain.ID) []byte {
	return wire.AppendUint(wire.AppendUint(b, id.Seq), uint64(id.Slot))
}

// readID reads what putID wrote.
func readID(r *wire.Reader, epoch epochs) domain.ID {
	seq, slot := r.Uint(), r.Uint()
	if seq == 0 {
		return domain.ID{}
	}
	return domain.ID{Epoch: epoch.of(seq), Seq: seq, Slot: uint16(slot)}
}
