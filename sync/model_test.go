package syncer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
	"personasync/sync/sandbox"
)

// The model is the expected result of the whole path from an event to MoEngage's state. It has no batches,
// requests or failures. It has the newest value of each user and computation, and the transitions that become
// events. With as_received, identify and track have separate values.
type model struct {
	send   domain.SendMethods
	words  map[string]word      // by user, key and, where they are separate, the call
	events map[string][]passage // user -> transitions in applied order
	seen   map[string]bool      // user and key
	gone   map[string]bool      // erased users; all events here are older than that
}

// word is a value of a user and a computation: true or false for an audience, otherwise a trait's value.
type word struct {
	at      int
	value   string
	message string
}

// passage is one transition as an event reports it.
type passage struct {
	key, value, message string
	at                  int
}

func (p passage) String() string { return p.key + " " + p.value + " " + p.message }

// beats reports whether w is newer than known. At the same time an exit beats an enter, and of two values the
// one with the greater message id counts.
func (w word) beats(known word) bool {
	switch {
	case w.at != known.at || w.value == known.value:
		return w.at > known.at || w.at == known.at && w.message > known.message
	case w.value == "true" || w.value == "false":
		return w.value == "false"
	}
	return w.message > known.message
}

// hear applies one value. tell says whether a transition becomes an event.
func (m *model) hear(user, key string, track bool, w word, tell bool) {
	name := m.name(user, key, track)
	known, heard := m.words[name]
	if m.gone[user] || heard && !w.beats(known) {
		return
	}
	m.words[name], m.seen[user+" "+key] = w, true
	isMove := known.value != w.value && (heard || w.value != "false")
	if isMove && tell && (m.send.Has(domain.SendEvent) || m.send.Has(domain.SendAsReceived) && track) {
		m.events[user] = append(m.events[user], passage{key, w.value, w.message, w.at})
	}
}

func (m *model) name(user, key string, track bool) string {
	if m.send.Has(domain.SendAsReceived) {
		return fmt.Sprint(user, " ", key, " ", track)
	}
	return user + " " + key
}

// newest returns the newest value of identify and track. It is shown to people and sent to cohorts and lists.
func (m *model) newest(user, key string) word {
	a, b := m.words[m.name(user, key, false)], m.words[m.name(user, key, true)]
	if a.message == "" || b.message != "" && (b.at > a.at || b.at == a.at && b.value == "false") {
		return b
	}
	return a
}

// attribute returns the expected user attribute of a computation, if it has one.
func (m *model) attribute(user, key string) (value string, sent bool) {
	w := m.words[m.name(user, key, false)]
	return w.value, m.send.Has(domain.SendAsReceived) || m.send.Has(domain.SendAttribute)
}

// list applies a full member list of an audience: listed users are in, all others are out.
func (m *model) list(key string, at int, listed []string, tell bool) {
	for name := range m.seen {
		if user, of, _ := strings.Cut(name, " "); of == key && !slices.Contains(listed, user) {
			m.hear(user, key, false, word{at, "false", "import"}, tell)
		}
	}
	for _, user := range listed {
		m.hear(user, key, false, word{at, "true", "import"}, tell)
	}
}

// members returns the members of an audience.
func (m *model) members(key string) (users []string) {
	for name := range m.seen {
		if user, of, _ := strings.Cut(name, " "); of == key && m.newest(user, key).value == "true" {
			users = append(users, user)
		}
	}
	return users
}

// strike removes an event that is not expected after all.
func (m *model) strike(user string, p passage) bool {
	i := slices.Index(m.events[user], p)
	if i >= 0 {
		m.events[user] = slices.Delete(m.events[user], i, i+1)
	}
	return i >= 0
}

// Attempts are stored with the change, so a restart does not reset them.
func TestAttemptsAreCountedThroughRestarts(t *testing.T) {
	for _, send := range []domain.SendMethods{domain.SendAttribute, domain.SendEvent} {
		synctest.Test(t, func(t *testing.T) {
			s := newStation(t, modelRules(send), sandbox.Options{},
				Config{UsersPerMinute: 600, EventsPerMinute: 600, MaxAttempts: 3, MinBackoff: time.Minute, MaxBackoff: time.Minute})
			f, err := sandbox.ParseFault("status=500")
			s.must(err)
			s.moengage.Fail(f)
			s.must(s.store.Append(context.Background(), moved("user-1", "vip", true, false, 0)))
			for end := time.Now().Add(time.Hour); s.counts().Changes.Parked == 0 && time.Now().Before(end); time.Sleep(10 * time.Second) {
				s.restart()
			}
			if n := s.moengage.Stats().Requests; n != 3 || s.balanced().Changes.Parked != 1 {
				t.Errorf("channel %d: %d requests, %+v; want the change parked after three", send, n, s.counts().Changes)
			}
			s.stop()
		})
	}
}
