package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"personasync/agent/api"
	"personasync/agent/backup"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/agent/internal/place"
	"personasync/store"
	"personasync/store/domain"
)

// Finding is the result of one check of the doctor.
type Finding struct {
	Check   string `json:"check"`
	State   string `json:"state"` // ok | warn | fail | skip
	Message string `json:"message"`
	Do      string `json:"do"` // the remedy; "" without one

	Condition string `json:"condition,omitempty"` // its name, if the finding is a condition
	Severity  string `json:"severity,omitempty"`  // of that condition
}

// Healthy reports whether no check failed.
func Healthy(findings []Finding) bool {
	return !slices.ContainsFunc(findings, func(f Finding) bool { return f.State == "fail" })
}

// doctor collects findings.
type doctor struct {
	config   *config.Config
	version  string
	frozen   error // an agent was asked and is silent; nil: it is asked
	findings []Finding
}

func (d *doctor) find(check, state, do, message string, args ...any) {
	d.findings = append(d.findings, Finding{Check: check, State: state, Message: fmt.Sprintf(message, args...), Do: do})
}

// Diagnose checks everything that can be checked from outside the agent of c, whether it runs or not. unread is the error
// of reading c's secrets, nil if c has them. It changes nothing. Its one request to MoEngage tests the credentials.
func Diagnose(ctx context.Context, c *config.Config, unread error, version string) []Finding {
	d := &doctor{config: c, version: version}
	note, err := BorrowSecrets(ctx, c, version)
	if unread != nil && err == nil && hiddenOnly(unread) && c.Refused() == nil && c.Unread() == nil {
		unread = nil
	}
	if errors.Is(err, api.ErrFrozen) {
		d.frozen = err // waiting once is enough
	}
	d.checkConfig(unread, note)
	d.checkData()
	if d.config.Store.OnPostgres() {
		d.checkDatabase(ctx)
	} else {
		d.checkDisk()
	}
	d.checkAgent(ctx)
	d.checkMoEngage(ctx, unread)
	return d.findings
}

// hiddenOnly reports whether a configuration is unread only because this user may not read its secrets. A missing file of
// a secret is a fault: it stops the agent's next start.
func hiddenOnly(unread error) bool {
	faults := (*config.Faults)(nil)
	return !errors.As(unread, &faults) || faults.OnlyUnread()
}

func (d *doctor) checkConfig(unread error, borrowed string) {
	if err := d.config.Refused(); err != nil {
		d.find("config", "fail", "correct it, then `personasync config check`: neither a start nor a reload takes it", "%v", err)
		return
	}
	if unread != nil && !hiddenOnly(unread) {
		d.find("config", "fail", "correct it, then `personasync config check`: neither a start nor a reload takes it", "%v", unread)
		return
	}
	if unread != nil {
		d.find("config", "skip", "run doctor as the user of the agent", "its secrets cannot be read: %v", unread)
		return
	}
	if err := d.config.Complete(); err != nil {
		d.find("config", "fail", "set the missing values, then run `personasync config check`", "%v", err)
		return
	}
	for _, w := range d.config.Warnings() {
		d.find("config", "warn", "", "%s", w)
	}
	from := d.config.Path
	from = cmp.Or(from, "defaults and environment")
	if borrowed != "" {
		from += ". " + borrowed
	}
	d.find("config", "ok", "", "%s", from)
}

// checkData checks the owner and the mode of data_dir.
func (d *doctor) checkData() {
	dir := d.config.DataDir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && place.Elsewhere(context.Background(), d.config) != nil:
		d.find("permissions", "fail", "see what the agent answers, below; start no other one, which would make an empty folder there", "data_dir %s is not there, although an agent is running", dir)
		return
	case errors.Is(err, fs.ErrNotExist):
		d.find("permissions", "warn", "start the agent, which makes it", "data_dir %s does not exist yet", dir)
		return
	case err != nil:
		d.find("permissions", "fail", "be "+host.WhoMay(dir), "data_dir %s cannot be looked at: %v", dir, err)
		return
	case !info.IsDir():
		d.find("permissions", "fail", "name a folder", "data_dir %s is no folder", dir)
		return
	}
	if open := info.Mode().Perm() & 0o007; open != 0 {
		d.find("permissions", "warn", "chmod o-rwx "+dir, "data_dir %s, which holds user ids, is open to everybody (%s)", dir, info.Mode().Perm())
		return
	}
	d.find("permissions", "ok", "", "data_dir %s belongs to %s, mode %s", dir, host.OwnerName(info), info.Mode().Perm())
}

// Below these limits the doctor warns of a disk. The agent itself refuses events before it is full.
const (
	littleDisk  = 1 << 30
	littleShare = 20 // one part of so many
)

func (d *doctor) checkDisk() {
	dir := d.config.DataDir
	for _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir); _, err = os.Stat(dir) {
		dir = filepath.Dir(dir) // the folder that it will be made in
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		d.find("disk", "skip", "", "cannot be looked at: %v", err)
		return
	}
	d.checkSpace(int64(s.Bavail)*int64(s.Bsize), int64(s.Blocks)*int64(s.Bsize))
	if why := place.Passing(dir); why != "" {
		d.find("volume", "warn", "mount a disk or a volume at "+d.config.DataDir+", or set data_dir to a folder on one", "%s, with everything that was acknowledged", why)
	}
}

