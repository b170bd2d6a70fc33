package page

import (
	"cmp"
	"context"
	"slices"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
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
}

// Snapshot is what the page shows of one moment. It has more than 15 fields because the page reads one flat object.
type Snapshot struct {
	Now       time.Time          `json:"now"`
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

	Parked       []Cause                  `json:"parked"`
	ParkedMore   int                      `json:"parked_more"` // causes left out
	Jobs         []PlannedJob             `json:"jobs"`
	Computations []domain.ComputationInfo `json:"computations"` // those with the most members
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
	all := len(list)
	list = byMembers(list)
	causes, space := s.Recorder.parked.parked(), s.Store.Space()
	hour := append(s.Recorder.series(now.Add(-time.Hour)), sample)
	snap := &Snapshot{
		Now: now.UTC(), ShowUsers: s.ShowUsers(), Status: status,
		Space:              DiskSpace{space.DataBytes, space.MaxDataBytes, space.FreeBytes, space.FloorBytes},
		Forecast:           forecast(hour, space, s.PerMinute()),
		ReceivedPerMinute:  perMinute(hour, func(s *store.Sample) uint64 { return s.Received }),
		DeliveredPerMinute: perMinute(hour, func(s *store.Sample) uint64 { return s.Delivered }),
		LatencyP50Ms:       milliseconds(sample.LatencyP50), LatencyP95Ms: milliseconds(sample.LatencyP95),
		RequestsLastMinute: sample.Requests, FailuresLastMinute: sample.Failures,
		Parked: causes[:min(len(causes), pageRows)], ParkedMore: max(len(causes)-pageRows, 0),
		Jobs: plannedJobs(s.Plan()), Computations: list, More: all - len(list),
	}
	snap.Verdicts = verdicts(&status)
	return snap, nil
}

// byMembers lists the computations that the page shows: those with the most members, then by key.
func byMembers(list []domain.ComputationInfo) []domain.ComputationInfo {
	list = slices.DeleteFunc(list, func(c domain.ComputationInfo) bool { return c.Key == "" })
	slices.SortStableFunc(list, func(a, b domain.ComputationInfo) int {
		return cmp.Or(cmp.Compare(b.Members, a.Members), cmp.Compare(a.Key, b.Key))
	})
	return condition.Whole(list[:min(len(list), pageRows)])
}

func plannedJobs(plan []scheduler.Planned) []PlannedJob {
	list := []PlannedJob{}
	for _, p := range plan {
		j := PlannedJob{Job: p.Job, Spec: p.Spec, Running: p.Running, Last: condition.Timestamp(p.Last.Started), Missed: p.Last.Missed}
		if !p.Next.IsZero() {
			j.Next, j.Local = condition.Timestamp(p.Next), p.Next.Format("Mon 15:04 MST")
		}
		list = append(list, j)
	}
	return list
}
