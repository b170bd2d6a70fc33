package orders

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/testdir"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	goleak.VerifyTestMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestALongListIsSortedOnDisk: a list of many runs, in wild order and with repetitions, comes back as the sorted keys of
// its users, each as often as it was added, and leaves no file behind.
func TestALongListIsSortedOnDisk(t *testing.T) {
	const n = 20_000
	dir := t.TempDir()
	list := newExternalSort(dir)
	list.size = 8 << 10
	defer list.close()
	var want []string
	mixed := rand.New(rand.NewPCG(1, 1)).Perm(n)
	for _, i := range append(mixed, mixed[:100]...) {
		user := fmt.Sprintf("user-%07d", i)
		want = append(want, string(state.UserKey(user)))
		must(t, list.add(user))
	}
	if len(list.runs) < 20 {
		t.Fatalf("%d runs prove nothing", len(list.runs))
	}
	slices.Sort(want)
	var got []string
	for key, err := range list.sorted() {
		must(t, err)
		if got = append(got, string(key)); len(got) > len(want) {
			t.Fatal("more keys come back than were added")
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d keys came back of %d, or in another order", len(got), len(want))
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestARunThatCannotBeReadEndsTheWalk: a disk that loses a run must not shorten the list, or the import would end
// memberships.
func TestARunThatCannotBeReadEndsTheWalk(t *testing.T) {
	list := newExternalSort(t.TempDir())
	list.size = 8 << 10
	defer list.close()
	for i := range 1_000 {
		must(t, list.add(fmt.Sprintf("user-%07d", i)))
	}
	info, err := list.runs[0].Stat()
	must(t, err)
	for name, lose := range map[string]error{
		"a key is cut off": list.runs[0].Truncate(info.Size() - 1),
		"a run is closed":  list.runs[1].Close(),
	} {
		must(t, lose)
		var failed error
		for _, err := range list.sorted() {
			failed = err
		}
		if failed == nil {
			t.Errorf("%s: the list ends as if it were whole", name)
		}
	}
}

func TestAListTakesNoIDThatCannotBeAnID(t *testing.T) {
	list := newExternalSort(t.TempDir())
	defer list.close()
	for _, user := range []string{"", strings.Repeat("x", domain.MaxUserID+1)} {
		if list.add(user) == nil {
			t.Errorf("an id of %d bytes is taken", len(user))
		}
	}
}