// checkSpace judges the free bytes of a disk of size bytes.
func (d *doctor) checkSpace(free, size int64) {
	if free < littleDisk || free < size/littleShare {
		d.find("disk", "warn", "make room on it, or lower retention.received_bytes and reload; `personasync db compact` gives back what deleted data leaves, and needs room for a copy of the rest", "%s of %s are free", domain.Bytes(free), domain.Bytes(size))
		return
	}
	d.find("disk", "ok", "", "%s of %s are free", domain.Bytes(free), domain.Bytes(size))
}

// checkAgent opens the agent or its files, which checks the lock and the socket.
func (d *doctor) checkAgent(ctx context.Context) {
	if d.frozen != nil {
		d.find("agent", "fail", "", "%v", d.frozen)
		return
	}
	socket := d.config.Socket(os.Getenv)
	i, done, running, err := Open(ctx, d.config, d.version)
	switch {
	case errors.Is(err, store.ErrNoData):
		d.find("agent", "warn", "start it: `personasync run`, or systemctl start personasync", "it has never run with this data_dir")
		return
	case errors.Is(err, errNoSocket):
		d.find("socket", "fail", "", "%v", err)
		d.findings[len(d.findings)-1].Condition = condition.SocketLost
		return
	case errors.Is(err, store.ErrInUse):
		d.find("socket", "fail", "look at admin.socket of the running agent's configuration", "the data is locked by a process, and nothing answers at %s", socket)
		return
	case errors.Is(err, fs.ErrPermission):
		d.find("socket", "fail", "be the user or in the group it names", "%v", err)
		return
	case errors.Is(err, api.ErrFrozen), errors.Is(err, place.ErrElsewhere), errors.Is(err, store.ErrMovedAway):
		d.find("agent", "fail", "", "%v", err)
		return
	case err != nil:
		d.find("agent", "fail", d.lookAtData(), "%v", err)
		return
	}
	defer done.Close()
	if by, held := store.Holder(d.config.DataDir); running {
		d.find("socket", "ok", "", "%s: %s", socket, i.Where())
	} else if held && by.IsAgent() {
		d.find("agent", "warn", "wait, and look at its log: after a power failure it reads all its files first", "it is starting (%v holds the data), and does not answer yet", by)
	} else if held {
		d.find("agent", "warn", "wait until that command has ended: an agent that is started meanwhile waits for it", "it is not running; %v works on the data", by)
	} else {
		d.find("agent", "fail", "start it, `personasync run` or `systemctl start personasync`: Segment repeats its deliveries for some hours only", "it is not running; the data can be opened")
		d.findings[len(d.findings)-1].Condition = condition.NotRunning
	}
	s, err := i.Status(ctx)
	if errors.Is(err, api.ErrFrozen) {
		d.find("agent", "fail", "", "%v", err)
		return
	}
	if err != nil {
		if i := d.failed("database"); i >= 0 { // one cause, one finding
			d.findings[i].Condition = condition.Unreadable
			return
		}
		d.find("data", "fail", d.lookAtData(), "%v", err)
		d.findings[len(d.findings)-1].Condition = condition.Unreadable
		return
	}
	d.checkStatus(s)
}

func (d *doctor) checkStatus(s condition.Status) {
	if s.Events.Balances() && s.Changes.Balances() {
		d.find("data", "ok", "", "%d events and %d changes: the ledgers balance", s.Events.Accepted, s.Changes.Created)
	}
	d.checkBackup(&s)
	d.checkNotify(&s)
	for i := range s.Conditions {
		d.findCondition(&s.Conditions[i])
	}
}

// failed returns the place of the finding of a check that failed, -1 without one.
func (d *doctor) failed(check string) int {
	return slices.IndexFunc(d.findings, func(f Finding) bool { return f.Check == check && f.State == "fail" })
}

// lookAtData is what to do about data that cannot be read. The finding about a database says what is wrong with it.
func (d *doctor) lookAtData() string {
	if d.config.Store.OnPostgres() {
		return ""
	}
	return "`personasync db check` looks at the data"
}

// statPatience is how long the doctor waits for a folder that may lie on a file system of the network.
const statPatience = time.Second

