package condition

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"personasync/store"
	"personasync/store/domain"
)

// The conditions of sending, and of changes that wait for a decision.

func (f *Facts) moengageRefusing() *Condition {
	if m := &f.Status.MoEngage; m.State == "failing" && m.Stopped {
		return condition(Critical, m.Since, []string{"personasync outbox explain-code " + codeOf(m.LastError)},
			"MoEngage refuses everything%s. %sNothing is lost: changes wait, and one request a minute tries whether it is over%s.", sinceText(m.Since), lastErrorText(m), nextTryText(m)).within("", "", m.NextTry)
	}
	return nil
}

func (f *Facts) moengageFailing() *Condition {
	if m := &f.Status.MoEngage; m.State == "failing" && !m.Stopped {
		return condition(warning, m.Since, []string{"personasync outbox explain-code " + codeOf(m.LastError)},
			"MoEngage does not take requests%s. %sChanges wait and are retried%s.", sinceText(m.Since), lastErrorText(m), nextTryText(m)).within("", "", m.NextTry)
	}
	return nil
}

// codeOf is the code that a last error begins with.
func codeOf(lastError string) string {
	code, _, _ := strings.Cut(lastError, ":")
	return domain.ShellWord(cmp.Or(code, "unreachable"))
}

func lastErrorText(m *Reachability) string {
	if m.LastError == "" {
		return ""
	}
	text := "Its last error"
	if when := atOf(m.LastErrorAt); when != "" {
		text += ", at " + when
	}
	return text + ", was " + ended(m.LastError)
}

func nextTryText(m *Reachability) string {
	if when := atOf(m.NextTry); when != "" {
		return ", next at " + when
	}
	return ""
}

// paused holds while an operator's pause of everything does, or one of a computation.
func (f *Facts) paused() *Condition {
	if p := f.Status.Pause; p != nil {
		itself, next := "", domain.Timestamp(p.Until.Truncate(time.Second))
		if !p.Until.IsZero() {
			itself = "The pause ends, and changes leave."
		}
		return condition(warning, domain.Timestamp(p.Since.Truncate(time.Second)), []string{"personasync outbox resume"},
			"Sending to MoEngage is paused%s. Events are accepted and kept. Of a value that changes meanwhile, only the last is sent.", pausedText(p)).within("", itself, next)
	}
	list := f.Status.Pauses
	if len(list) == 0 {
		return nil
	}
	since, itself, next := list[0].Since, "", time.Time{}
	var parts, commands []string
	for i := range list {
		p := &list[i]
		since = domain.Sooner(since, p.Since)
		if !p.Until.IsZero() && (next.IsZero() || p.Until.Before(next)) {
			itself, next = "A pause ends, and its changes leave.", p.Until
		}
		if i < 3 {
			parts = append(parts, p.Name()+" is paused"+pausedText(p))
			commands = append(commands, "personasync outbox resume --computation "+store.Arguments(p.Name()))
		}
	}
	more := ""
	if n := len(list) - len(parts); n > 0 {
		more, commands = fmt.Sprintf("; and %s more", Quantity(uint64(n), "computation")), append(commands, "personasync audience list")
	}
	return condition(warning, domain.Timestamp(since.Truncate(time.Second)), commands,
		"%s%s. Events are accepted, and changes are held. Of a value that changes meanwhile, only the last is sent.", strings.Join(parts, "; "), more).within("", itself, domain.Timestamp(next.Truncate(time.Second)))
}

// pausedText says by whom, until when and why.
func pausedText(p *domain.Pause) string {
	end, by := "until it is resumed", ""
	if !p.Until.IsZero() {
		end = "until " + atOf(domain.Timestamp(p.Until.Truncate(time.Second)))
	}
	if p.By != "" {
		by = " by " + p.By
	}
	return by + ", " + end + ": " + p.Why
}

