package condition

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"personasync/store"
	"personasync/store/domain"
)

// The conditions of the process, its files and its machine.

func (f *Facts) notRunning() *Condition {
	if f.running() || f.Status.Unready != unreadyStopped {
		return nil
	}
	return condition(Critical, "", []string{"systemctl start personasync"},
		"The agent is not running. Segment keeps its events and sends them again for about four hours, then it discards them.")
}

func (f *Facts) notReady() *Condition {
	told := f.Process.DataMoved || f.Status.Unready == f.Process.NoSocket || f.ingestLost()
	if !f.running() || f.Status.Ready || told {
		return nil
	}
	return condition(Critical, domain.Timestamp(f.Process.UnreadySince.Truncate(time.Second)), []string{"personasync doctor"},
		"Events are not being accepted: %sSegment keeps them and sends them again for about four hours.", ended(f.Status.Unready))
}

// dataMoved holds while the open files are not the ones in data_dir.
func (f *Facts) dataMoved() *Condition {
	if !f.Process.DataMoved {
		return nil
	}
	dir := domain.ShellWord(f.Process.DataDir)
	return condition(Critical, domain.Timestamp(f.Process.UnreadySince.Truncate(time.Second)), []string{"ls -la " + dir, "findmnt -T " + dir, "personasync db backup personasync-backup.tar"},
		"Events are not being accepted: %sPut the files back, and the agent goes on within a second. If they cannot come back, make a backup before the agent stops: it still has them open.", ended(f.Status.Unready))
}

// socketMissing holds if systemd should have passed the socket of ingest, and did not.
func (f *Facts) socketMissing() *Condition {
	why := f.Process.NoSocket
	if why == "" {
		return nil
	}
	return condition(Critical, domain.Timestamp(f.Process.Started.Truncate(time.Second)), append(quoted(why), "systemctl status personasync.socket"),
		"Segment's deliveries do not arrive: %s", ended(why))
}

func (f *Facts) ingestLost() bool {
	return slices.ContainsFunc(f.Process.LostSockets, func(s LostSocket) bool { return s.Ingest })
}

// socketLost holds while the path of a unix socket is something else. Where the data was moved, the socket of commands went
// with its folder, which is the condition data_moved.
func (f *Facts) socketLost() *Condition {
	list := slices.DeleteFunc(slices.Clone(f.Process.LostSockets), func(s LostSocket) bool { return f.Process.DataMoved && !s.Ingest })
	if len(list) == 0 {
		return nil
	}
	worst := max(0, slices.IndexFunc(list, func(s LostSocket) bool { return s.Ingest }))
	s, severity, cost, lost := &list[worst], warning, "No command reaches the agent; events are taken and sent.", "Nothing. Events are accepted and changes leave."
	if s.Ingest {
		severity, cost, lost = Critical, "Segment's deliveries do not arrive; it sends them again for about four hours.", ""
	}
	path := domain.ShellWord(s.Path)
	return condition(severity, domain.Timestamp(s.Since.Truncate(time.Second)), []string{"ls -ld " + path, "mv " + path + " " + domain.ShellWord(s.Path+".aside")},
		"%s Nobody can connect to %s: %sThe agent makes its socket again within a second once the name is free.", cost, s.Path, ended(s.Why)).within(lost, "", "")
}

// quoted lists the commands that a sentence quotes.
func quoted(sentence string) (commands []string) {
	for i, part := range strings.Split(sentence, "`") {
		if i%2 == 1 && strings.Contains(part, " ") {
			commands = append(commands, part)
		}
	}
	return commands
}

// disk holds while little space is free, or the space will end soon.
func (f *Facts) disk() *Condition {
	s := f.Process.Space
	if s == nil {
		return nil
	}
	dir := domain.ShellWord(f.Process.DataDir)
	commands := []string{"df -h " + dir, "du -sh " + dir}
	if s.FreeBytes > s.LiveBytes/5*6 {
		commands = append(commands, "personasync db compact") // there is room for its copy
	}
	switch soon := time.Duration(f.Process.Forecast.DiskS) * time.Second; {
	case s.FreeBytes < 2*s.FloorBytes:
		return condition(Critical, "", commands, "The disk of %s has %s free: below %s events are refused with 503. Make room on it, or lower retention.received_bytes and reload.", f.Process.DataDir, domain.Bytes(s.FreeBytes), domain.Bytes(s.FloorBytes))
	case s.MaxDataBytes > 0 && s.DataBytes > s.MaxDataBytes/10*8:
		return condition(Critical, "", commands, "The data takes %s of the %s that retention.max_data_bytes allows: from nine tenths events are refused with 503. Raise it, or lower retention.received_bytes, and reload.", domain.Bytes(s.DataBytes), domain.Bytes(s.MaxDataBytes))
	case soon > 0 && soon < diskSoon:
		return condition(warning, "", commands, "At the growth of the last hour the disk lasts %s. Then events are refused with 503.", f.Process.Forecast.Disk).
			within("Nothing.", "The disk becomes full, and events are refused.", domain.Timestamp(f.Now.Add(soon).Truncate(time.Minute)))
	}
	return nil
}