// checkBackup looks at the folder of the scheduled backups. A failed or overdue one is a condition of its own.
func (d *doctor) checkBackup(s *condition.Status) {
	b := s.Backup
	switch {
	case d.config.Store.OnPostgres():
		d.find("backup", "skip", "", "PostgreSQL makes its own, which cannot be seen from here; docs/high-availability.md says which, and how to restore one")
		return
	case b == nil:
		d.find("backup", "ok", "", "none is scheduled; docs/operating.md says how to set up [backup]")
		return
	}
	looked := make(chan error, 1)
	shared := false
	go func() {
		err := backup.Folder(b.Dir)
		if err == nil {
			shared, err = backup.SameFileSystem(b.Dir, d.config.DataDir)
		}
		looked <- err
	}()
	select {
	case err := <-looked:
		var denied *fs.PathError
		switch {
		case errors.Is(err, fs.ErrPermission) && errors.As(err, &denied):
			d.find("backup", "skip", "", "backup.dir cannot be looked at by this user: %v", denied)
		case err != nil:
			d.find("backup", "warn", "ls -ld "+domain.ShellWord(b.Dir), "the next backup will fail: %v", err)
		case shared:
			d.find("backup", "warn", "name a folder on another disk, or copy the backups to another host", "backup.dir %s is on the file system of data_dir: the loss of that disk takes both", b.Dir)
		case !s.Has(condition.BackupDue):
			d.find("backup", "ok", "", "scheduled, to %s", b.Dir)
		}
	case <-time.After(statPatience):
		d.find("backup", "warn", "does its file system answer? findmnt -T "+domain.ShellWord(b.Dir), "backup.dir %s does not answer", b.Dir)
	}
}

// checkNotify lists the receivers of conditions. Messages that do not arrive are a condition of their own.
func (d *doctor) checkNotify(s *condition.Status) {
	if s.Notify == nil {
		d.find("notify", "ok", "", "off: the agent itself tells nobody of conditions; docs/notify.md says how to set up [notify]")
		return
	}
	if s.Has(condition.NotifyFailing) {
		return
	}
	var names []string
	for i := range s.Notify.Receivers {
		names = append(names, s.Notify.Receivers[i].Name)
	}
	d.find("notify", "ok", "", "conditions are told: %s; `personasync notify test` tries it", strings.Join(names, ", "))
}

// findCondition passes on a condition of the agent, or of its files. Whether the agent runs was checked before.
func (d *doctor) findCondition(c *condition.Condition) {
	if c.Name == condition.NotRunning {
		return
	}
	state := "warn"
	if c.Severity == condition.Critical {
		state = "fail"
	}
	var do []string
	for _, command := range c.Commands {
		if !strings.HasSuffix(command, " doctor") { // its reader has just typed that
			do = append(do, "`"+command+"`")
		}
	}
	d.findings = append(d.findings, Finding{Check: checkOf(c.Name), Condition: c.Name, Severity: c.Severity, State: state, Message: c.Text, Do: strings.Join(do, ", ")})
}

// checkOf is the check that the doctor lists a condition under.
func checkOf(name string) string {
	for _, k := range condition.Kinds {
		if k.Name == name {
			return k.Check
		}
	}
	return "agent" // of a newer agent
}

// authenticate has the running agent test its credentials. Without one it tests those of the configuration, if they can
// be read.
func (d *doctor) authenticate(ctx context.Context, unread error) (a api.Authentication, asked bool) {
	if d.frozen != nil {
		// it cannot be asked
	} else if client, err := api.Dial(ctx, d.config.Socket(os.Getenv), d.version); err == nil {
		defer client.Close()
		if a, err = client.Authenticate(ctx); err == nil {
			return a, true
		}
	}
	if unread != nil || d.config.Refused() != nil || d.config.MoEngage.APIKey.Current() == "" || d.config.Complete() != nil {
		return a, false
	}
	return authenticate(ctx, d.config), true
}

// maxSkew is how far the clocks may be apart. MoEngage refuses events from its future.
const maxSkew = time.Minute

func (d *doctor) checkMoEngage(ctx context.Context, unread error) {
	a, asked := d.authenticate(ctx, unread)
	if !asked {
		d.find("moengage", "skip", "", "not asked, for want of credentials")
		return
	}
	d.judgeAnswer(a)
	if d.config.MoEngage.DeleteUsers {
		d.find("moengage", "skip", "delete a user made for it with `personasync user forget ID --moengage`, and look at `personasync user deletions`",
			"whether these credentials may delete users cannot be tried without deleting one")
	}
}

// judgeAnswer says whether MoEngage takes the credentials, and whether the agent's clock agrees with its clock.
func (d *doctor) judgeAnswer(a api.Authentication) {
	switch {
	case a.Code != "":
		m, _ := ExplainCode(a.Code)
		d.find("moengage", "fail", m.Do+" `personasync outbox explain-code "+a.Code+"` says more.", "%s: %s", a.BaseURL, a.Sentence)
	case a.Error != "":
		d.find("moengage", "fail", "", "%s", a.Error)
	default:
		d.find("moengage", "ok", "", "%s takes the credentials", a.BaseURL)
	}
	switch skew := a.Now.Sub(a.Date); {
	case a.Date.IsZero():
		d.find("clock", "skip", "", "no clock to compare it with")
	case skew.Abs() > maxSkew:
		d.find("clock", "fail", "set the clock, and keep it with NTP", "it differs from MoEngage's by %s; event times beyond it are not taken", skew.Round(time.Second))
	default:
		d.find("clock", "ok", "", "within a minute of MoEngage's")
	}
}
