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

// The model is all that anybody may expect of the whole way from an event to MoEngage's state. It knows
// neither batches, nor requests, nor failures: of each user and computation the newest word, and the
// transitions that made events. Under as_received identify and track are two words.
type model struct {
	send   domain.SendMethods
	words  map[string]word      // user, key and, where they are kept apart, the kind of call
	events map[string][]passage // user -> transitions in applied order
	seen   map[string]bool      // user and key
	gone   map[string]bool      // users who were forgotten; everything here happened before that
}

// word is what was said of a user and a computation: true or false of an audience, else a value.
type word struct {
	at      int
	value   string
	message string
}

// passage is one transition as an event tells it.
type passage struct {
	key, value, message string
	at                  int
}

func (p passage) String() string { return p.key + " " + p.value + " " + p.message }

// beats reports whether w is newer than what is known: within one moment an exit beats an enter, and of
// two values the one in the greater message counts.
func (w word) beats(known word) bool {
	switch {
	case w.at != known.at || w.value == known.value:
		return w.at > known.at || w.at == known.at && w.message > known.message
	case w.value == "true" || w.value == "false":
		return w.value == "false"
	}
	return w.message > known.message
}

// hear takes in one word; tell says whether an event is to be made of a transition.
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

// newest is what people are shown, and what a cohort and a list are told: the newest of what is kept.
func (m *model) newest(user, key string) word {
	a, b := m.words[m.name(user, key, false)], m.words[m.name(user, key, true)]
	if a.message == "" || b.message != "" && (b.at > a.at || b.at == a.at && b.value == "false") {
		return b
	}
	return a
}

// attribute is what the user attribute of a computation should be, if it has one.
func (m *model) attribute(user, key string) (value string, sent bool) {
	w := m.words[m.name(user, key, false)]
	return w.value, m.send.Has(domain.SendAsReceived) || m.send.Has(domain.SendAttribute)
}

// list has the model hear who is a member of an audience, and of everybody else that he is not.
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

// members lists who is in an audience.
func (m *model) members(key string) (users []string) {
	for name := range m.seen {
		if user, of, _ := strings.Cut(name, " "); of == key && m.newest(user, key).value == "true" {
			users = append(users, user)
		}
	}
	return users
}

// strike takes an event out that was not to be sent after all.
func (m *model) strike(user string, p passage) bool {
	i := slices.Index(m.events[user], p)
	if i >= 0 {
		m.events[user] = slices.Delete(m.events[user], i, i+1)
	}
	return i >= 0
}

// Attempts are counted with the change, so that a restart after each of them does not begin anew.
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
