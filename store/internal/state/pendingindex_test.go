package state

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"personasync/store/domain"
	"personasync/store/engine/overlay"
	"personasync/store/internal/record"
)

// own is a lane of a computation in a job.
func own(job, field, more uint32) uint32 { return laneOwn | job<<16 | field | more }

func TestPendingFieldsAreASet(t *testing.T) {
	var h PendingIndex
	for _, f := range []uint32{130, 3, 63, 64, 3} {
		h.SetPending(f, true)
	}
	if got := h.PendingFields(nil); !slices.Equal(got, []uint32{3, 63, 64, 130}) || len(h.Blocks) != 3 {
		t.Errorf("they are %v", got)
	}
	for _, f := range []uint32{64, 3, 999} {
		h.SetPending(f, false)
	}
	if got := h.PendingFields([]uint32{1}); !slices.Equal(got, []uint32{1, 63, 130}) || len(h.Blocks) != 2 {
		t.Errorf("they are %v", got)
	}
}

func TestALaneCountsItsChanges(t *testing.T) {
	var rh EndpointIndex
	rh.Add(7, 20)
	rh.Add(7, 10)
	rh.Add(3, 30)
	rh.Add(7, 15)
	if !slices.Equal(rh.Lanes, []Lane{{3, 30, 1}, {7, 10, 3}}) {
		t.Fatalf("%v", rh.Lanes)
	}
	rh.Retry = 99
	rh.Remove(7)
	rh.Remove(3)
	rh.Remove(3)
	if !slices.Equal(rh.Lanes, []Lane{{7, 10, 2}}) || rh.Retry != 99 {
		t.Errorf("%v, retry %d", rh.Lanes, rh.Retry)
	}
	rh.Remove(7)
	if rh.Remove(7); len(rh.Lanes) != 0 || rh.Retry != 0 {
		t.Errorf("%v, retry %d", rh.Lanes, rh.Retry)
	}
}

