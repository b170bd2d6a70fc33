package store

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"personasync/store/domain"
)

// Whole processes are compared by the module bench; these measure one part each, for a profile.

func openForBenchmark(b *testing.B, send domain.SendMethods) *Store {
	b.Helper()
	return openWithRules(b, rules(send))
}

func openWithRules(b *testing.B, r domain.Rules) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	if err := s.SetRules(context.Background(), r); err != nil {
		b.Fatal(err)
	}
	return s
}

// letters pad an event to the usual 1.1 KB.
var letters = bytes.Repeat([]byte("abcdefghijklmnopqrst"), 45)

// realistic is an audience event of the usual size. It is made cheaply, so that a figure is the store's.
func realistic(i int) *domain.Event {
	e := *pattern
	e.User.ID = fmt.Sprintf("usr_%08d", i)
	e.MessageID = fmt.Sprintf("personas_2DGdYrXrV8dVWmzcg%09d", i)
	return &e
}

var pattern = func() *domain.Event {
	e := event("", "high_value_shoppers", true, 1)
	e.Raw = append(e.Raw, letters...)
	return e
}()

func BenchmarkAppend(b *testing.B) {
	for _, clients := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(clients, " clients"), func(b *testing.B) {
			s := openForBenchmark(b, domain.SendAttribute)
			var n atomic.Int64
			b.SetParallelism(max(1, clients/2))
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := s.Append(context.Background(), realistic(int(n.Add(1)))); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkApply applies a backlog of enters of distinct users, with the journal and without it, and with consent that
// every tenth user refuses.
func BenchmarkApply(b *testing.B) {
	for name, set := range map[string]func(*domain.Rules){
		"with the journal": func(*domain.Rules) {}, "without": func(r *domain.Rules) { r.Journal = false },
		"with consent": func(r *domain.Rules) { r.Defaults.Consent = []string{"Marketing"} },
	} {
		b.Run(name, func(b *testing.B) {
			r := rules(domain.SendAttribute)
			set(&r)
			applyBenchmark(b, openWithRules(b, r), r.AsksConsent())
		})
	}
}

func applyBenchmark(b *testing.B, s *Store, asked bool) {
	events := make([]*domain.Event, 0, 1000)
	fill := func(n int) {
		for i := 0; i < n; i += len(events) {
			events = events[:0]
			for j := i; j < min(i+1000, n); j++ {
				e := realistic(j)
				if asked && j%10 > 0 {
					e.Consent = &domain.Preferences{Given: []string{"Advertising", "Functional", "Marketing"}}
				} else if asked {
					e.Consent = &domain.Preferences{Given: []string{"Functional"}}
				}
				events = append(events, e)
			}
			if err := s.Append(context.Background(), events...); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	fill(b.N)
	if err := s.Applied(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	c, err := s.Counts()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(c.Journal)/float64(b.N), "journal-B/op")
}

// BenchmarkDrain takes and settles attributes of b.N users, 800 a request: of one audience, of ten audiences
// that every user is in, and of a thousand audiences that share the users.
func BenchmarkDrain(b *testing.B) {
	for name, keys := range map[string]func(i int) []string{
		"one audience": func(int) []string { return []string{"high_value_shoppers"} },
		"ten audiences each": func(int) (keys []string) {
			for k := range 10 {
				keys = append(keys, fmt.Sprint("audience_", k))
			}
			return keys
		},
		"a thousand audiences": func(i int) []string { return []string{fmt.Sprint("audience_", i%1000)} },
	} {
		b.Run(name, func(b *testing.B) { drainBenchmark(b, rules(domain.SendAttribute), keys) })
	}
	b.Run("one audience, without the journal", func(b *testing.B) {
		r := rules(domain.SendAttribute)
		r.Journal = false
		drainBenchmark(b, r, func(int) []string { return []string{"high_value_shoppers"} })
	})
}

func drainBenchmark(b *testing.B, r domain.Rules, keys func(i int) []string) {
	s := openWithRules(b, r)
	for i := 0; i < b.N; i += 1000 {
		var events []*domain.Event
		for j := i; j < min(i+1000, b.N); j++ {
			for _, key := range keys(j) {
				events = append(events, event(fmt.Sprintf("usr_%08d", j), key, true, 1))
			}
		}
		if err := s.Append(context.Background(), events...); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Applied(context.Background()); err != nil {
		b.Fatal(err)
	}
	before, err := s.Counts()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	now := time.Now()
	for {
		left := 800
		o := everything(now)
		o.Fit = func(domain.UserChanges) bool { left--; return left >= 0 }
		f, _, err := s.Take(context.Background(), o)
		if err != nil {
			b.Fatal(err)
		}
		if f == nil {
			break
		}
		out := domain.Settlement{Lease: f.ID, At: now, Results: make([]domain.UserResult, len(f.Users))}
		for i := range out.Results {
			out.Results[i].Attributes.Verdict = domain.Delivered
		}
		if err := s.Settle(context.Background(), out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "users/s")
	after, err := s.Counts()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(after.Journal-before.Journal)/float64(b.N), "journal-B/op")
}
