package store

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/snapshot"
)

// BenchmarkUpkeepWithAMillionUsers compacts and backs up a store of a million users, or as many as
// USERS says, while events are appended, taken and settled; and tells how long delivery stood still
// and what that meant for acknowledgements.
//
//	go test -run '^$' -bench Upkeep -benchtime 1x ./store
func BenchmarkUpkeepWithAMillionUsers(b *testing.B) {
	users := 1_000_000
	if n, err := strconv.Atoi(os.Getenv("USERS")); err == nil {
		users = n
	}
	s := open(b, rules(domain.SendBoth))
	stock(s, users)
	b.ReportMetric(float64(boltfile.OnDiskAt(filepath.Join(s.dir, datadir.StateFile)))/(1<<20), "state-MiB")
	size, live, err := s.db.Fill()
	must(b, err)
	b.ReportMetric(100*float64(live)/float64(size), "live-%")

	usual := traffic(s, users, func() { time.Sleep(5 * time.Second) })
	b.ReportMetric(usual.at(0.5), "usual-ack-p50-ms")
	b.ReportMetric(usual.at(0.99), "usual-ack-p99-ms")
	var r CompactReport
	busy := traffic(s, users, func() {
		r, err = s.Compact(context.Background(), nil)
		must(b, err)
	})
	b.ReportMetric(r.Pause.Seconds()*1e3, "pause-ms")
	b.ReportMetric(r.Took.Seconds(), "compact-s")
	b.ReportMetric(float64(r.After)/(1<<20), "compacted-MiB")
	b.ReportMetric(busy.at(0.5), "compact-ack-p50-ms")
	b.ReportMetric(busy.at(0.99), "compact-ack-p99-ms")
	b.ReportMetric(busy.at(1), "compact-ack-max-ms")

	var report snapshot.BackupReport
	busy = traffic(s, users, func() {
		f, err := os.Create(filepath.Join(b.TempDir(), "backup"))
		must(b, err)
		report, err = s.Backup(context.Background(), struct{ io.Writer }{f}, nil)
		must(b, err)
		must(b, f.Sync())
		must(b, f.Close())
	})
	b.ReportMetric(float64(report.Bytes)/(1<<20)/report.Took.Seconds(), "backup-MiB/s")
	b.ReportMetric(float64(report.Grew)/(1<<20), "backup-grew-MiB")
	b.ReportMetric(busy.at(0.99), "backup-ack-p99-ms")
	begun := time.Now()
	c, err := s.Check(context.Background(), nil)
	must(b, err)
	b.ReportMetric(time.Since(begun).Seconds(), "check-s")
	if !c.OK() {
		b.Errorf("%+v", c.Findings)
	}
}

// stock gives every user an audience, delivered, and a change that waits.
func stock(s *bench, users int) {
	for at := 0; at < users; at += 5000 {
		var events []*domain.Event
		for i := at; i < min(at+5000, users); i++ {
			events = append(events, event(fmt.Sprintf("user-%08d", i), "vip", true, 1))
		}
		must(s, s.Append(context.Background(), events...))
	}
	must(s, s.Applied(context.Background()))
	for f := s.take(); f != nil; f = s.take() {
		s.settle(f, domain.Delivered)
		s.sent = nil
	}
	for more := true; more; {
		var err error
		s.SetRetention(Options{Delivered: time.Nanosecond})
		more, err = s.Prune(context.Background(), noon.Add(100*time.Hour))
		must(s, err)
	}
}

// latencies are in milliseconds.
type latencies []float64

func (l latencies) at(q float64) float64 {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return l[min(int(q*float64(len(l))), len(l)-1)]
}

// append16 appends from 16 senders until ctx ends, and tells how long each acknowledgement took.
func append16(ctx context.Context, s *bench, users int) (all latencies) {
	var mu sync.Mutex
	var senders sync.WaitGroup
	for sender := range 16 {
		senders.Go(func() {
			var mine latencies
			for i := sender; ctx.Err() == nil; i += 16 {
				e := event(fmt.Sprintf("user-%08d", i*7919%users), "vip", i%2 == 0, 2+i%20)
				begun := time.Now()
				must(s, s.Append(context.Background(), e))
				mine = append(mine, time.Since(begun).Seconds()*1e3)
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		})
	}
	senders.Wait()
	return all
}

// traffic appends, takes and settles for as long as do takes.
func traffic(s *bench, users int, do func()) (all latencies) {
	ctx, stop := context.WithCancel(context.Background())
	var load sync.WaitGroup
	load.Go(func() { all = append16(ctx, s, users) })
	load.Go(func() {
		for ctx.Err() == nil {
			if f := s.take(); f != nil {
				s.settle(f, domain.Delivered)
				s.sent = nil
			} else {
				time.Sleep(time.Millisecond)
			}
		}
	})
	do()
	stop()
	load.Wait()
	return all
}
