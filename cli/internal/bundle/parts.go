package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"personasync/agent"
	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/cli/internal/command"
	"personasync/cli/internal/service"
	"personasync/store"
)

// Subject is the agent that an archive is about.
type Subject struct {
	Env    *command.Env
	Config *config.Config
	Unread error // of its secrets, nil if Config has them

	// Check checks the files of a stopped agent in a process of its own; nil: in this one.
	Check func(ctx context.Context, dir string) (*store.CheckReport, error)

	asked sync.Once // whether the agent is down
	down  bool
	brief sync.WaitGroup // the parts that read the files for a moment only; a check comes after them
	files sync.Mutex     // held by a part that reads the files of a stopped agent: a reader keeps others waiting
}

// turn waits until no other part reads the files of a stopped agent. A running one is asked by all parts at once.
func (s *Subject) turn(ctx context.Context) (done func()) {
	s.asked.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, findingsTime/2)
		defer cancel()
		client, err := s.dial(ctx)
		if err == nil {
			_ = client.Close()
		}
		s.down = errors.Is(err, api.ErrNotRunning)
	})
	if !s.down {
		return func() {}
	}
	s.files.Lock()
	return s.files.Unlock
}

// Parts returns the parts of an archive about s.
func (s *Subject) Parts() []Part {
	s.brief.Add(3) // status, schedule, findings
	return []Part{
		{"version.json", s.version},
		{"config.json", s.settings},
		{"status.json", s.status},
		{"schedule.json", s.schedule},
		{"doctor.json", s.findings},
		{"metrics.prom", s.metrics},
		{"host.json", host(s.Config)},
		{"unit.json", s.unit},
		{"log.txt", s.log},
		{"check.json", s.check},
	}
}

func (s *Subject) version(context.Context) ([]byte, error) {
	return marshal(map[string]any{"version": s.Env.Version, "data_format": store.Format, "go": goVersion})
}

// dial asks the running agent.
func (s *Subject) dial(ctx context.Context) (*api.Client, error) {
	return api.Dial(ctx, s.Config.Socket(os.Getenv), s.Env.Version)
}

// settings are those of the file, and those in force in the running agent where they differ.
func (s *Subject) settings(ctx context.Context) ([]byte, error) {
	own := masked(s.Config.Effective())
	answer := map[string]any{"file": s.Config.Path, "settings": own, "warnings": masks(s.Config.Warnings()), "variables": variables(s.Env.Environ)}
	if err := s.Config.Refused(); err != nil {
		answer["refused"] = mild(err.Error())
	}
	client, err := s.dial(ctx)
	if err == nil {
		defer client.Close()
		var theirs *api.Configuration
		if theirs, err = client.Configuration(ctx); err == nil {
			answer["in_force"] = slices.DeleteFunc(masked(theirs.Settings), func(t config.Setting) bool { return slices.Contains(own, t) })
		}
	}
	if errors.Is(err, api.ErrNotRunning) {
		err = nil
	}
	text, failed := marshal(answer)
	return text, errors.Join(err, failed)
}

// masked leaves out the arguments of a command, which may hold a secret.
func masked(list []config.Setting) []config.Setting {
	list = slices.Clone(list)
	for i := range list {
		if list[i].Key == "notify.command" && list[i].Value != "[]" {
			first, _, _ := strings.Cut(list[i].Value, ",")
			list[i].Value = strings.TrimRight(first, "]") + ", " + gap + "]"
		}
	}
	return list
}

func masks(list []string) []string {
	out := []string{}
	for _, text := range list {
		out = append(out, mild(text))
	}
	return out
}

