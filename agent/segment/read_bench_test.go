package segment

import (
	"testing"
	"time"
)

var received = time.Date(2026, 3, 14, 9, 27, 0, 0, time.UTC)

func BenchmarkRead(b *testing.B) {
	for _, name := range []string{"audience-identify-enter.json", "audience-track-enter-trait-enriched.json", "sql-trait-identify-multi-column.json"} {
		b.Run(name, func(b *testing.B) {
			raw := payload(b, name)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				Read(raw, Reading{Received: received, Verified: true})
			}
		})
	}
}

func BenchmarkSplit(b *testing.B) {
	raw := payload(b, "webhook-batch-backfill-5.json")
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Split(raw); err != nil {
			b.Fatal(err)
		}
	}
}