// lag holds where a change waits for longer than it should, be it for the next run of its schedule.
func (f *Facts) lag() *Condition {
	st := f.Status
	var oldest time.Time
	for job, at := range f.Oldest {
		due := at
		if schedule, waits := f.Process.Schedules[job]; waits {
			due = schedule.Next(at)
		}
		if f.Now.Sub(due) > slow {
			oldest = domain.Sooner(oldest, at)
		}
	}
	if oldest.IsZero() || !f.running() || f.Status.Pause != nil {
		return nil
	}
	why := "although MoEngage answers"
	if st.MoEngage.State == "failing" {
		why = "because MoEngage does not take requests"
	}
	return condition(Critical, domain.Timestamp(oldest.Truncate(time.Second)), []string{"personasync outbox list", "personasync outbox stats"},
		"The oldest of %s that should have left has waited for %s, %s: so late is what MoEngage knows of memberships.", Quantity(st.Pending, "pending change"), ForPeople(f.Now.Sub(oldest)), why)
}

// OldestDue is when the change that is most overdue should have left: at its receipt, or at the next run of its schedule
// after that. Nil: none is overdue, or sending is paused.
func (f *Facts) OldestDue() *time.Time {
	if f.Status.Pause != nil {
		return nil
	}
	var oldest time.Time
	for job, at := range f.Oldest {
		if schedule, waits := f.Process.Schedules[job]; waits {
			at = schedule.Next(at)
		}
		if !at.After(f.Now) {
			oldest = domain.Sooner(oldest, at)
		}
	}
	if oldest.IsZero() {
		return nil
	}
	oldest = oldest.UTC().Truncate(time.Second)
	return &oldest
}

func (f *Facts) behind() *Condition {
	if f.Status.Unapplied <= behind {
		return nil
	}
	return condition(warning, "", []string{"personasync status --watch"},
		"%s received and not applied yet: they are safe, and membership lags behind.", Are(f.Status.Unapplied, "event"))
}

// conflicting lists the computations whose changes are held for the name of another.
func (f *Facts) conflicting() (list []domain.ComputationInfo) {
	for _, c := range f.Computations {
		if c.Conflict != nil {
			list = append(list, c)
		}
	}
	return list
}

// keyConflict names both computations. Where they share the key, one may be the other made again.
func (f *Facts) keyConflict() *Condition {
	list := f.conflicting()
	if len(list) == 0 {
		return nil
	}
	var parts, commands []string
	for _, c := range list[:min(len(list), 3)] {
		parts = append(parts, fmt.Sprintf("%s (id %s, %s held) and %s (id %s) would both be sent as %s", c.Key, c.ID, Quantity(undecided(c), "change"), c.Conflict.Key, c.Conflict.ID, c.Conflict.Name))
		if c.Key == c.Conflict.Key && c.ID != "" && c.Class != domain.ClassTrait.String() {
			commands = append(commands, "personasync audience adopt "+store.Arguments(c.Key, c.ID))
		}
		commands = append(commands, "personasync outbox list --state held --computation "+domain.ShellWord(cmp.Or(c.ID, c.Key)))
	}
	more := ""
	if n := len(list) - len(parts); n > 0 {
		more = fmt.Sprintf("; and %s more", Quantity(uint64(n), "conflict"))
	}
	return condition(warning, "", commands,
		"%s%s. The changes of the one that came later are held. If it was made again in Segment, `adopt` has it continue the other; else give it a name of its own in a [[computation]] section of the configuration.", strings.Join(parts, "; "), more)
}

// undecided returns how many held changes of a computation wait for an operator: not those of a rollout or a pause.
func undecided(c domain.ComputationInfo) uint64 {
	if c.Rollout == nil {
		return c.Held - c.HeldPaused
	}
	return c.Held - c.HeldPaused - c.Rollout.Held
}