// variables names the settings of the environment.
func variables(environ []string) []string {
	names := []string{}
	for _, v := range environ {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "PERSONASYNC_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ask asks the agent, or its files if it is stopped.
func (s *Subject) ask(ctx context.Context, question func(api.Inspector) (any, error)) ([]byte, error) {
	defer s.turn(ctx)()
	i, done, _, err := agent.Open(ctx, s.Config, s.Env.Version)
	if err != nil {
		return nil, err
	}
	defer done.Close()
	answer, err := question(i)
	if err != nil {
		return nil, err
	}
	return marshal(answer)
}

func (s *Subject) status(ctx context.Context) ([]byte, error) {
	defer s.brief.Done()
	return s.ask(ctx, func(i api.Inspector) (any, error) {
		status, err := i.Status(ctx)
		return shownStatus(status), err
	})
}

// shownStatus leaves out of a status what may repeat a word from outside.
func shownStatus(s condition.Status) condition.Status {
	s.Unready, s.MoEngage.LastError = mild(s.Unready), codeOf(s.MoEngage.LastError)
	s.Conditions = slices.Clone(s.Conditions)
	for i := range s.Conditions {
		s.Conditions[i].Text = leftOut(s.Conditions[i].Text) // the rest of the status has its facts
	}
	s.FailedJobs = slices.Clone(s.FailedJobs)
	for i := range s.FailedJobs {
		s.FailedJobs[i].Error = ofJob(s.FailedJobs[i].Job, s.FailedJobs[i].Error)
	}
	if v := s.Verify; v != nil {
		verify := *v
		verify.Error = leftOut(v.Error)
		s.Verify = &verify
	}
	if b := s.Backup; b != nil {
		backup := *b
		backup.Error = mild(b.Error)
		s.Backup = &backup
	}
	if n := s.Notify; n != nil {
		notify := condition.Notify{Receivers: slices.Clone(n.Receivers)}
		for i := range notify.Receivers {
			r := &notify.Receivers[i]
			r.LastError, r.Withheld = leftOut(r.LastError), mild(r.Withheld)
		}
		s.Notify = &notify
	}
	if p := s.Pause; p != nil {
		pause := *p
		pause.Why, pause.By = leftOut(p.Why), leftOut(p.By)
		s.Pause = &pause
	}
	s.Pauses = slices.Clone(s.Pauses)
	for i := range s.Pauses {
		p := &s.Pauses[i]
		p.Why, p.By = leftOut(p.Why), leftOut(p.By)
	}
	return s
}

// ofJob is the error of a job's run. A verification may repeat MoEngage's answer; a backup speaks of files alone.
func ofJob(job, text string) string {
	if job == condition.BackupJob {
		return mild(text)
	}
	return leftOut(text)
}

func (s *Subject) schedule(ctx context.Context) ([]byte, error) {
	defer s.brief.Done()
	return s.ask(ctx, func(i api.Inspector) (any, error) {
		jobs, err := i.Schedule(ctx, 2)
		for n := range jobs {
			jobs[n].Error = ofJob(jobs[n].Job, jobs[n].Error)
		}
		return jobs, err
	})
}

// findingsTime is how long the doctor may take. Every question of it to an agent that hangs takes as long.
const findingsTime = time.Second

func (s *Subject) findings(ctx context.Context) ([]byte, error) {
	defer s.brief.Done()
	defer s.turn(ctx)()
	ctx, cancel := context.WithTimeout(ctx, findingsTime)
	defer cancel()
	list := agent.Diagnose(ctx, s.Config, s.Unread, s.Env.Version)
	for i := range list {
		if f := &list[i]; f.Condition != "" || f.Check == "moengage" {
			f.Message = leftOut(f.Message)
		} else {
			f.Message = mild(f.Message)
		}
	}
	return marshal(list)
}

// Checked is check.json: the counts of a check, and how often each kind of fault was found. What a finding says may name a
// user.
type Checked struct {
	OK bool `json:"ok"`
	*store.CheckReport
	Findings map[string]int `json:"findings"` // by kind, of the first
}

func (s *Subject) check(ctx context.Context) ([]byte, error) {
	s.brief.Wait()
	defer s.turn(ctx)()
	r, err := s.checked(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("the data could not be checked in this time (`personasync db check` takes its own): %w", err)
	case err != nil:
		return nil, err
	}
	c := Checked{OK: r.OK(), CheckReport: r, Findings: map[string]int{}}
	for _, f := range r.Findings {
		c.Findings[f.Code]++
	}
	return marshal(c)
}

func (s *Subject) checked(ctx context.Context) (*store.CheckReport, error) {
	client, err := s.dial(ctx)
	switch {
	case err == nil:
		defer client.Close()
		return client.Check(ctx, func(int64, int64) {})
	case !errors.Is(err, api.ErrNotRunning):
		return nil, err
	case s.Check != nil:
		return s.Check(ctx, s.Config.DataDir)
	}
	return store.Check(ctx, s.Config.DataDir, nil)
}

func (s *Subject) metrics(ctx context.Context) ([]byte, error) {
	client, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Metrics(ctx)
}

// log is the end of the agent's log, without the lines of level debug, which have user ids.
func (s *Subject) log(ctx context.Context) ([]byte, error) {
	lines, from, err := s.tail(ctx)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# the end of %s; lines of level debug and of unknown form are left out, and values from outside are %s\n", from, gap)
	for _, l := range lines {
		if text := logLine(l.text); text != "" {
			b.WriteString(l.head + text + "\n")
		}
	}
	return b.Bytes(), nil
}

// unitShown are the properties of a unit that an answer may depend on. None of them can hold a secret.
var unitShown = strings.Fields("Id LoadState ActiveState SubState Result NRestarts ExecMainStatus ExecMainCode ActiveEnterTimestamp InactiveEnterTimestamp MemoryCurrent MemoryMax TasksCurrent TasksMax LimitNOFILE User DynamicUser StateDirectory UnitFileState FragmentPath DropInPaths TriggeredBy")

func (s *Subject) unit(ctx context.Context) ([]byte, error) {
	name, err := s.unitName(ctx)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, service.ErrNoUnit // about.json says why a part is empty
	}
	out, err := run(ctx, "systemctl", "show", "--property="+strings.Join(unitShown, ","), "--", name)
	if err != nil {
		return nil, err
	}
	shown := map[string]string{}
	for line := range strings.Lines(out) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			shown[k] = v
		}
	}
	return json.MarshalIndent(shown, "", "  ")
}
