package postgres

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/wal"
	"personasync/store/postgres/pgtest"
)

// BenchmarkAppend appends events of a kilobyte by many callers: to files, and to a PostgreSQL whose standby confirms each
// commit, on this machine too. Both flush.
func BenchmarkAppend(b *testing.B) {
	files, err := wal.Open(b.TempDir(), wal.Config{Epoch: 1, First: 1, Records: record.InboxRecords})
	must(b, err)
	b.Cleanup(files.Close)
	pair := pgtest.NewPair(b, "fsync = on", "full_page_writes = on")
	db, err := Connect(b.Context(), Config{URL: pair.Primary.URL(), Host: "a", TTL: time.Hour, Log: slog.New(slog.DiscardHandler)})
	must(b, err)
	b.Cleanup(db.Close)
	frame := record.AppendEvent(nil, &domain.Event{User: domain.Identifier{ID: "ann"}, MessageID: "m", Call: domain.CallIdentify,
		Class: domain.ClassAudience, Key: "vip", Received: noon, Time: noon, Raw: bytes.Repeat([]byte("x"), 900)})
	logs := map[string]interface {
		engine.Log
		Commits() uint64
	}{"files": files, "PostgreSQL": openLog(b, db, 1, created(b, db))}
	for _, callers := range []int{1, 64, 256} {
		for _, name := range []string{"files", "PostgreSQL"} {
			b.Run(fmt.Sprintf("%d callers/%s", callers, name), func(b *testing.B) {
				commits := logs[name].Commits()
				b.SetParallelism(max(1, callers/2))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := logs[name].Append(context.Background(), frame); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
				b.ReportMetric(float64(b.N)/float64(logs[name].Commits()-commits), "records/commit")
			})
		}
	}
}
