package sandbox

import (
	"net/http"
	"slices"
)

// Lose makes the sandbox forget attributes of a user, or the whole user if none are named. MoEngage's 200 does
// not prove storage, so tests use Lose to see that a verification notices the loss. It reports whether there
// was anything to lose.
func (s *Sandbox) Lose(user string, attributes ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp(s.now())
	p := s.state.users[user]
	if p == nil {
		return false
	}
	if len(attributes) == 0 {
		s.state.forget(p)
		return true
	}
	before := len(p.attrs)
	p.attrs = slices.DeleteFunc(p.attrs, func(a attribute) bool { return slices.Contains(attributes, a.name) })
	return len(p.attrs) < before
}

// handleLose answers POST /sandbox/lose?user=ID&attribute=NAME.
func (s *Sandbox) handleLose(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if !s.Lose(q.Get("user"), q["attribute"]...) {
		show(w, http.StatusNotFound, map[string]string{"error": "nothing to lose"})
		return
	}
	show(w, http.StatusOK, map[string]bool{"lost": true})
}
