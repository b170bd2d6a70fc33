package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"personasync/agent/condition"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
)

func getJSON(t *testing.T, url string, into any) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	return resp.StatusCode
}

func TestThePageNeedsNothingFromOutside(t *testing.T) {
	err := fs.WalkDir(pageFiles, "page", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := pageFiles.ReadFile(path)
		for _, address := range regexp.MustCompile(`https?://[^'" ]*`).FindAllString(string(text), -1) {
			if address != "http://www.w3.org/2000/svg" {
				t.Errorf("%s speaks of %s", path, address)
			}
		}
		for _, risky := range []string{"innerHTML =", "insertAdjacentHTML", "document.write", "eval(", "style=", "onclick="} {
			if strings.Contains(string(text), risky) {
				t.Errorf("%s has %s, which the page's policy or caution forbids", path, risky)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStatusPageOfARunningAgent(t *testing.T) {
	s := newSite(t)
	a := s.start(s.load(), RunOptions{})
	a.tell(news("ann", true, time.Now().Add(-time.Minute)))
	base := "http://" + a.Admin.String()
	var snap Snapshot
	waitFor(t, "the delivery to be shown", func() bool {
		return getJSON(t, base+"/api/page", &snap) == http.StatusOK && snap.Status.Delivered == 1
	})
	if len(snap.Computations) != 1 || snap.Computations[0].Key != "vip" || snap.Verdicts[0].Level != "ok" || snap.ShowUsers {
		t.Errorf("the page shows %+v", snap)
	}
	var series Series
	waitFor(t, "a sample", func() bool {
		return getJSON(t, base+"/api/page/series?seconds=900", &series) == http.StatusOK && len(series.At) > 0
	})
	if len(series.Pending) != len(series.At) || len(series.P95Ms) != len(series.At) {
		t.Errorf("the columns are not of equal length: %+v", series)
	}
	var refused map[string]any
	for _, seconds := range []string{"", "0", "-1", "x", "86401"} {
		if code := getJSON(t, base+"/api/page/series?seconds="+seconds, &refused); code != http.StatusBadRequest {
			t.Errorf("seconds=%s is answered %d", seconds, code)
		}
	}
	resp, err := http.Get(base + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if policy := resp.Header.Get("Content-Security-Policy"); strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("the page's policy is %q", policy)
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("other origins may read the page")
	}
}

func TestUsersOnThePageAreMasked(t *testing.T) {
	s := newSite(t)
	for _, show := range []bool{false, true} {
		var lines []string
		if show {
			lines = append(lines, "PERSONASYNC_ADMIN_SHOW_USERS=true")
		}
		a := s.start(s.load(lines...), RunOptions{})
		a.tell(news("ann_7@example.com", true, time.Now().Add(-time.Minute)))
		a.tell(strings.NewReplacer(`"vip":false`, `"city":"Bergen"`, `"audience"`, `"trait"`, `"aud_1"`, `"t_1"`, `"computation_key":"vip"`, `"computation_key":"city"`).
			Replace(news("ann_7@example.com", false, time.Now())))
		var u domain.UserInfo
		waitFor(t, "the user to be known", func() bool {
			u = domain.UserInfo{}
			return getJSON(t, "http://"+a.Admin.String()+"/api/page/user?id=ann_7@example.com", &u) == http.StatusOK &&
				len(u.Memberships) == 1 && len(u.Traits) == 1 && len(u.History) == 2
		})
		text, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		for _, personal := range []string{"ann_7", "Bergen"} {
			if strings.Contains(string(text), personal) != show {
				t.Errorf("with show_users = %v the page of the user is %s", show, text)
			}
		}
		var p map[string]any
		if code := getJSON(t, "http://"+a.Admin.String()+"/api/page/user?id=nobody", &p); code != http.StatusNotFound {
			t.Errorf("nobody is answered %d", code)
		}
		a.stop()
	}
}

func TestMaskedIDs(t *testing.T) {
	for id, want := range map[string]string{"": "•••", "x": "•••", "usr_1": "u•••", "Ægir": "Æ•••", "\xff\xfe": "•••"} {
		if got := maskID(id); got != want {
			t.Errorf("%q is shown as %q, want %q", id, got, want)
		}
	}
}

// TestAnOpenPageFollowsAndHoldsUpNoStop reads the stream, and then stops the agent under it.
func TestAnOpenPageFollowsAndHoldsUpNoStop(t *testing.T) {
	t.Parallel() // it waits for seconds
	s := newSite(t)
	a := s.start(s.load(), RunOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.Admin.String()+"/api/page/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("the stream is %s", kind)
	}
	next := events(t, resp)
	if first := next(); first == nil || first.Status.Delivered != 0 {
		t.Fatalf("the page is told first %+v", first)
	}
	a.tell(news("ann", true, time.Now().Add(-time.Minute)))
	for told := next(); told.Status.Delivered != 1; told = next() {
	}
	a.stop()
	for next() != nil {
	}
}

// events reads a stream of snapshots; nil is its end.
func events(t *testing.T, resp *http.Response) func() *Snapshot {
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return func() *Snapshot {
		for lines.Scan() {
			data, found := strings.CutPrefix(lines.Text(), "data: ")
			if !found {
				continue
			}
			var s Snapshot
			if err := json.Unmarshal([]byte(data), &s); err != nil {
				t.Fatal(err)
			}
			return &s
		}
		return nil
	}
}

func TestPagesThatAreTooMany(t *testing.T) {
	s := newSite(t)
	a := s.start(s.load(), RunOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	codes := make(map[int]int)
	for range maxStreams + 1 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.Admin.String()+"/api/page/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		codes[resp.StatusCode]++
	}
	if d := cmp.Diff(map[int]int{200: maxStreams, 503: 1}, codes); d != "" {
		t.Error(d)
	}
}

func TestHistorySurvivesARestart(t *testing.T) {
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{})
	a.tell(news("ann", true, time.Now().Add(-time.Minute)))
	var series Series
	waitFor(t, "a sample", func() bool {
		getJSON(t, "http://"+a.Admin.String()+"/api/page/series?seconds=900", &series)
		return len(series.At) > 0
	})
	first := series.At[0]
	a.stop()
	a = s.start(c, RunOptions{})
	getJSON(t, "http://"+a.Admin.String()+"/api/page/series?seconds=900", &series)
	if len(series.At) == 0 || series.At[0] != first {
		t.Errorf("after the restart history begins at %v, before it began at %d", series.At, first)
	}
}

var two = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

func TestForecasts(t *testing.T) {
	const gib = 1 << 30
	from := func(after time.Duration, grown int64, pending uint64) []store.Sample {
		return []store.Sample{{At: two, DataBytes: gib}, {At: two.Add(after), DataBytes: gib + grown, Pending: pending}}
	}
	disk := store.Space{DataBytes: 2 * gib, FreeBytes: 11 * gib, FloorBytes: gib}
	limited := disk
	limited.MaxDataBytes = 10 * gib
	full := disk
	full.FreeBytes = gib / 2
	for _, c := range []struct {
		name    string
		samples []store.Sample
		space   store.Space
		want    condition.Forecast
	}{
		{"too early", from(time.Minute, gib, 0), disk, condition.Forecast{Disk: "too early to tell", Drain: "nothing waits"}},
		{"standing still", from(time.Hour, 0, 0), disk, condition.Forecast{Disk: "the data does not grow", Drain: "nothing waits"}},
		{"shrinking", from(time.Hour, -gib, 0), disk, condition.Forecast{Disk: "the data does not grow", Drain: "nothing waits"}},
		{"a GiB an hour", from(time.Hour, gib, 0), disk, condition.Forecast{Disk: "about 10 h 0 min", DiskS: 36000, Drain: "nothing waits"}},
		{"a limit of our own", from(time.Hour, gib, 0), limited, condition.Forecast{Disk: "about 7 h 0 min", DiskS: 25200, Drain: "nothing waits"}},
		{"a byte an hour", from(time.Hour, 1, 0), disk, condition.Forecast{Disk: "more than a year", Drain: "nothing waits"}},
		{"no room", from(time.Hour, gib, 0), full, condition.Forecast{Disk: "no room: events are refused", Drain: "nothing waits"}},
		{"a backlog", from(time.Hour, 0, 410_000), disk, condition.Forecast{Disk: "the data does not grow", Drain: "about 41 min at MoEngage's limits", DrainS: 2460}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, forecast(c.samples, c.space, 10_000)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSeries(t *testing.T) {
	vip := func(members, entered, exited uint64) []store.AudienceSample {
		return []store.AudienceSample{{Key: "vip", Members: members, Entered: entered, Exited: exited}}
	}
	got := newSeries([]store.Sample{
		{At: two, Received: 100},
		{At: two.Add(30 * time.Second), Received: 160, Delivered: 7, Audiences: vip(3, 3, 0)},
		{At: two.Add(90 * time.Second), Received: 150, Delivered: 9, Audiences: vip(4, 6, 2), LatencyP95: 1500 * time.Microsecond},
	})
	if d := cmp.Diff([]float64{0, 120, 0}, got.Received); d != "" {
		t.Errorf("a rate is a minute's, and a counter that fell has none:\n%s", d)
	}
	if d := cmp.Diff([]float64{0, 14, 2}, got.Delivered); d != "" {
		t.Error(d)
	}
	if n := perMinute([]store.Sample{{At: two, Received: 5}, {At: two.Add(time.Second), Received: 7}}, func(s *store.Sample) uint64 { return s.Received }); n != 2 {
		t.Errorf("two events in the first second are %v a minute", n)
	}
	if got.P95Ms[2] != 1.5 {
		t.Errorf("1.5 ms are %v", got.P95Ms[2])
	}
	if len(got.Audiences) != 1 || got.Audiences[0].Members[0] != nil || *got.Audiences[0].Members[2] != 4 {
		t.Fatalf("audiences: %+v", got.Audiences)
	}
	if d := cmp.Diff([]uint64{0, 0, 3}, got.Audiences[0].Entered); d != "" {
		t.Error(d)
	}
	empty, err := json.Marshal(newSeries(nil))
	if err != nil || strings.Contains(string(empty), "null") {
		t.Errorf("without samples the series is %s", empty)
	}
}

func TestPlannedJobs(t *testing.T) {
	got := plannedJobs([]scheduler.Planned{{Job: "nightly", Spec: "0 3 * * *", Next: two.Add(time.Hour)}, {Job: "by hand"}})
	want := []PlannedJob{{Job: "nightly", Spec: "0 3 * * *", Next: "2026-03-01T03:00:00Z", Local: "Sun 03:00 UTC"}, {Job: "by hand"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestThePastIsCloseWhereItIsRecent(t *testing.T) {
	r := &recorder{}
	for m := range 120 {
		r.minutes = append(r.minutes, store.Sample{At: two.Add(time.Duration(m) * time.Minute)})
	}
	end := two.Add(120 * time.Minute)
	for at := end.Add(-recentKept); at.Before(end); at = at.Add(sampleEvery) {
		r.recent = append(r.recent, store.Sample{At: at})
	}
	if n := len(r.series(end.Add(-15 * time.Minute))); n != 180 {
		t.Errorf("the last 15 minutes have %d samples, want one every 5 s", n)
	}
	hour := r.series(end.Add(-time.Hour))
	if n := len(hour); n < 60 || n > 62 {
		t.Errorf("the last hour has %d samples, want one a minute and the last", n)
	}
	for i := range hour[1:] {
		if !hour[i].At.Before(hour[i+1].At) {
			t.Errorf("%v comes before %v", hour[i].At, hour[i+1].At)
		}
	}
}

// TestAStopDoesNotWaitUntilWhatIsParkedIsCounted: with two gigabytes of it, that took half a minute.
func TestAStopDoesNotWaitUntilWhatIsParkedIsCounted(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	raw := bytes.Repeat([]byte("x"), 32<<10)
	var events []*domain.Event
	for range 500 {
		events = append(events, &domain.Event{Received: two, Time: two, MessageID: "m", Fault: "not_json", Sentence: "it is not JSON", Raw: raw})
	}
	if err := errors.Join(s.Append(t.Context(), events...), s.Applied(t.Context())); err != nil {
		t.Fatal(err)
	}
	r, err := newRecorder(s, slog.New(slog.DiscardHandler), two, nil)
	if err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := r.parked.count(stopped, two); !errors.Is(err, context.Canceled) || r.parked.parked() == nil || len(r.parked.parked()) != 0 {
		t.Errorf("counting after the stop: %v, %+v", err, r.parked.parked())
	}
	// A page reads four megabytes at most, so there are several, and nothing is left out.
	if _, next, err := s.StatsPage("parked:"); err != nil || next == "" {
		t.Errorf("all 16 MB were read in one transaction (%v)", err)
	}
	if err := r.parked.count(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	if got := r.parked.parked(); len(got) != 1 || got[0].Count != 500 {
		t.Errorf("counted %+v, want 500 of one cause", got)
	}
}