func (f *Facts) unbalanced() *Condition {
	if f.Status.Events.Balances() && f.Status.Changes.Balances() {
		return nil
	}
	return condition(Critical, "", []string{"personasync db check"}, "The ledger does not balance: something was lost or counted twice. Please report it.")
}

func (f *Facts) damage() *Condition {
	if len(f.Status.Salvages) == 0 {
		return nil
	}
	s, severity, lost, cost := &f.Status.Salvages[0], warning, "Nothing was lost", "Nothing."
	if i := slices.IndexFunc(f.Status.Salvages, func(s store.Salvage) bool { return !s.Whole() && s.Harmless() }); i >= 0 {
		s = &f.Status.Salvages[i]
		lost = "The events in it had been applied, so that memberships and changes are right; parked ones among them cannot be retried"
	}
	if i := slices.IndexFunc(f.Status.Salvages, func(s store.Salvage) bool { return !s.Whole() && !s.Harmless() }); i >= 0 {
		s, severity, cost = &f.Status.Salvages[i], Critical, ""
		lost = "`personasync status` lists what was lost: memberships among it are wrong until the users' next events, or until `personasync audience import KEY FILE` takes a full list"
	}
	return condition(severity, domain.Timestamp(s.At), []string{"personasync status"},
		"%s was damaged and made anew. %s; remove %s when you have looked at it.", s.File, lost, s.KeptAs).within(cost, "", "")
}

func (f *Facts) configRefused() *Condition {
	r := f.Process.Refused
	if r == nil {
		return nil
	}
	commands := []string{"personasync config check", "systemctl reload personasync"}
	if r.AtStart {
		commands = []string{"personasync config show", "systemctl restart personasync"}
	}
	return condition(warning, domain.Timestamp(r.At.Truncate(time.Second)), commands,
		"The configuration was refused at the reload of %s, and the one before it goes on: %s", at(r.At), ended(r.Error))
}

func (f *Facts) jobFailed() *Condition {
	list := slices.DeleteFunc(slices.Clone(f.Status.FailedJobs), func(j FailedJob) bool { return j.Job == BackupJob }) // the condition backup
	if len(list) == 0 {
		return nil
	}
	var names []string
	for i := range list {
		names = append(names, list[i].Job)
	}
	last := slices.MaxFunc(list, func(a, b FailedJob) int { return cmp.Compare(a.FailedAt, b.FailedAt) })
	return condition(warning, last.FailedAt, []string{"personasync schedule"},
		"The last run of %s failed. That of %s, at %s (%s): %s", some(names), last.Job, atOf(last.FailedAt), last.Code, ended(last.Error))
}

func (f *Facts) clock() *Condition {
	if f.Process.ClockDoubt == "" {
		return nil
	}
	return condition(warning, "", []string{"timedatectl", "personasync doctor"},
		"The time may be wrong: %s. Event times are judged by it. Set the clock, and keep it with NTP.", f.Process.ClockDoubt)
}

func (f *Facts) logDropped() *Condition {
	if f.Process.LinesDropped == 0 {
		return nil
	}
	return condition(info, "", []string{"systemctl restart systemd-journald"},
		"Lines of the log were lost in the last hour, because nobody read them in time (%s since the start). Work goes on without them. Look at what reads the log.", thousands(f.Process.LinesDropped))
}

func (f *Facts) runsMissed() *Condition {
	if len(f.Process.Missed) == 0 {
		return nil
	}
	return condition(warning, "", []string{"personasync schedule"},
		"Runs of %s were missed in the last hour: they fell into downtime, or into the run before.", some(f.Process.Missed))
}

// provenFailures in a row are no accident.
const provenFailures = 2

// notifyFailing names the receivers that take nothing.
func (f *Facts) notifyFailing() *Condition {
	if f.Status.Notify == nil {
		return nil
	}
	var parts []string
	since := ""
	for i := range f.Status.Notify.Receivers {
		r := &f.Status.Notify.Receivers[i]
		if r.Failures < provenFailures {
			continue
		}
		part := r.Name + ": " + strings.TrimRight(r.LastError, ". ")
		if r.Waiting > 0 {
			part += " (" + Are(uint64(r.Waiting), "message") + " not told)"
		}
		parts = append(parts, part)
		if since == "" || r.FailingSince < since {
			since = r.FailingSince
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return condition(warning, since, []string{"personasync notify test"},
		"Notifications do not arrive%s, so perhaps nobody is told of conditions. %s. They are retried, and only the newest state is told then.", sinceText(since), strings.Join(parts, ". "))
}