func TestThePlacesOfAUserFollowTheirChanges(t *testing.T) {
	bulk, live := own(0, 1, laneBulk), own(0, 1, 0)
	transition := func(lane, second uint32) DuePlace { return DuePlace{domain.EndpointTransition, lane, second} }
	cohort := func(lane, second uint32) DuePlace { return DuePlace{domain.EndpointCohort, lane, second} }
	for _, tc := range []struct {
		name   string
		index  PendingIndex
		want   []DuePlace
		urgent bool
	}{
		{"none", PendingIndex{}, nil, false},
		{"one for each lane", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{{Lanes: []Lane{{live, 5, 1}, {own(0, 2, 0), 6, 1}}}}}, []DuePlace{transition(live, 5), transition(own(0, 2, 0), 6)}, false},
		{"a retry is one place", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{{Retry: 9, Lanes: []Lane{{live, 5, 1}, {bulk, 6, 1}}}}}, []DuePlace{transition(LaneRetry, 9)}, false},
		{"a retry of bulk changes", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{{Retry: 9, Lanes: []Lane{{bulk, 5, 1}}}}}, []DuePlace{transition(LaneRetryBulk, 9)}, false},
		{"a retry without changes", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{{Retry: 9}}}, nil, false},
		{"a cohort", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{1: {Lanes: []Lane{{live, 5, 1}}}}}, []DuePlace{cohort(live, 5)}, false},
		{"a cohort behind an older change", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{{Lanes: []Lane{{live, 5, 1}}}, {Lanes: []Lane{{live, 5, 1}}}}}, []DuePlace{transition(live, 5), cohort(live, NotYet)}, true},
		{"a cohort before a newer change", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{{Lanes: []Lane{{live, 6, 1}}}, {Lanes: []Lane{{live, 5, 1}}}}}, []DuePlace{transition(live, 6), cohort(live, 5)}, false},
		{"bulk changes of a user whose live cohort change waits", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{{Lanes: []Lane{{bulk, 5, 1}}}, {Lanes: []Lane{{live, 5, 1}}}}}, []DuePlace{transition(live, 5), cohort(live, NotYet)}, true},
		{"… in retry", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{{Retry: 9, Lanes: []Lane{{bulk, 5, 1}}}, {Lanes: []Lane{{live, 5, 1}}}}}, []DuePlace{transition(LaneRetry, 9), cohort(live, NotYet)}, true},
		{"bulk cohorts hurry nobody", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{{Lanes: []Lane{{bulk, 5, 1}}}, {Lanes: []Lane{{bulk, 5, 1}}}}}, []DuePlace{transition(bulk, 5), cohort(bulk, NotYet)}, false},
		{"what waits for a deletion", PendingIndex{Deleted: 70, Endpoints: [domain.Endpoints]EndpointIndex{{Lanes: []Lane{{live, 5, 1}}}, {Lanes: []Lane{{live, 5, 1}}}}}, []DuePlace{transition(LaneBarred, 70), cohort(LaneBarred, 70)}, true},
		{"a deletion", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{2: {Lanes: []Lane{{live, 5, 1}}}}}, []DuePlace{{domain.EndpointDelete, live, 5}}, false},
		{"a deletion in retry", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{2: {Retry: 9, Lanes: []Lane{{live, 5, 1}}}}}, []DuePlace{{domain.EndpointDelete, LaneRetry, 9}}, false},
		{"a cohort that is deferred", PendingIndex{Deferred: 70, Endpoints: [domain.Endpoints]EndpointIndex{1: {Lanes: []Lane{{live, 5, 1}}}}}, []DuePlace{cohort(LaneRetry, 70)}, false},
		{"a cohort in retry for longer", PendingIndex{Deferred: 70, Endpoints: [domain.Endpoints]EndpointIndex{1: {Retry: 80, Lanes: []Lane{{bulk, 5, 1}}}}}, []DuePlace{cohort(LaneRetryBulk, 80)}, false},
		{"very many lanes: the oldest and the newest two", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{{Lanes: []Lane{{own(0, 1, 0), 1, 1}, {own(0, 2, 0), 2, 1}, {own(0, 3, 0), 3, 1}, {own(0, 4, 0), 4, 1}, {own(0, 5, 0), 5, 1}}}}},
			[]DuePlace{transition(own(0, 1, 0), 1), transition(own(0, 4, 0), 4), transition(own(0, 5, 0), 5)}, false},
		{"very many lanes of two jobs", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{{Lanes: []Lane{{own(0, 1, 0), 1, 1}, {own(0, 2, 0), 2, 1}, {own(1, 3, 0), 3, 1}, {own(1, 4, 0), 4, 1}}}}},
			[]DuePlace{transition(own(0, 1, 0), 1), transition(own(0, 2, 0), 2), transition(own(1, 3, 0), 3), transition(own(1, 4, 0), 4)}, false},
		{"very many lanes of one second", PendingIndex{Endpoints: [domain.Endpoints]EndpointIndex{{Lanes: []Lane{{own(0, 1, 0), 1, 1}, {own(0, 2, 0), 1, 1}, {own(0, 3, 0), 1, 1}, {own(0, 4, 0), 1, 1}}}}},
			[]DuePlace{transition(own(0, 1, 0), 1), transition(own(0, 3, 0), 1), transition(own(0, 4, 0), 1)}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &tc.index
			got := h.DuePlaces(nil)
			if !slices.Equal(got, tc.want) || h.Urgent() != tc.urgent {
				t.Errorf("they are %v, urgent: %v\nwant %v", got, h.Urgent(), tc.want)
			}
			for i := range h.Endpoints { // every lane is found by one of the places
				for _, l := range h.Endpoints[i].Lanes {
					if !slices.ContainsFunc(got, func(at DuePlace) bool {
						return at.Endpoint == domain.Endpoint(i+1) && slices.Contains(h.Under(at), l.Number)
					}) {
						t.Errorf("lane %x of endpoint %d is found by none", l.Number, i+1)
					}
				}
			}
			again, err := DecodeIndex(annsIndex, h.encode(nil, annsIndex))
			if len(got) > 0 && (err != nil || !reflect.DeepEqual(again.DuePlaces(nil), got)) {
				t.Errorf("read again they are %v, %v", again, err)
			}
		})
	}
}

