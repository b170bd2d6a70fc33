package store

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"personasync/store/domain"
)

// TestWhatReceiversWereToldSurvives: a restart, a compaction, a backup and its restore. A check finds nothing wrong in it.
func TestWhatReceiversWereToldSurvives(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	told := Notice{Condition: "lag", Severity: "critical", Began: noon, Told: "began", ToldAt: noon.Add(2 * time.Minute)}
	want := []Notices{
		{Receiver: "command", Open: []Notice{}},
		{Receiver: "url", Last: &told, Open: []Notice{{Condition: "held", Differs: noon}, told}},
	}
	must(t, b.SetNotices(t.Context(), Notices{Receiver: "url", Open: []Notice{}}))
	for _, n := range want {
		must(t, b.SetNotices(t.Context(), n))
	}
	kept := func(v *View, when string) {
		t.Helper()
		got, err := v.Notices()
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}
	kept(&b.View, "while it runs")
	b.reopen(rules(domain.SendAttribute))
	kept(&b.View, "after a restart")
	_, err := b.Compact(t.Context(), nil)
	must(t, err)
	kept(&b.View, "after a compaction")
	b.sound()
	dir := filepath.Join(t.TempDir(), "data")
	_, err = Restore(context.Background(), backUp(t, b), dir, nil)
	must(t, err)
	s := openQuietly(t, dir)
	defer s.Close()
	kept(&s.View, "after a restore")
}
