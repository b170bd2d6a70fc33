package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/state"
)

// The bucket of runs holds what ran last, of each kind under its own prefix.
const (
	RunOfJob          = "job:"
	RunOfVerification = "verify:"
	RunOfNotices      = "notify:"
)

// PauseKey is the key of the pause of sending, and PausesKey that of the pauses of computations, in the same bucket.
const (
	PauseKey  = "pause"
	PausesKey = "pauses"
)

// BackupKey is the key of the last good scheduled backup, in the same bucket.
const BackupKey = "backup"

// GoodBackup is the last scheduled backup that was proven by a restore.
type GoodBackup struct {
	File   string        `json:"file"`   // its path
	Made   time.Time     `json:"made"`   // the moment whose state is in it
	Proven time.Time     `json:"proven"` // when it was counted as good
	Bytes  int64         `json:"bytes"`
	Users  uint64        `json:"users"`
	Grew   int64         `json:"grew"` // bytes that state.db grew by while it was written
	Took   time.Duration `json:"took_ns"`
}

// GoodBackup returns the last good scheduled backup, or nil.
func (v *Reader) GoodBackup() (b *GoodBackup, err error) {
	err = v.readRun(BackupKey, "the last backup", &b)
	return b, err
}

// Pause returns the pause that an operator ordered last, which may be over, or nil.
func (v *Reader) Pause() (p *domain.Pause, err error) {
	err = v.readRun(PauseKey, "the pause", &p)
	return p, err
}

// Pauses returns the pauses of computations, by name. Some may be over.
func (v *Reader) Pauses() (list []domain.Pause, err error) {
	err = v.Look(func(tx engine.Tx) error {
		list, err = ReadPauses(tx)
		return err
	})
	return list, err
}

// ReadPauses is Reader.Pauses.
func ReadPauses(tx engine.Tx) (list []domain.Pause, err error) {
	err = readRun(tx, PausesKey, "the paused computations", &list)
	return list, err
}

// readRun decodes the record of a key into into, which stays as it is if there is none. what names it in an error.
func (v *Reader) readRun(key, what string, into any) error {
	return v.Look(func(tx engine.Tx) error { return readRun(tx, key, what, into) })
}

func readRun(tx engine.Tx, key, what string, into any) error {
	text := tx.Bucket(state.BucketRuns).Get([]byte(key))
	if text == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("the record of %s: %w", what, err)
	}
	return nil
}

// allRuns returns the records of one kind, by key. what names one in an error.
func allRuns[T any](v *Reader, kind, what string) (list []T, err error) {
	err = v.Look(func(tx engine.Tx) error {
		c := tx.Bucket(state.BucketRuns).Cursor()
		for k, text := c.Seek([]byte(kind)); bytes.HasPrefix(k, []byte(kind)); k, text = c.Next() {
			var one T
			if err := json.Unmarshal(text, &one); err != nil {
				return fmt.Errorf("the record of %s: %w", what, err)
			}
			list = append(list, one)
		}
		return nil
	})
	return list, err
}

// JobRun is the last run of a scheduled job, kept so that a run missed while down is known.
type JobRun struct {
	Job      string    `json:"job"`
	Started  time.Time `json:"started"`  // the scheduled time of the last run that began
	Finished time.Time `json:"finished"` // zero while it is under way
	Missed   uint64    `json:"missed"`   // runs that fell into downtime, ever
	Failed   uint64    `json:"failed"`   // runs that ended with an error, ever

	// Of the last run that ended, if it ended with an error; FailedAt is zero if it did not.
	FailedAt time.Time `json:"failed_at"`
	Code     string    `json:"code,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// JobRuns lists the jobs' last runs, by name.
func (v *Reader) JobRuns() ([]JobRun, error) { return allRuns[JobRun](v, RunOfJob, "a job's run") }