func TestAProfileIsWaitedFor(t *testing.T) {
	var h PendingIndex
	h.Defer(100)
	if h.Deferred != 0 {
		t.Errorf("of a user who is known for nothing cohorts are deferred to %d", h.Deferred)
	}
	h.ProfileCreated(100, false)
	if h.Accepted != 100 || h.Deferred != 0 {
		t.Errorf("%+v", h)
	}
	h.Defer(160)
	if h.Deferred != 0 {
		t.Errorf("of one who has had a profile for long they are deferred to %d", h.Deferred)
	}
	h.Defer(159)
	if h.Deferred != 160 {
		t.Errorf("of one whose profile is young they are deferred to %d", h.Deferred)
	}
	h.ProfileCreated(90, true)
	if h.Deferred != 160 || h.Accepted != 90 {
		t.Errorf("an earlier acceptance: %+v", h)
	}
	h.ProfileCreated(200, true)
	if h.Deferred != 260 {
		t.Errorf("a later one: %+v", h)
	}
	if h.AwaitsProfile() {
		t.Error("no cohort change waits")
	}
	h.Endpoint(domain.EndpointCohort).Add(1, 5)
	h.Endpoint(domain.EndpointTransition).Add(1, 6)
	if h.AwaitsProfile() {
		t.Error("a newer change is waited for")
	}
	h.Endpoint(domain.EndpointTransition).Add(2, 5)
	if !h.AwaitsProfile() {
		t.Error("an older change is not waited for")
	}
}

func TestTheBacklogOfAUser(t *testing.T) {
	for _, tc := range []struct {
		fields, waiting, cohorts int
		want                     domain.Backlog
	}{
		{0, 0, 0, domain.Backlog{}}, {3, 3, 0, domain.Backlog{Users: 1}}, {3, 5, 0, domain.Backlog{Users: 1, Events: 2}},
		{0, 2, 0, domain.Backlog{Events: 2}}, {2, 0, 2, domain.Backlog{Members: 2}}, {3, 2, 2, domain.Backlog{Users: 1, Events: 1, Members: 2}},
	} {
		var h PendingIndex
		for i := range tc.fields {
			h.SetPending(uint32(i*40), true)
		}
		for range tc.waiting {
			h.Endpoint(domain.EndpointTransition).Add(1, 1)
		}
		for range tc.cohorts {
			h.Endpoint(domain.EndpointCohort).Add(1, 1)
		}
		if got := h.Backlog(); got != tc.want {
			t.Errorf("%d fields, %d changes, %d cohorts: %+v", tc.fields, tc.waiting, tc.cohorts, got)
		}
	}
}

