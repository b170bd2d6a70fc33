package agent

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"personasync/store"
	"personasync/store/domain"
)

// The conditions of the process, its files and its machine.

func (f *facts) notRunning() *Condition {
	if f.running() || f.status.Unready != unreadyStopped {
		return nil
	}
	return condition(critical, "", []string{"systemctl start personasync"},
		"The agent is not running. Segment keeps its events and sends them again for about four hours, then it discards them.")
}

func (f *facts) notReady() *Condition {
	told := f.process.DataMoved || f.status.Unready == f.process.NoSocket || f.ingestLost()
	if !f.running() || f.status.Ready || told {
		return nil
	}
	return condition(critical, "", []string{"personasync doctor"},
		"Events are not being accepted: %sSegment keeps them and sends them again for about four hours.", ended(f.status.Unready))
}

// dataMoved holds while the open files are not the ones in data_dir.
func (f *facts) dataMoved() *Condition {
	if !f.process.DataMoved {
		return nil
	}
	dir := domain.ShellWord(f.process.DataDir)
	return condition(critical, "", []string{"ls -la " + dir, "findmnt -T " + dir, "personasync db backup personasync-backup.tar"},
		"Events are not being accepted: %sPut the files back, and the agent goes on within a second. If they cannot come back, make a backup before the agent stops: it still has them open.", ended(f.status.Unready))
}

// socketMissing holds where systemd was to hand over the socket of ingest, and did not.
func (f *facts) socketMissing() *Condition {
	why := f.process.NoSocket
	if why == "" {
		return nil
	}
	return condition(critical, timestamp(f.process.Started.Truncate(time.Second)), append(quoted(why), "systemctl status personasync.socket"),
		"Segment's deliveries do not arrive: %s", ended(why))
}

func (f *facts) ingestLost() bool {
	return slices.ContainsFunc(f.process.LostSockets, func(s LostSocket) bool { return s.Ingest })
}

// socketLost holds while the name of a unix socket leads to something else. That of the commands goes with its
// folder where the data was moved, which is a condition of its own.
func (f *facts) socketLost() *Condition {
	list := slices.DeleteFunc(slices.Clone(f.process.LostSockets), func(s LostSocket) bool { return f.process.DataMoved && !s.Ingest })
	if len(list) == 0 {
		return nil
	}
	worst := max(0, slices.IndexFunc(list, func(s LostSocket) bool { return s.Ingest }))
	s, severity, cost := &list[worst], warning, "No command reaches the agent; events are taken and sent."
	if s.Ingest {
		severity, cost = critical, "Segment's deliveries do not arrive; it sends them again for about four hours."
	}
	path := domain.ShellWord(s.Path)
	return condition(severity, timestamp(s.Since.Truncate(time.Second)), []string{"ls -ld " + path, "mv " + path + " " + domain.ShellWord(s.Path+".aside")},
		"%s Nobody can connect to %s: %sThe agent makes its socket again within a second once the name is free.", cost, s.Path, ended(s.Why))
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

// disk holds while there is hardly room, or the room ends soon.
func (f *facts) disk() *Condition {
	s := f.process.Space
	if s == nil {
		return nil
	}
	dir := domain.ShellWord(f.process.DataDir)
	commands := []string{"df -h " + dir, "du -sh " + dir}
	if s.FreeBytes > s.LiveBytes/5*6 {
		commands = append(commands, "personasync db compact") // there is room for its copy
	}
	switch soon := time.Duration(f.process.Forecast.DiskS) * time.Second; {
	case s.FreeBytes < 2*s.FloorBytes:
		return condition(critical, "", commands, "The disk of %s has %s free: below %s events are refused with 503. Make room on it, or lower retention.received_bytes and reload.", f.process.DataDir, domain.Bytes(s.FreeBytes), domain.Bytes(s.FloorBytes))
	case s.MaxDataBytes > 0 && s.DataBytes > s.MaxDataBytes/10*8:
		return condition(critical, "", commands, "The data takes %s of the %s that retention.max_data_bytes allows: from nine tenths events are refused with 503. Raise it, or lower retention.received_bytes, and reload.", domain.Bytes(s.DataBytes), domain.Bytes(s.MaxDataBytes))
	case soon > 0 && soon < diskSoon:
		return condition(warning, "", commands, "At the growth of the last hour the disk lasts %s. Then events are refused with 503.", f.process.Forecast.Disk)
	}
	return nil
}

func (f *facts) unbalanced() *Condition {
	if f.status.Events.Balances() && f.status.Changes.Balances() {
		return nil
	}
	return condition(critical, "", []string{"personasync db check"}, "The ledger does not balance: something was lost or counted twice. Please report it.")
}

func (f *facts) damage() *Condition {
	if len(f.status.Salvages) == 0 {
		return nil
	}
	s, severity, lost := &f.status.Salvages[0], warning, "Nothing was lost"
	if i := slices.IndexFunc(f.status.Salvages, func(s store.Salvage) bool { return !s.Whole() }); i >= 0 {
		s, severity = &f.status.Salvages[i], critical
		lost = "`personasync status` lists what was lost: memberships among it are wrong until the users' next events, or until `personasync audience import KEY FILE` takes a full list"
	}
	return condition(severity, timestamp(s.At), []string{"personasync status"},
		"%s was damaged and made anew. %s; remove %s when you have looked at it.", s.File, lost, s.KeptAs)
}

func (f *facts) configRefused() *Condition {
	r := f.process.Refused
	if r == nil {
		return nil
	}
	return condition(warning, timestamp(r.At.Truncate(time.Second)), []string{"personasync config check", "systemctl reload personasync"},
		"The configuration was refused at the reload of %s, and the one before it goes on: %s", at(r.At), ended(r.Error))
}

func (f *facts) jobFailed() *Condition {
	list := f.status.FailedJobs
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

func (f *facts) clock() *Condition {
	if f.process.ClockDoubt == "" {
		return nil
	}
	return condition(warning, "", []string{"timedatectl", "personasync doctor"},
		"The time may be wrong: %s. Event times are judged by it. Set the clock, and keep it with NTP.", f.process.ClockDoubt)
}

func (f *facts) logDropped() *Condition {
	if f.process.LinesDropped == 0 {
		return nil
	}
	return condition(info, "", []string{"systemctl restart systemd-journald"},
		"Lines of the log were lost in the last hour, because nobody read them in time (%s since the start). Work goes on without them. Look at what reads the log.", thousands(f.process.LinesDropped))
}

func (f *facts) runsMissed() *Condition {
	if len(f.process.Missed) == 0 {
		return nil
	}
	return condition(warning, "", []string{"personasync schedule"},
		"Runs of %s were missed in the last hour: they fell into downtime, or into the run before.", some(f.process.Missed))
}
