package bolt

import (
	"slices"
	"testing"
)

// TestTheDirtySetKeepsWhatTheCopyHasPassed: a key ahead of the copy that is written and then deleted must
// not reach the copy by itself, because nobody would delete it there.
func TestTheDirtySetKeepsWhatTheCopyHasPassed(t *testing.T) {
	at := func(bucket, inner, key string) DirtyKey {
		return DirtyKey{Bucket: bucket, Inner: inner, Key: key}
	}
	set := newDirtySet()
	set.Merge([]DirtyKey{at("due", "", "b"), at("rows", "", "a"), at("rows", "", "z"), at("messages", "day1", "id")})
	set.reached(at("rows", "", "m"), false)
	set.Merge([]DirtyKey{at("rows", "", "b"), at("rows", "", "y"), at("sent", "", "c")})
	got := set.take(1)
	if want := []DirtyKey{at("due", "", "b"), at("messages", "day1", "id"), at("rows", "", "a"), at("rows", "", "b")}; !slices.Equal(got, want) {
		t.Errorf("took %v", got)
	}
	set.reached(at("rows", "", "x"), false)
	if got = set.take(1); len(got) != 0 {
		t.Errorf("took %v", got)
	}
	set.Merge([]DirtyKey{at("rows", "", "y"), at("sent", "", "c")})
	set.reached(at("tombstones", "", "x"), true)
	if got = set.take(1); len(got) != 2 {
		t.Errorf("at the end took %v", got)
	}
}
