package condition

import (
	"slices"

	"personasync/store"
	"personasync/store/domain"
)

// Notify is the state of [notify]: each receiver, and the heartbeat.
type Notify struct {
	Receivers []Receiver `json:"receivers"`
}

// Receiver is a receiver of conditions, or of the heartbeat. Only a running agent knows how it takes messages.
type Receiver struct {
	Name     string `json:"receiver"` // url | command | heartbeat
	Told     string `json:"told"`     // the condition of the last message; "" before the first
	State    string `json:"state"`    // that it was told: began | ended
	ToldAt   string `json:"told_at"`  // of the last message, or the last heartbeat; RFC 3339
	Waiting  int    `json:"waiting"`  // messages that it has not taken yet
	Withheld string `json:"withheld"` // why there is no heartbeat now; "" while there is

	FailingSince string `json:"failing_since"` // RFC 3339; "" while it takes messages
	Failures     int    `json:"failures"`      // in a row
	LastError    string `json:"last_error"`    // kept after recovery; without secrets
	LastErrorAt  string `json:"last_error_at"`
	Sent         uint64 `json:"sent"`   // messages since the start
	Failed       uint64 `json:"failed"` // attempts since the start
}

// NoticesOf finds the record of a receiver; empty without one.
func NoticesOf(list []store.Notices, receiver string) store.Notices {
	if i := slices.IndexFunc(list, func(n store.Notices) bool { return n.Receiver == receiver }); i >= 0 {
		return list[i]
	}
	return store.Notices{Receiver: receiver}
}

// NewNotify joins what receivers were told with how they are. names are the configured ones; nil without any.
func NewNotify(names []string, kept []store.Notices, now []Receiver) *Notify {
	if len(names) == 0 {
		return nil
	}
	all := &Notify{Receivers: []Receiver{}}
	for _, name := range names {
		r := Receiver{Name: name}
		if i := slices.IndexFunc(now, func(r Receiver) bool { return r.Name == name }); i >= 0 {
			r = now[i]
		}
		if last := NoticesOf(kept, name).Last; last != nil {
			r.Told, r.State, r.ToldAt = last.Condition, last.Told, domain.Timestamp(last.ToldAt)
		}
		all.Receivers = append(all.Receivers, r)
	}
	return all
}
