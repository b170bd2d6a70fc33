package notify

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
)

// States of a condition, as messages and the store name them.
const (
	began = "began"
	ended = "ended"
	tests = "test" // of a message that reports nothing
)

// Message is what a receiver is told. Its JSON is part of the contract: fields may be added. The text field alone is what
// the incoming webhooks of Slack show.
type Message struct {
	Text      string   `json:"text"`      // all of it, for people
	ID        string   `json:"id"`        // the same when a message is repeated
	Condition string   `json:"condition"` // its name
	Severity  string   `json:"severity"`  // critical | warning | info
	State     string   `json:"state"`     // began | ended | test
	Since     string   `json:"since"`     // when it began; RFC 3339
	At        string   `json:"at"`        // when it was seen to begin or end; RFC 3339
	Host      string   `json:"host"`
	Lost      string   `json:"lost"`     // what happened, to what, and what that costs; "" once it is over
	Commands  []string `json:"commands"` // what to type, each whole
	Runbook   string   `json:"runbook"`  // page and section
	Version   string   `json:"version"`
}

// Bounds of a message. Slack shows 4,000 characters of a text, and Teams refuses more than 28 KB.
const (
	maxLost     = 2000 // characters
	maxCommands = 6
)

// newMessage says that a condition is no longer as n has it. c is the condition as it is now; nil: it does not hold.
func newMessage(c *Config, n *store.Notice, now *condition.Condition) *Message {
	m := &Message{Condition: n.Condition, State: ended, Severity: n.Severity, At: domain.Timestamp(n.Differs.Truncate(time.Second)), Host: c.Host, Version: c.Version}
	m.Since = domain.Timestamp(n.Began.Truncate(time.Second))
	if now != nil {
		m.State, m.Severity = began, now.Severity
		m.Since = cmp.Or(now.Since, m.At)
		m.Lost = cut(strings.ToValidUTF8(now.Text, "?"), maxLost)
		m.Commands = now.Commands[:min(len(now.Commands), maxCommands)]
	}
	m.Commands = condition.Whole(m.Commands)
	m.Runbook = condition.Runbook(m.Condition, m.Severity)
	m.ID = id(m.Host, m.Condition, m.State, m.Severity, m.At)
	m.Text = m.prose()
	return m
}

// testMessage is told to try a receiver.
func testMessage(c *Config, at time.Time) *Message {
	m := &Message{
		Condition: tests, State: tests, Severity: "info", At: domain.Timestamp(at.Truncate(time.Second)), Host: c.Host, Version: c.Version,
		Lost: "This is a test of [notify]: nothing is wrong.", Commands: []string{"personasync status"}, Runbook: "docs/notify.md",
	}
	m.Since, m.ID = m.At, id(m.Host, tests, m.At)
	m.Text = m.prose()
	return m
}

// id is short, and equal for equal parts.
func id(parts ...string) string {
	h := fnv.New64a()
	h.Write([]byte(strings.Join(parts, "\x00")))
	return fmt.Sprintf("%016x", h.Sum64())
}

// prose is the message for people.
func (m *Message) prose() string {
	if m.State == ended {
		text := fmt.Sprintf("[over] personasync on %s: %s is over.", m.Host, m.Condition)
		if m.Since != "" {
			text += " It began at " + m.Since + "."
		}
		return text
	}
	text := fmt.Sprintf("[%s] personasync on %s: %s. %s", m.Severity, m.Host, m.Condition, m.Lost)
	for _, command := range m.Commands {
		text += "\n`" + command + "`"
	}
	return text + "\nRunbook: " + m.Runbook
}

// cut shortens a text to n characters.
func cut(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}
