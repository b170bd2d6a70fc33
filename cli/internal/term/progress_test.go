package term

import (
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
)

func TestProgressShowsHowFarHowFastAndHowLong(t *testing.T) {
	var out strings.Builder
	now := time.Unix(0, 0)
	p := &Bar{w: &out, now: func() time.Time { return now }, Unit: domain.Bytes}
	for _, step := range []struct {
		after time.Duration
		done  int64
		want  string
	}{
		{0, 0, "[....................]   0 %  0 bytes of 8.0 MiB"},
		{500 * time.Millisecond, 2 << 20, "[#####...............]  25 %  2.0 MiB of 8.0 MiB"},
		{10 * time.Millisecond, 3 << 20, ""}, // not redrawn so soon
		{1490 * time.Millisecond, 4 << 20, "[##########..........]  50 %  4.0 MiB of 8.0 MiB  2.0 MiB/s  2 s left"},
		{time.Second, 8 << 20, "[####################] 100 %  8.0 MiB of 8.0 MiB  2.7 MiB/s  0 s left"},
	} {
		now = now.Add(step.after)
		out.Reset()
		p.Tell(step.done, 8<<20)
		if got := strings.TrimSpace(strings.TrimPrefix(out.String(), "\r")); got != step.want {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
	out.Reset()
	if p.End(); strings.Trim(out.String(), "\r ") != "" || out.Len() == 0 {
		t.Errorf("the bar was not wiped away: %q", out.String())
	}
	silent := &Bar{now: time.Now}
	silent.Tell(1, 2)
	silent.End()
}
