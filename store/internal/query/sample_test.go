package query

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	"personasync/store/internal/wire"
	"personasync/store/testdir"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	goleak.VerifyTestMain(m)
}

// noon is when everything in these tests is received.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// resealed makes fuzzed bytes pass the checksum, or the fuzzer would never get behind it.
func resealed(b []byte) []byte { return wire.Seal(bytes.Clone(b), 0) }

// unsealed is what resealed was before: a seed with its checksum in it would have one too many.
func unsealed(frame []byte) []byte { return frame[:len(frame)-4] }

func FuzzSample(f *testing.F) {
	s := Sample{At: noon, Received: 7, DataBytes: 1 << 30, Audiences: []AudienceSample{{Members: 3, Number: 1}}}
	f.Add(unsealed(s.Encode(nil)))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := DecodeSample(resealed(body))
		if err != nil {
			return
		}
		again, err := DecodeSample(s.Encode(nil))
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Errorf("%+v became %+v: %v", s, again, err)
		}
	})
}
