package store

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.etcd.io/bbolt"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/repair"
	"personasync/store/internal/state"
)

func TestSamplesSurviveARestart(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 0), event("bob", "vip", true, 1), event("ann", "lapsed", true, 2), event("bob", "vip", false, 3))
	want, err := b.Sample(noon.Add(time.Hour))
	must(t, err)
	if want.Received != 4 || want.Pending == 0 || want.OldestPending <= 0 || len(want.Audiences) != 2 || want.Audiences[0].Entered == 0 {
		t.Errorf("the sample does not say how things are: %+v", want)
	}
	want.DataBytes, want.FreeBytes, want.Requests, want.Failures = 5, 6, 7, 1
	want.LatencyP50, want.LatencyP95 = 40*time.Millisecond, 90*time.Millisecond
	must(t, b.KeepSample(context.Background(), want))
	b.reopen(rules(domain.SendBoth))
	got, err := b.Samples(noon)
	must(t, err)
	if d := cmp.Diff([]query.Sample{want}, got, cmpopts.IgnoreUnexported(query.AudienceSample{}), cmpopts.EquateApproxTime(0)); d != "" {
		t.Errorf("after a restart (-want +got):\n%s", d)
	}
	soundness(t, b)
}

func TestSamplesOfADayAreKept(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendBoth))
	start := noon.Truncate(time.Minute)
	keep := func(minutes int) {
		must(t, b.KeepSample(context.Background(), query.Sample{At: start.Add(time.Duration(minutes) * time.Minute)}))
	}
	for _, m := range []int{0, 0, 1, 1439} {
		keep(m)
	}
	if n := sampleCount(t, b); n != 3 {
		t.Errorf("%d samples are kept, want one for each of 3 minutes", n)
	}
	keep(1441)
	if n := sampleCount(t, b); n != 2 {
		t.Errorf("%d samples are kept, want the 2 of the last day", n)
	}
	keep(5) // the clock was set back
	if n := sampleCount(t, b); n != 1 {
		t.Errorf("%d samples are kept, want the one that does not lie ahead", n)
	}
}

func sampleCount(t *testing.T, b *bench) int {
	t.Helper()
	list, err := b.Samples(time.Time{})
	must(t, err)
	return len(list)
}

func TestAStoreOfAnOlderVersionGetsItsSamples(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendBoth))
	must(t, b.Store.Close())
	db, err := boltfile.Open(b.dir+"/"+datadir.StateFile, 0, false)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(state.BucketSamples) }))
	must(t, db.Close())

	v, err := OpenReadOnly(b.dir)
	must(t, err)
	if list, err := v.Samples(time.Time{}); err != nil || len(list) != 0 {
		t.Errorf("looked at, it has samples %v, error %v", list, err)
	}
	must(t, v.Close())
	report, err := repair.Check(context.Background(), b.dir, nil)
	must(t, err)
	if !report.OK() {
		t.Errorf("an older store is found faulty: %v", report.Findings)
	}

	b.Store = nil
	b.reopen(rules(domain.SendBoth))
	must(t, b.KeepSample(context.Background(), query.Sample{At: noon}))
	if n := sampleCount(t, b); n != 1 {
		t.Errorf("%d samples are kept, want 1", n)
	}
}

func TestCompactionKeepsSamples(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 0))
	s, err := b.Sample(noon)
	must(t, err)
	must(t, b.KeepSample(context.Background(), s))
	_, err = b.Compact(context.Background(), nil)
	must(t, err)
	list, err := b.Samples(time.Time{})
	must(t, err)
	if len(list) != 1 || len(list[0].Audiences) != 1 || list[0].Audiences[0].Key != "vip" {
		t.Errorf("after a compaction the samples are %+v", list)
	}
}
