package page

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// pageRows bounds a table of the page.
const pageRows = 100

// Source is what the page reads.
type Source struct {
	Inspect   api.Inspector
	Store     *store.Store
	Recorder  *Recorder
	Plan      func() []scheduler.Planned
	ShowUsers func() bool
	PerMinute func() int // the smaller of MoEngage's limits

	Command string // what starts a command to this agent: "personasync", with --config where that is needed
	Explain func(code string) (syncer.Explanation, bool)
	Setup   func() Setup
}

// Setup is what Segment needs to reach the agent. It is shown until the first event.
type Setup struct {
	URL    string `json:"url"`    // that Segment posts to
	Local  bool   `json:"local"`  // only this machine reaches it: a proxy has the address that Segment needs
	Listen string `json:"listen"` // ingest.listen
	Secret bool   `json:"secret"` // ingest.shared_secret is set
	Token  bool   `json:"token"`  // ingest.bearer_token is set
	Open   bool   `json:"open"`   // ingest.auth is off
}

// Snapshot is what the page shows of one moment. It has more than 15 fields because the page reads one flat object.
type Snapshot struct {
	Now       time.Time          `json:"now"`
	Host      string             `json:"host"`    // where to type …
	Command   string             `json:"command"` // … and what a command begins with
	Setup     *Setup             `json:"setup"`   // null once an event came
	ShowUsers bool               `json:"show_users"`
	Status    condition.Status   `json:"status"`
	Verdicts  []Verdict          `json:"verdicts"`
	Forecast  condition.Forecast `json:"forecast"`
	Space     DiskSpace          `json:"space"`

	ReceivedPerMinute  float64 `json:"received_per_minute"`
	DeliveredPerMinute float64 `json:"delivered_per_minute"`
	LatencyP50Ms       float64 `json:"latency_p50_ms"` // of the last minute; 0 without a request
	LatencyP95Ms       float64 `json:"latency_p95_ms"`
	RequestsLastMinute uint64  `json:"requests_last_minute"`
	FailuresLastMinute uint64  `json:"failures_last_minute"`

	Causes       []Cause                  `json:"causes"`      // of the held and parked changes
	CausesMore   int                      `json:"causes_more"` // causes left out
	Jobs         []PlannedJob             `json:"jobs"`
	Computations []domain.ComputationInfo `json:"computations"` // held ones, then those with the most members
	More         int                      `json:"more"`         // computations left out
}

// PlannedJob is a scheduled job as the page shows it.
type PlannedJob struct {
	Job     string `json:"job"`
	Spec    string `json:"spec"`
	Running bool   `json:"running"`
	Last    string `json:"last"` // RFC 3339; empty before the first run
	Next    string `json:"next"` // in UTC …
	Local   string `json:"local"`
	Missed  uint64 `json:"missed"`
}

// DiskSpace is how much the data takes and how much is free.
type DiskSpace struct {
	DataBytes    int64 `json:"data_bytes"`
	MaxDataBytes int64 `json:"max_data_bytes"`
	FreeBytes    int64 `json:"free_bytes"`
	ReserveBytes int64 `json:"reserve_bytes"`
}

// read joins the snapshot of this moment.
func (s *Source) read(now time.Time) (*Snapshot, error) {
	status, err := s.Inspect.Status(context.Background())
	if err != nil {
		return nil, err
	}
	sample, err := s.Recorder.now(now)
	if err != nil {
		return nil, err
	}
	list, err := s.Store.Computations()
	if err != nil {
		return nil, err
	}
	all := list
	list = byMembers(slices.Clone(all))
	causes, space := s.explained(s.Recorder.causes.all(), all), s.Store.Space()
	hour := append(s.Recorder.series(now.Add(-time.Hour)), sample)
	snap := &Snapshot{
		Now: now.UTC(), Host: hostName(), Command: s.Command, ShowUsers: s.ShowUsers(), Status: status,
		Space:              DiskSpace{space.DataBytes, space.MaxDataBytes, space.FreeBytes, space.FloorBytes},
		Forecast:           forecast(hour, space, s.PerMinute()),
		ReceivedPerMinute:  perMinute(hour, func(s *store.Sample) uint64 { return s.Received }),
		DeliveredPerMinute: perMinute(hour, func(s *store.Sample) uint64 { return s.Delivered }),
		LatencyP50Ms:       milliseconds(sample.LatencyP50), LatencyP95Ms: milliseconds(sample.LatencyP95),
		RequestsLastMinute: sample.Requests, FailuresLastMinute: sample.Failures,
		Causes: causes[:min(len(causes), pageRows)], CausesMore: max(len(causes)-pageRows, 0),
		Jobs: plannedJobs(s.Plan()), Computations: list, More: named(all) - len(list),
	}
	snap.Verdicts = sinceOldest(s.verdicts(&status), causes)
	if status.Received == 0 && status.Events.Accepted == 0 {
		setup := s.Setup()
		snap.Setup = &setup
	}
	return snap, nil
}

// sinceOldest gives the verdicts on held and parked changes, which know no time, that of the oldest.
func sinceOldest(list []Verdict, causes []Cause) []Verdict {
	for i := range list {
		for _, c := range causes {
			if v := &list[i]; v.Name == c.State && v.Severity != "" && c.First != "" && (v.Since == "" || c.First < v.Since) {
				v.Since = c.First
			}
		}
	}
	return list
}

// named counts the computations with a key.
func named(list []domain.ComputationInfo) (n int) {
	for i := range list {
		if list[i].Key != "" {
			n++
		}
	}
	return n
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "" // the page says "this host"
	}
	return name
}

// byMembers lists the computations that the page shows: those with held changes, then those with the most members.
func byMembers(list []domain.ComputationInfo) []domain.ComputationInfo {
	list = slices.DeleteFunc(list, func(c domain.ComputationInfo) bool { return c.Key == "" })
	slices.SortStableFunc(list, func(a, b domain.ComputationInfo) int {
		return cmp.Or(cmp.Compare(min(b.Held, 1), min(a.Held, 1)), cmp.Compare(b.Members, a.Members), cmp.Compare(a.Key, b.Key))
	})
	return condition.Whole(list[:min(len(list), pageRows)])
}

func plannedJobs(plan []scheduler.Planned) []PlannedJob {
	list := []PlannedJob{}
	for _, p := range plan {
		j := PlannedJob{Job: p.Job, Spec: p.Spec, Running: p.Running, Last: domain.Timestamp(p.Last.Started), Missed: p.Last.Missed}
		if !p.Next.IsZero() {
			j.Next, j.Local = domain.Timestamp(p.Next), p.Next.Format("Mon 15:04 MST")
		}
		list = append(list, j)
	}
	return list
}
