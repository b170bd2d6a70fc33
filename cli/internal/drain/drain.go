package drain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/cli/internal/pausing"
	"personasync/cli/internal/term"
	"personasync/store/domain"
)

const (
	// drainPoll is how often a drain reads the status.
	drainPoll = 250 * time.Millisecond
	// drainStill is how long nothing is sent before a drain says why.
	drainStill = 5 * time.Second
	// drainOver is how long a drain continues when only retries are left and none of them succeeds.
	drainOver = 30 * time.Second
	// probeOver is longer than the time between two probes of a stopped endpoint.
	probeOver = 70 * time.Second
)

// Wait waits until the changes that were pending before asked, the moment of the flush, are sent or closed. It does
// not wait for changes that arrive later. A timeout of zero means no timeout.
func Wait(ctx context.Context, w *term.Terminal, client *api.Client, before condition.Status, asked time.Time, timeout time.Duration) error {
	bar := w.Progress()
	bar.Unit = func(n int64) string { return term.Plural(n, "change") }
	defer bar.End()
	began, moved, last, said := time.Now(), time.Now(), left{}, ""
	for {
		s, err := client.Status(ctx)
		if err != nil {
			return err
		}
		now := leftOf(&s, &before, asked)
		if now.drained {
			return nil
		}
		if now != last {
			last, moved, said = now, time.Now(), ""
		}
		pause, err := newWait(ctx, client, &s, &before, asked, time.Since(moved))
		if err != nil {
			return err
		}
		if timedOut := timeout > 0 && time.Since(began) >= timeout; pause.over || timedOut {
			return pause.end(&s, timedOut)
		}
		if pause.text != "" && pause.kind != said {
			said = pause.kind
			bar.End()
			w.Remark("%s", pause.text)
		}
		bar.Tell(now.done, now.total)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(drainPoll):
		}
	}
}

// left is the progress of a drain.
type left struct {
	done, total int64
	oldest      time.Time // receipt of the oldest pending change, to the second
	drained     bool
}

// leftOf compares a status with the one before the flush. It is not enough that as many changes ended as were
// pending: live changes are sent before bulk ones, so those that ended may have arrived later. The receipt of the
// oldest pending change decides.
func leftOf(s, before *condition.Status, asked time.Time) left {
	ended := func(s *condition.Status) int64 { return int64(s.Changes.Created - s.Changes.Pending) }
	l := left{total: int64(before.Changes.Pending)}
	l.done = min(ended(s)-ended(before), l.total)
	if s.OldestPending != nil {
		l.oldest = *s.OldestPending
	}
	l.drained = s.Changes.Pending == 0 || l.done == l.total && l.oldest.After(asked)
	return l
}

// wait is the reason why a drain is not over. Its text is printed again when its kind changes.
type wait struct {
	kind, text string
	over       bool   // waiting longer does not help
	command    string // the command to type
}

// newWait returns why the changes that were pending at the flush are still pending, if none was sent for some time.
func newWait(ctx context.Context, client api.Inspector, s, before *condition.Status, asked time.Time, still time.Duration) (wait, error) {
	m, was := &s.MoEngage, &before.MoEngage
	switch {
	case s.Pause != nil:
		return wait{
			kind: "paused", text: "sending is paused " + pausing.End(s.Pause) + ": " + term.Plain(s.Pause.Why), over: true,
			command: "`personasync outbox resume` ends the pause",
		}, nil
	case m.State == "failing" && m.Stopped:
		return wait{
			kind: "stopped", text: "MoEngage refuses everything: " + troubleText(m),
			over:    still >= drainStill && triedSince(asked, m, was) || still >= probeOver,
			command: "`personasync outbox explain-code " + errorCode(m.LastError) + "` says what to do",
		}, nil
	case m.State == "failing":
		return wait{kind: "failing", text: "MoEngage takes nothing at the moment: " + troubleText(m), command: "`personasync status --watch` follows it"}, nil
	case still < drainStill:
		return wait{}, nil
	}
	pending, more, err := client.Changes(ctx, domain.OutboxFilter{State: domain.StatePending})
	if err != nil {
		return wait{}, err
	}
	return waitOf(receivedBy(pending, asked), more != "", still), nil
}

// triedSince reports whether MoEngage was tried since the flush. A status has whole seconds, so an error in the second
// of the flush counts.
func triedSince(asked time.Time, m, was *condition.Reachability) bool {
	at, err := time.Parse(time.RFC3339, m.LastErrorAt)
	return m.LastErrorAt != was.LastErrorAt || m.NextTry != was.NextTry || err == nil && !at.Before(asked.Truncate(time.Second))
}

// receivedBy leaves out the changes that were received later.
func receivedBy(pending []domain.ChangeInfo, asked time.Time) []domain.ChangeInfo {
	return slices.DeleteFunc(pending, func(c domain.ChangeInfo) bool {
		at, err := time.Parse(time.RFC3339Nano, c.ReceivedAt)
		return err == nil && at.After(asked)
	})
}

// waitOf returns why changes are pending while MoEngage answers. More says that there are others beside these.
func waitOf(pending []domain.ChangeInfo, more bool, still time.Duration) wait {
	first, reason := "", ""
	for i := range pending {
		c := &pending[i]
		if c.NextAttempt == "" {
			return wait{
				kind: "due", text: "MoEngage answers; the remaining changes are delayed by a limit, by an earlier change of their user, or until MoEngage knows the user (cohorts, a minute)",
				command: "`personasync outbox list` lists it, `personasync user show " + term.Argument(c.User) + "` says why one waits",
			}
		}
		if first == "" || c.NextAttempt < first {
			first, reason = c.NextAttempt, c.Reason
		}
	}
	return wait{
		kind: "retry", text: fmt.Sprintf("MoEngage answers; the remaining changes failed by themselves and are retried later, the next at %s (%s)", term.Plain(first), term.Plain(reason)),
		over: len(pending) > 0 && !more && still >= drainOver, command: "`personasync outbox list` lists it, `personasync outbox explain-code " + term.Argument(reason) + "` says what to do",
	}
}

// end returns the error of a drain that gives up.
func (w *wait) end(s *condition.Status, timedOut bool) error {
	why := w.text
	why = cmp.Or(why, "it was leaving")
	if timedOut {
		why = "the time given by --timeout is over: " + why
	}
	next := w.command
	next = cmp.Or(next, "`personasync outbox list` lists it")
	return fmt.Errorf("%s still pending: %s. Nothing is lost, and the agent goes on by itself. %s; `personasync flush --wait` waits again",
		are(s.Changes.Pending, "change"), strings.TrimRight(why, ". "), next)
}

func are(n uint64, one string) string {
	if n == 1 {
		return "1 " + one + " is"
	}
	return term.Plural(n, one) + " are"
}

// troubleText returns the last error, and the time of the next probe of MoEngage.
func troubleText(m *condition.Reachability) string {
	text := strings.TrimRight(term.Plain(m.LastError), ". ")
	if m.NextTry != "" {
		text += "; the next try is at " + term.Plain(m.NextTry)
	}
	return text
}

// errorCode returns the code at the beginning of a last error.
func errorCode(lastError string) string {
	code, _, _ := strings.Cut(lastError, ":")
	return term.Argument(code)
}
