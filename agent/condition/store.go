package condition

import (
	"time"

	"personasync/store"
)

// Store is where the data of an agent is that shares it with others.
type Store struct {
	Engine    string     `json:"engine"` // postgres
	Role      string     `json:"role"`   // of this agent: writer | door, which receives for the writer
	Writer    string     `json:"writer"` // host of the agent that writes; "" if none does
	Term      int64      `json:"term"`   // number of its term, which grows with each take-over
	TermSince *time.Time `json:"term_since"`
	Doors     []string   `json:"doors"` // hosts of all agents that are connected, the writer's too

	RoundTrip  float64 `json:"round_trip_seconds"`  // of one statement
	HorizonAge float64 `json:"horizon_age_seconds"` // since the oldest open transaction began, behind which removed rows keep their room

	Error string `json:"error,omitempty"` // why PostgreSQL does not say more
}

// SharedStore is h, or the error of asking for it, as an agent of that role shows it.
func SharedStore(role store.Role, h *store.DatabaseHealth, err error) *Store {
	s := &Store{Engine: "postgres", Role: "door", Doors: []string{}}
	if role.Writer {
		s.Role = "writer"
	}
	if err != nil {
		s.Error = err.Error()
		return s
	}
	if w := h.Holder; w.Left > 0 {
		since := w.Since.UTC().Truncate(time.Second)
		s.Writer, s.Term, s.TermSince = w.Host, w.Term, &since
	}
	s.Doors = append(s.Doors, h.Doors...)
	s.RoundTrip, s.HorizonAge = h.RoundTrip.Seconds(), h.Horizon.Seconds()
	return s
}
