package condition

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"personasync/store"
	"personasync/store/domain"
)

// VerifyStatus sums up the last verification of every computation. It has more than 15 fields because the contract has one flat
// object.
type VerifyStatus struct {
	Computations int       `json:"computations"`
	Compared     uint64    `json:"compared"`
	Differ       uint64    `json:"differ"`
	At           time.Time `json:"at"`    // of the newest
	Worst        string    `json:"worst"` // key of the computation with the largest share that differs; "" when nothing does
	WorstID      string    `json:"worst_id"`

	Verified int `json:"verified"` // computations of which users were compared

	// Unproven counts the computations without a compared user, and Failed those whose last verification failed. Neither
	// says anything about the values at MoEngage.
	Unproven    int    `json:"unproven"`
	UnprovenKey string `json:"unproven_key"` // the first of those with users of whom something was sent; "" without one
	UnprovenID  string `json:"unproven_id"`
	Failed      int    `json:"failed"`

	// Of the newest failure; empty without one. explain-code knows Code.
	FailedKey string     `json:"failed_key"`
	FailedID  string     `json:"failed_id"`
	FailedAt  *time.Time `json:"failed_at"`
	Code      string     `json:"code"`
	Error     string     `json:"error"`
}

// Standing keeps of the recorded verifications those of computations that are known and sent as attributes, which
// sendsAttributes says. A computation that was forgotten, adopted or is sent in another way by now cannot be verified
// again, so that its result would stand forever.
func Standing(recorded []store.Verification, known []domain.ComputationInfo, sendsAttributes func(key string) (bool, error)) (kept []store.Verification, err error) {
	for _, r := range recorded {
		if !slices.ContainsFunc(known, func(c domain.ComputationInfo) bool { return c.Key == r.Key && c.ID == r.ID }) {
			continue
		}
		sends, err := sendsAttributes(cmp.Or(r.ID, r.Key))
		if ambiguous := (*store.AmbiguousError)(nil); err != nil && !errors.As(err, &ambiguous) {
			return nil, err
		} else if sends || err != nil {
			kept = append(kept, r)
		}
	}
	return kept, nil
}

// SumVerifications sums up verifications; nil without any.
func SumVerifications(list []store.Verification) *VerifyStatus {
	if len(list) == 0 {
		return nil
	}
	s := &VerifyStatus{Computations: len(list)}
	worst := 0.0
	for _, v := range list {
		s.Compared += v.Compared
		s.Verified += int(min(v.Compared, 1))
		failedAt := cmp.Or(v.FailedAt, &v.At)
		s.Differ += v.Differ
		if v.At.After(s.At) {
			s.At = v.At
		}
		if v.Differ > 0 && float64(v.Differ)/float64(v.Compared) > worst {
			worst, s.Worst, s.WorstID = float64(v.Differ)/float64(v.Compared), v.Key, v.ID
		}
		switch {
		case v.Code == "" && v.Compared == 0:
			if s.Unproven++; v.Told > 0 && s.UnprovenKey == "" {
				s.UnprovenKey, s.UnprovenID = v.Key, v.ID
			}
		case v.Code == "":
		case s.Failed == 0, failedAt.After(*s.FailedAt):
			s.FailedKey, s.FailedID, s.FailedAt, s.Code, s.Error = v.Key, v.ID, failedAt, v.Code, v.Error
			fallthrough
		default:
			s.Failed++
		}
	}
	return s
}
