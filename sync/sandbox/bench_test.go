package sandbox

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkBulk sends requests of 800 users with one attribute each, about 100 KB.
func BenchmarkBulk(b *testing.B) {
	const users, bodies = 800, 50
	all := make([][]byte, bodies)
	for i := range all {
		var elements []string
		for u := range users {
			id := fmt.Sprintf("0d9e3c5a-7b1f-4c2d-9e8a-%012d", i*users+u)
			elements = append(elements, customerOf(id, `{"segment_high_value_users":true}`))
		}
		all[i] = []byte(bulkBody(elements...))
	}
	s := New(Options{UsersPerMinute: -1, EventsPerMinute: -1})
	b.SetBytes(int64(len(all[0])))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r := newRequest(b, "http://sandbox"+bulkPath, "")
		r.Body = body{bytes.NewReader(all[i%bodies])}
		r.ContentLength = int64(len(all[i%bodies]))
		i++
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*users), "ns/user")
}

type body struct{ *bytes.Reader }

func (body) Close() error { return nil }
