//go:build linux

package seed

import (
	"slices"
	"strings"
	"testing"

	"personasync/bench/internal/load"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSeedsAreInTheOrderOfTheStore(t *testing.T) {
	numbers := SortedUsers(1000)
	sorted := slices.IsSortedFunc(numbers, func(a, b uint64) int {
		x, y := load.UserID(a), load.UserID(b)
		return strings.Compare(string(rune(partition(x)))+x, string(rune(partition(y)))+y)
	})
	if !sorted || len(slices.Compact(numbers)) != 1000 {
		t.Error("users are not in the order of their keys, or not distinct")
	}
}
