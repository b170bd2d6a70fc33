package condition

import (
	"slices"
	"sync"
	"time"

	"personasync/store/domain"
)

// sighted are the conditions whose facts know no beginning.
var sighted = []string{"disk", "no_standby", "ledger", "behind", "clock"}

// Sightings remembers when a running agent first saw the conditions whose facts know no beginning. Its methods may be called
// concurrently. The zero value has seen nothing.
type Sightings struct {
	mu    sync.Mutex
	first map[string]time.Time
}

// Date sets Since where it is not known, and forgets the conditions that hold no more. list is all that hold now. After a
// restart Since is no earlier than the start.
func (s *Sightings) Date(list []Condition, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := make(map[string]time.Time)
	for i := range list {
		c := &list[i]
		if c.Since != "" || !slices.Contains(sighted, c.Name) {
			continue
		}
		at, known := s.first[c.Name]
		if !known {
			at = now.Truncate(time.Second)
		}
		first[c.Name], c.Since = at, domain.Timestamp(at)
	}
	s.first = first
}
