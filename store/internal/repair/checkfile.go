package repair

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// DataFiles lists the files of the store in dir: the inbox in order, then the state.
func DataFiles(dir string) (paths []string, err error) {
	if paths, _, err = wal.Files(dir); err != nil {
		return nil, err
	}
	state := filepath.Join(dir, datadir.StateFile)
	found, err := boltfile.Exists(state)
	if found {
		paths, err = append(paths, state), boltfile.CheckRegular(state)
	}
	return paths, err
}

// files checks the pages of every file, and then the content of the sound ones, the state first.
func (c *checker) files(paths []string) error {
	sound := make(map[string]bool)
	for _, path := range paths {
		c.report.File = filepath.Base(path)
		unlock, err := lockToRead(path)
		if err != nil {
			return err
		}
		sound[path], err = c.pages(path)
		unlock()
		if err != nil {
			return err
		}
		c.tell(boltfile.Size(path))
	}
	state := paths[len(paths)-1]
	epoch := uint32(0)
	if c.report.File = datadir.StateFile; sound[state] {
		db, err := bolt.Open(state, 0, true)
		if err != nil {
			return err
		}
		defer db.Close()
		if epoch, err = c.epoch(db); err != nil {
			return err
		}
		if epoch != 0 {
			if err := db.View(c.state); err != nil {
				return err
			}
		}
	}
	for _, path := range paths[:len(paths)-1] {
		if c.report.File = filepath.Base(path); !sound[path] {
			c.next = 0
			continue
		}
		if err := c.inboxFile(path, epoch); err != nil {
			return err
		}
	}
	return nil
}

// epoch reads the epoch of the state; 0 if its seal is wrong.
func (c *checker) epoch(db *bolt.State) (uint32, error) {
	epoch, err := db.Epoch()
	switch {
	case errors.Is(err, wire.ErrDamaged):
		c.report.Find("frame", "%s: %v", c.report.File, err)
		return 0, nil
	case err != nil:
		return 0, err
	}
	return epoch, nil
}

// pages checks the pages of a file without bbolt, and reports whether bbolt can open it.
func (c *checker) pages(path string) (sound bool, err error) {
	file, err := boltpage.Open(path)
	if err != nil {
		return false, fmt.Errorf("open %s: %w", c.report.File, err)
	}
	defer file.Close()
	before := c.report.Faults
	if err := file.Glance(); err != nil {
		c.report.Find("pages", "%s: %v", c.report.File, err)
		return false, nil
	}
	m, _ := file.Newest()
	wanted := wal.Buckets
	if c.report.File == datadir.StateFile {
		wanted = append([][]byte{state.BucketMeta}, state.StateBuckets...)
		wanted = slices.DeleteFunc(wanted, func(b []byte) bool { return containsName(state.LateBuckets, b) })
	}
	known := 0
	w := boltpage.Walk{
		File: file, Meta: m, Fault: func(err error) { c.report.Find("pages", "%s: %v", c.report.File, err) },
		Leaf: func(uint64, []string, []boltpage.Element) {},
		Bucket: func(path []string, _ uint64) {
			if len(path) == 1 && containsName(wanted, []byte(path[0])) {
				known++
			}
		},
	}
	w.Run()
	if sound = c.report.Faults == before; sound && known == 0 {
		return false, boltfile.NotOurs(path)
	}
	if sound && known < len(wanted) {
		c.report.Find("pages", "%s: %d of its %d buckets are there", c.report.File, known, len(wanted))
		return false, nil
	}
	return sound, nil
}

func containsName(names [][]byte, name []byte) bool {
	return slices.ContainsFunc(names, func(n []byte) bool { return bytes.Equal(n, name) })
}

// lockToRead locks a file as a reader that uses bbolt does, so that no agent writes to it meanwhile.
func lockToRead(path string) (unlock func(), err error) {
	return boltfile.Lock(context.Background(), path, syscall.LOCK_SH, boltfile.Patience(true), func(time.Duration) {})
}