func TestALaneSaysItsJobAndClass(t *testing.T) {
	for _, tc := range []struct {
		lane               uint32
		job                uint32
		bulk, retry        bool
		group, twin, moved uint32 // moved to job 5
	}{
		{0, 0, false, false, 0, 0, own(5, 1, 0)},
		{5, 5, false, false, 5, 5, 5},
		{own(3, 7, 0), 3, false, false, own(3, 0, 0), own(3, 7, 0), own(5, 7, 0)},
		{own(3, 7, laneBulk), 3, true, false, own(3, 0, laneBulk), own(3, 7, 0), own(5, 7, laneBulk)},
		{own(3, 7, laneExits), 3, false, false, own(3, 0, laneExits), own(3, 7, laneExits), own(5, 7, laneExits)},
		{LaneRetry, LaneRetry, false, true, 0, LaneRetry, 0},
		{LaneRetryBulk, LaneRetry, true, true, 0, 0, 0},
	} {
		if LaneJob(tc.lane) != tc.job || IsBulk(tc.lane) != tc.bulk || IsRetry(tc.lane) != tc.retry {
			t.Errorf("lane %x is of job %d, bulk %v, retry %v", tc.lane, LaneJob(tc.lane), IsBulk(tc.lane), IsRetry(tc.lane))
		}
		if tc.retry {
			continue
		}
		if laneGroup(tc.lane) != tc.group || liveTwin(tc.lane) != tc.twin || SameJob(tc.lane, own(5, 1, 0)) != tc.moved {
			t.Errorf("lane %x is of group %x, its twin %x, moved %x", tc.lane, laneGroup(tc.lane), liveTwin(tc.lane), SameJob(tc.lane, own(5, 1, 0)))
		}
	}
	if IsBulk(LaneParked) || IsBulk(LaneHeld) || IsRetry(LaneHeld) {
		t.Error("a parked change is in a lane")
	}
	f := &Field{Number: 12}
	if in, out := cohortLane("nightly", f, domain.TransitionEnter), cohortLane("nightly", f, domain.TransitionExit); in == out || jobOfLane(in) != "nightly" || jobOfLane(out) != "nightly" || jobOfLane("") != "" {
		t.Errorf("lanes of a cohort are named %q and %q", in, out)
	}
}

func TestAnEntryKnowsItsNewestAssertion(t *testing.T) {
	in := func(at int64) *domain.Assertion { return &domain.Assertion{Value: domain.JSONTrue, Time: at} }
	out := func(at int64) *domain.Assertion { return &domain.Assertion{Value: domain.JSONFalse, Time: at} }
	for i, tc := range []struct {
		kept                    [3]*domain.Assertion
		newest, identify, track int // index in kept, -1: none
	}{
		{[3]*domain.Assertion{}, -1, -1, -1},
		{[3]*domain.Assertion{in(1)}, 0, 0, 0},
		{[3]*domain.Assertion{nil, in(1), out(2)}, 2, 1, 2},
		{[3]*domain.Assertion{nil, in(3), out(2)}, 1, 1, 2},
		{[3]*domain.Assertion{nil, out(2), in(2)}, 1, 1, 2}, // of one time an exit
		{[3]*domain.Assertion{nil, in(2), out(2)}, 2, 1, 2},
		{[3]*domain.Assertion{in(1), in(2)}, 1, 1, 0},
	} {
		e := &Entry{Kept: tc.kept}
		at := func(n int) *domain.Assertion {
			if n < 0 {
				return nil
			}
			return tc.kept[n]
		}
		if e.Newest() != at(tc.newest) || e.Known(KeptOne) != at(tc.newest) || e.Known(KeptIdentify) != at(tc.identify) || e.Known(KeptTrack) != at(tc.track) {
			t.Errorf("case %d: %+v", i, e)
		}
		e.Keep(KeptTrack, in(9))
		if e.Kept[KeptTrack].Time != 9 || e.Kept[0] != tc.kept[0] || e.Kept[1] != tc.kept[1] {
			t.Errorf("case %d: the assertion of track replaces others", i)
		}
		if e.Keep(KeptOne, in(10)); e.Kept != [3]*domain.Assertion{e.Kept[0]} || e.Kept[0].Time != 10 {
			t.Errorf("case %d: one assertion leaves others", i)
		}
	}
}

