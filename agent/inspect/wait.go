package inspect

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"personasync/agent/condition"
	"personasync/agent/sending"
	"personasync/store"
	"personasync/store/domain"
)

// waitText says in a sentence why a change waits, when it leaves, and what to type if it does not; "" of one that is due and has no
// schedule. It depends on the store and the configuration alone, so that it is the same while the agent runs and while it is stopped.
func waitText(c *domain.UserChange, plan []Planned) string {
	switch c.Wait {
	case domain.WaitUnderWay:
		return "it is in a request under way"
	case domain.WaitBehind:
		return "an earlier event of this user goes first: " + c.Behind
	case domain.WaitRetry:
		return fmt.Sprintf("%s; tried again from %s on", troubleText(c), stampText(c.NextAttempt))
	case domain.WaitUser:
		return "an attempt at another change of this user failed: all of them wait until " + stampText(c.Until)
	case domain.WaitAccount:
		return "a cohort takes users that MoEngage knows: it leaves 60 s after the user's other changes were accepted"
	case domain.WaitDeletion:
		if c.Until == "" {
			return "the user is to be deleted at MoEngage first, which has not accepted that yet: `personasync user deletions " + domain.ShellWord(c.User) + "`"
		}
		return "MoEngage is deleting the user, and takes what comes meanwhile along: it leaves after " + stampText(c.Until)
	case domain.WaitHeld:
		return cmp.Or(c.Sentence, "held for "+c.Reason)
	case domain.WaitParked:
		return parkedText(c)
	}
	for _, p := range plan {
		if p.Job == sending.JobTitle(c.Job) {
			return scheduleText(c, p)
		}
	}
	return ""
}

// obstacles are the reasons why no request leaves now, in sentences, so that nobody takes the requests of a preview or of a dry
// run for those that are about to leave. Like waitText, they depend on the store and the configuration alone.
func (l *Local) obstacles(v *store.View) ([]string, error) {
	list := []string{}
	pause, err := v.Pause()
	if err != nil {
		return nil, err
	}
	if pause.Holds(time.Now()) {
		list = append(list, "sending is paused ("+pause.Why+"), so requests leave after `personasync outbox resume`, or when the pause ends")
	}
	was, err := elsewhere(v, l.from.Config())
	if was != "" {
		list = append(list, toldElsewhere(was))
	}
	return list, err
}

// toldElsewhere says that nothing is sent because a workspace was told before that is not the configured one.
func toldElsewhere(was string) string {
	return "nothing is sent, because " + was + " was told before and another workspace is configured: `personasync status` says what to do"
}

// turnText says when a change leaves that is due.
func turnText(c *domain.UserChange) string {
	if c.Bulk {
		return "it comes of an operator's order or a repair, and leaves behind live changes, which get at most half of the limits; `personasync status` says how long all of it takes"
	}
	return "it is due and leaves in its turn, ahead of what orders and repairs queued: computations take turns, and of one the changes of the last minute and the oldest go first; `personasync status` says how long all of it takes"
}

// troubleText sums up the failed attempts.
func troubleText(c *domain.UserChange) string {
	text := condition.Quantity(uint64(c.Attempts), "attempt") + " failed, the last with " + cmp.Or(c.Reason, "no answer")
	if c.Answer != nil && c.Answer.Status != 0 && !strings.Contains(c.Reason, fmt.Sprint(c.Answer.Status)) {
		text += fmt.Sprintf(" (HTTP %d)", c.Answer.Status)
	}
	return text
}

func parkedText(c *domain.UserChange) string {
	what := "it could not be delivered: "
	if c.Kind == "received" {
		what = "it could not be used: "
	}
	return what + cmp.Or(c.Sentence, c.Reason) + "; remove the cause, then `personasync outbox retry " + c.ID + "`"
}

// scheduleText says which run of a schedule a change leaves with. A run in progress sends the changes received before its
// time, and those received before a later time of the schedule that has passed.
func scheduleText(c *domain.UserChange, p Planned) string {
	received, err := time.Parse(time.RFC3339Nano, c.ReceivedAt)
	switch {
	case p.Running && (err != nil || !received.After(p.Last.Started) || p.Schedule.Next(received).Before(p.Next)):
		return "it leaves with the run of the schedule " + p.Job + " that is under way"
	case p.Next.IsZero():
		return "it waits for the schedule " + p.Job
	}
	text := fmt.Sprintf("it waits for the schedule %s (%s), next at %s", p.Job, p.Spec, p.Next.UTC().Format("2006-01-02 15:04 UTC"))
	if at := p.Next.Format("15:04 -0700"); p.Next.Location() != time.UTC {
		text += ", there " + at
	}
	return text
}

// stampText writes a timestamp of a listing for people.
func stampText(stamp string) string {
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return "now"
	}
	return at.UTC().Format("2006-01-02 15:04:05 UTC")
}