// held names the audiences whose exits the guard holds, and both ways out.
func (f *Facts) held() *Condition {
	st := f.Status
	if len(st.Guard) == 0 {
		others := st.HeldRollout + st.HeldPaused // which leave by themselves, as the share grows or the pause ends
		if st.Deletions != nil {
			others += st.Deletions.Held // the condition deletions counts them
		}
		for _, c := range f.conflicting() {
			others += undecided(c) // key_conflict counts them
		}
		if st.Held <= others {
			return nil
		}
		return condition(warning, "", []string{"personasync outbox list --state held"}, "%s held back, waiting for your decision.", Are(st.Held-others, "change"))
	}
	var commands []string
	var parts []string
	for i := range st.Guard {
		g := &st.Guard[i]
		if i < 3 {
			key := store.Arguments(f.nameOf(g.Key, g.ID))
			commands = append(commands, "personasync audience release "+key, "personasync audience discard "+key)
			parts = append(parts, fmt.Sprintf("%s (%s%s)", g.Key, Quantity(g.Held, "change"), sinceText(g.Since)))
		}
	}
	more := ""
	if n := len(st.Guard) - len(parts); n > 0 {
		more = fmt.Sprintf(" and %d more audiences", n)
		commands = append(commands, "personasync audience list")
	}
	return condition(warning, st.Guard[0].Since, commands,
		"Too many members left at once, and exits of %s%s are held. `release` sends them; `discard` makes those who left members again.", strings.Join(parts, ", "), more)
}

// nameOf is what a computation is called on a command line: its key, or its id where several share the key.
func (f *Facts) nameOf(key, id string) string {
	for _, c := range f.Computations {
		if c.Key == key && c.ID != id {
			return cmp.Or(id, key)
		}
	}
	return cmp.Or(key, id)
}

func (f *Facts) parked() *Condition {
	st := f.Status
	if st.Parked == 0 {
		return nil
	}
	text, expire := fmt.Sprintf("%s could not be used or delivered: parked until you decide.", Quantity(st.Parked, "item")), ""
	if e := st.Expiring; e != nil {
		expire = domain.Timestamp(e.First.Truncate(time.Second))
		text += fmt.Sprintf(" Undecided, %s within a week, the first on %s.", expiryOf(e), e.First.UTC().Format("2 January"))
	}
	return condition(warning, "", []string{"personasync outbox stats", "personasync outbox list --state parked"}, "%s", text).within("", "", expire)
}

// manyDiffer is the share, one in so many, beyond which differences are no accident of the sample.
const manyDiffer = 100

func (f *Facts) verifyDiffers() *Condition {
	v := f.Status.Verify
	if v == nil || v.Differ == 0 {
		return nil
	}
	severity := info
	if v.Differ*manyDiffer > v.Compared {
		severity = warning
	}
	worst := store.Arguments(f.nameOf(v.Worst, v.WorstID))
	return condition(severity, domain.Timestamp(v.At), []string{"personasync audience verify " + worst, "personasync audience verify --repair " + worst},
		"Of %s read back from MoEngage, %s not hold what it was told; %s is the worst.", Quantity(v.Compared, "user"), does(v.Differ), v.Worst)
}

// verifyImpossible holds while the last verification of a computation failed: it proves nothing.
func (f *Facts) verifyImpossible() *Condition {
	v := f.Status.Verify
	if v == nil || v.Failed == 0 && v.UnprovenKey == "" {
		return nil
	}
	if v.Failed == 0 {
		return condition(info, domain.Timestamp(v.At), []string{"personasync audience verify " + store.Arguments(f.nameOf(v.UnprovenKey, v.UnprovenID))},
			"The last verification of %s compared none of the users that MoEngage was told of: of each something was on the way, or was sent too lately. So it proves nothing about what MoEngage holds.", v.UnprovenKey)
	}
	since := ""
	if v.FailedAt != nil {
		since = domain.Timestamp(*v.FailedAt)
	}
	return condition(warning, since, []string{"personasync outbox explain-code " + domain.ShellWord(v.Code), "personasync audience verify " + store.Arguments(f.nameOf(v.FailedKey, v.FailedID))},
		"%s could not be verified, so nothing new says whether MoEngage holds what it was told: of %s, at %s, %s", Quantity(uint64(v.Failed), "computation"), v.FailedKey, atOf(since), ended(v.Error))
}

func does(n uint64) string {
	if n == 1 {
		return "1 does"
	}
	return thousands(n) + " do"
}