func TestAnEntryThatIsOverCanBePruned(t *testing.T) {
	out := &domain.Assertion{Value: domain.JSONFalse, Time: 5}
	id := domain.ID{Seq: 1}
	for name, tc := range map[string]struct {
		e    Entry
		want bool
	}{
		"an exit":              {Entry{Kept: [3]*domain.Assertion{out}}, true},
		"nothing":              {Entry{}, false},
		"a member":             {Entry{Kept: [3]*domain.Assertion{{Value: domain.JSONTrue, Time: 1}}}, false},
		"a member by one call": {Entry{Kept: [3]*domain.Assertion{nil, out, {Value: domain.JSONTrue, Time: 1}}}, false},
		"a young exit":         {Entry{Kept: [3]*domain.Assertion{{Value: domain.JSONFalse, Time: 6}}}, false},
		"told":                 {Entry{Kept: [3]*domain.Assertion{out}, LastSent: SentValue(domain.JSONFalse)}, true},
		"told to be in":        {Entry{Kept: [3]*domain.Assertion{out}, LastSent: SentValue(domain.JSONTrue)}, false},
		"uncertain":            {Entry{Kept: [3]*domain.Assertion{out}, LastSent: LastSent{Kind: UncertainlySent}}, false},
		"waiting":              {Entry{Kept: [3]*domain.Assertion{out}, Waiting: Ticket{ID: id}}, false},
		"in flight":            {Entry{Kept: [3]*domain.Assertion{out}, InFlight: Ticket{ID: id}}, false},
		"queued":               {Entry{Kept: [3]*domain.Assertion{out}, Loose: 1}, false},
	} {
		if got := tc.e.Over(6); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWhatMoEngageShouldHold(t *testing.T) {
	long := []byte(`"` + strings.Repeat("x", 40) + `"`)
	said := func(v []byte) [3]*domain.Assertion { return [3]*domain.Assertion{{Value: v}} }
	p := domain.Policy{Send: domain.SendAttribute, OnNull: domain.NullEmpty}
	for name, tc := range map[string]struct {
		e     Entry
		want  string
		known bool
	}{
		"never told":                  {Entry{Kept: said([]byte("5"))}, "", false},
		"told":                        {Entry{Kept: said([]byte("5")), LastSent: SentValue([]byte("5"))}, "5", true},
		"told another":                {Entry{Kept: said([]byte("6")), LastSent: SentValue([]byte("5"))}, "5", true},
		"uncertain":                   {Entry{Kept: said([]byte("6")), LastSent: LastSent{Kind: UncertainlySent}}, "6", true},
		"a null that is told as \"\"": {Entry{Kept: said([]byte("null")), LastSent: LastSent{Kind: UncertainlySent}}, `""`, true},
		"a long one":                  {Entry{Kept: said(long), LastSent: SentValue(long)}, string(long), true},
		"another long one":            {Entry{Kept: said([]byte("5")), LastSent: SentValue(long)}, "", false},
		"told, and nothing is kept":   {Entry{LastSent: SentValue([]byte("5"))}, "5", true},
	} {
		got, known := tc.e.Expected(&p)
		if known != tc.known || known && string(got) != tc.want {
			t.Errorf("%s: %s, known: %v", name, got, known)
		}
	}
	if t1 := SentValue(long); t1.Kind != digestSent || len(t1.Value) != 16 || !t1.Is(long) || t1.Is([]byte("5")) || (LastSent{}).Is(nil) || (LastSent{Kind: UncertainlySent}).Is([]byte("5")) {
		t.Errorf("%+v", t1)
	}
	spaced := []byte(`{"a": 1.0, "b": "xxxxxxxxxxxxxxxxxxxxxx"}`)
	if !SentValue(spaced).Is([]byte(`{"a":1,"b":"xxxxxxxxxxxxxxxxxxxxxx"}`)) || !(LastSent{digestSent, digest(spaced)}).Is(spaced) {
		t.Error("a long value in other letters is another")
	}
	if v := SentValue([]byte("450")); v.Kind != valueSent || !v.Is([]byte("450.0")) {
		t.Errorf("%+v", v)
	}
}

func TestWhichAssertionIsSent(t *testing.T) {
	one, identify, track := &domain.Assertion{Value: domain.JSONTrue, Time: 1}, &domain.Assertion{Value: domain.JSONFalse, Time: 2}, &domain.Assertion{Value: domain.JSONTrue, Time: 3}
	all := &Entry{Kept: [3]*domain.Assertion{one, identify, track}}
	alone := &Entry{Kept: [3]*domain.Assertion{one}}
	for _, tc := range []struct {
		send domain.SendMethods
		e    *Entry
		want [2]*domain.Assertion // as the attribute, as the event
	}{
		{domain.SendAsReceived, all, [2]*domain.Assertion{identify, track}}, {domain.SendAsReceived, alone, [2]*domain.Assertion{one, nil}},
		{domain.SendAttribute, all, [2]*domain.Assertion{track, nil}}, {domain.SendEvent, all, [2]*domain.Assertion{nil, track}}, {domain.SendNone, all, [2]*domain.Assertion{}},
	} {
		p := domain.Policy{Send: tc.send}
		if got := [2]*domain.Assertion{tc.e.AssertionFor(&p, domain.SendAttribute, KeptIdentify), tc.e.AssertionFor(&p, domain.SendEvent, KeptTrack)}; got != tc.want {
			t.Errorf("sent as %d: %v", tc.send, got)
		}
	}
	p := domain.Policy{}
	if !all.IsUnknownExit(identify, &p) || all.IsUnknownExit(track, &p) {
		t.Error("an exit of one whom MoEngage never knew is heard")
	}
	if p.UnknownExit = true; all.IsUnknownExit(identify, &p) {
		t.Error("a policy that sends unknown exits keeps one")
	}
	if tr, v := all.Membership(); tr != domain.TransitionEnter || string(v) != "true" {
		t.Errorf("%s %s", tr, v)
	}
	if tr, v := (&Entry{}).Membership(); tr != domain.TransitionExit || string(v) != "false" {
		t.Errorf("%s %s", tr, v)
	}
}

func TestARowIsReadAsItWasWritten(t *testing.T) {
	kept := func(v string, at int64) *domain.Assertion {
		return &domain.Assertion{Value: []byte(v), Time: at, Since: at - 5, Message: "m", Seq: 9}
	}
	id := func(seq uint64) domain.ID { return domain.ID{Epoch: 7, Seq: seq, Slot: 3} }
	failures := &Failures{Attempts: 3, Next: noon, Reason: "503", Sentence: "busy", Answer: domain.Answer{Status: 503, RequestID: "r", Body: "b", At: noon}}
	alone := *failures
	alone.Alone = 2
	row := &block{Number: 0, stored: true, Entries: []*Entry{
		{Column: 0, Kept: [3]*domain.Assertion{kept("true", 7)}},
		{Column: 1, Kept: [3]*domain.Assertion{nil, kept("1.50", 7), kept("2", 8)}, LastSent: LastSent{Kind: UncertainlySent, Value: []byte{}}},
		{Column: 2, Waiting: Ticket{ID: id(1), Transition: domain.TransitionEnter, Lane: 5, Due: 6, Value: []byte("true"), Name: "vip", Time: 7, Received: 8, Message: "m"}, LastSent: SentValue([]byte("false"))},
		{Column: 3, Waiting: Ticket{ID: id(1), Place: PlaceParked, Transition: domain.TransitionExit}, InFlight: Ticket{ID: id(2), Value: []byte("1"), Failures: failures}},
		{Column: 4, InFlight: Ticket{ID: id(2), Value: []byte("1"), Failures: &alone}, Loose: 4},
		{Column: 63, Kept: [3]*domain.Assertion{kept("false", 7)}, Left: 11},
	}}
	got, err := DecodeBlock(annsRow, row.encode(nil, annsRow), epochs)
	if err != nil || !reflect.DeepEqual(got, row) {
		for i := range row.Entries {
			if got != nil && !reflect.DeepEqual(got.Entries[i], row.Entries[i]) {
				t.Errorf("%+v\nwant %+v", got.Entries[i], row.Entries[i])
			}
		}
		t.Fatalf("%v", err)
	}
	if row.Find(3) != row.Entries[3] || row.Find(9) != nil || row.Field(row.Entries[5]) != 63 {
		t.Error("an entry is not found by its column")
	}
	if e := row.entry(9); e.Column != 9 || row.Entries[5] != e || row.entry(9) != e {
		t.Error("a new entry is not in its place")
	}
	empty := &block{Entries: []*Entry{{Column: 1}, {Column: 2, Left: 4}}}
	if frame := empty.encode([]byte("x"), annsRow); string(frame) != "x" {
		t.Errorf("an empty row is %x", frame)
	}
	if _, err := DecodeBlock(RowKey(UserKey("bob"), 0), row.encode(nil, annsRow), epochs); err == nil {
		t.Error("a row is read under another user's key")
	}
}

// TestARowOfTheFirstVersionSaysWhoLeft: it did not count leavers, and the guard takes an exit that was told for one.
func TestARowOfTheFirstVersionSaysWhoLeft(t *testing.T) {
	row := &block{Entries: []*Entry{
		{Column: 0, Kept: [3]*domain.Assertion{{Value: []byte("false"), Time: 1, Seq: 9}}, LastSent: SentValue([]byte("true"))},
		{Column: 1, Kept: [3]*domain.Assertion{{Value: []byte("false"), Time: 1, Seq: 9}}},
		{Column: 2, Kept: [3]*domain.Assertion{{Value: []byte("true"), Time: 1, Seq: 9}}, LastSent: SentValue([]byte("true"))},
	}}
	body := append([]byte{1}, unsealed(row.encode(nil, annsRow))[1:]...)
	got, err := DecodeBlock(annsRow, rekeyed(body, annsRow), record.Epochs{})
	if err != nil || got.Entries[0].Left != 9 || got.Entries[1].Left != 0 || got.Entries[2].Left != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAChangeIsTriedOnceARequestFailed: only then does it leave with the retry. One that was not sent has a reason at most.
func TestAChangeIsTriedOnceARequestFailed(t *testing.T) {
	for _, tc := range []struct {
		failures *Failures
		want     bool
	}{{nil, false}, {&Failures{Reason: "breaker_open"}, false}, {&Failures{Attempts: 1}, true}} {
		if ticket := (Ticket{Failures: tc.failures}); ticket.Tried() != tc.want {
			t.Errorf("after %+v it is tried: %v", tc.failures, ticket.Tried())
		}
	}
}

// TestWhatIsSaidOfAnAttribute is the newer of both calls, and of identify alone where they are passed on as received.
func TestWhatIsSaidOfAnAttribute(t *testing.T) {
	e := Entry{}
	e.Kept[KeptIdentify] = &domain.Assertion{Value: domain.JSONTrue, Time: 1}
	e.Kept[KeptTrack] = &domain.Assertion{Value: domain.JSONFalse, Time: 2}
	for send, want := range map[domain.SendMethods]*domain.Assertion{
		domain.SendAttribute: e.Kept[KeptTrack], domain.SendBoth: e.Kept[KeptTrack], domain.SendAsReceived: e.Kept[KeptIdentify],
	} {
		if got := e.AttributeAssertion(&domain.Policy{Send: send}); got != want {
			t.Errorf("by %d it is %+v, want %+v", send, got, want)
		}
	}
}

// TestACohortWaitsForAProfileThatMoEngageMakes: of a user of whom it accepted nothing there is none to wait for here.
func TestACohortWaitsForAProfileThatMoEngageMakes(t *testing.T) {
	for _, tc := range []struct{ accepted, due, want uint32 }{
		{0, 5, 0}, {100, 100, 100 + ProfileDelay}, {100, 100 + ProfileDelay - 1, 100 + ProfileDelay}, {100, 100 + ProfileDelay, 0},
	} {
		h := PendingIndex{Accepted: tc.accepted}
		if h.Defer(tc.due); h.Deferred != tc.want {
			t.Errorf("accepted at %d, received at %d: it waits until %d, want %d", tc.accepted, tc.due, h.Deferred, tc.want)
		}
	}
}

// TestAStateOfAnOlderVersionHasNoLists.
func TestAStateOfAnOlderVersionHasNoLists(t *testing.T) {
	if lists := ReadLists(overlay.Empty()); lists != nil {
		t.Errorf("%v", lists)
	}
}
