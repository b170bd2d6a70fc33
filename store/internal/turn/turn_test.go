package turn

import (
	"math/rand/v2"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waiting is one lane in each of the classes.
func waiting(classes ...Class) (w DueLanes) {
	for _, c := range classes {
		w[c] = []uint32{1}
	}
	return w
}

var all = waiting(ClassFresh, ClassBacklog, ClassRetry, ClassBulk)

func TestTheOrderFollowsWhatEachClassHasHad(t *testing.T) {
	type charge struct {
		class Class
		n     int
	}
	for _, tc := range []struct {
		name    string
		charges []charge
		want    []Class
	}{
		{"nothing was served", nil, []Class{ClassFresh, ClassBacklog, ClassRetry, ClassBulk}},
		{"fresh was served", []charge{{ClassFresh, 1}}, []Class{ClassBulk, ClassBacklog, ClassRetry, ClassFresh}},
		{"fresh and bulk were served alike", []charge{{ClassFresh, 5}, {ClassBulk, 5}}, []Class{ClassBacklog, ClassRetry, ClassFresh, ClassBulk}},
		{"bulk was served less", []charge{{ClassFresh, 5}, {ClassBulk, 4}}, []Class{ClassBulk, ClassBacklog, ClassRetry, ClassFresh}},
		{"bulk was served more", []charge{{ClassFresh, 5}, {ClassBulk, 6}}, []Class{ClassBacklog, ClassRetry, ClassFresh, ClassBulk}},
		{"each live class counts by itself", []charge{{ClassFresh, 2}, {ClassBacklog, 1}, {ClassRetry, 3}, {ClassBulk, 9}}, []Class{ClassBacklog, ClassFresh, ClassRetry, ClassBulk}},
		{"nothing is no use", []charge{{ClassFresh, 0}}, []Class{ClassFresh, ClassBacklog, ClassRetry, ClassBulk}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s Shares
			s.Order(&all)
			for _, c := range tc.charges {
				s.Charge(c.class, c.n)
			}
			if got := s.Order(&all); !slices.Equal(got[:], tc.want) {
				t.Errorf("the order is %v, want %v", got, tc.want)
			}
		})
	}
}

// TestATimeWithoutNeedIsNoCredit: a class that begins to wait starts level with the least of the others.
func TestATimeWithoutNeedIsNoCredit(t *testing.T) {
	for _, tc := range []struct {
		name          string
		served, comes Class
		want          Class // first after the newcomer was served once
	}{
		{"bulk comes behind live", ClassFresh, ClassBulk, ClassFresh},
		{"live comes behind bulk", ClassBulk, ClassFresh, ClassBulk},
		{"a retry comes behind fresh", ClassFresh, ClassRetry, ClassFresh},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s Shares
			alone, both := waiting(tc.served), waiting(tc.served, tc.comes)
			for range 1000 {
				s.Order(&alone)
				s.Charge(tc.served, 1)
			}
			s.Order(&both)
			s.Charge(tc.comes, 1)
			order := s.Order(&both)
			first := order[slices.IndexFunc(order[:], func(c Class) bool { return c == tc.served || c == tc.comes })]
			if first != tc.want {
				t.Errorf("%d is next, want %d: it had all of 1000 before", first, tc.want)
			}
		})
	}
}

// TestAnOldDebtIsForgotten: what a class had before it stopped waiting does not count once it waits again.
func TestAnOldDebtIsForgotten(t *testing.T) {
	var s Shares
	both, bulk := waiting(ClassFresh, ClassBulk), waiting(ClassBulk)
	s.Order(&both)
	s.Charge(ClassFresh, 1000)
	s.Order(&bulk)
	s.Charge(ClassBulk, 1)
	s.Order(&both)
	s.Charge(ClassBulk, 1)
	if got := s.Order(&both); got[0] != ClassFresh {
		t.Errorf("%v: fresh still pays for what it had before", got)
	}
}

// TestALimitIsSharedAlike in the long run, and what one class does not need goes to the others.
func TestALimitIsSharedAlike(t *testing.T) {
	const rounds = 12_000
	for _, tc := range []struct {
		name    string
		waiting DueLanes
		want    [classes]float64
	}{
		{"all", all, [classes]float64{1. / 6, 1. / 6, 1. / 6, 1. / 2}},
		{"no bulk", waiting(ClassFresh, ClassBacklog, ClassRetry), [classes]float64{1. / 3, 1. / 3, 1. / 3, 0}},
		{"fresh and bulk", waiting(ClassFresh, ClassBulk), [classes]float64{1. / 2, 0, 0, 1. / 2}},
		{"fresh and retry", waiting(ClassFresh, ClassRetry), [classes]float64{1. / 2, 0, 1. / 2, 0}},
		{"bulk alone", waiting(ClassBulk), [classes]float64{0, 0, 0, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s Shares
			var had [classes]int
			random, total := rand.New(rand.NewPCG(1, 2)), 0
			for range rounds {
				for _, c := range s.Order(&tc.waiting) {
					if len(tc.waiting[c]) > 0 {
						n := 1 + random.IntN(10)
						s.Charge(c, n)
						had[c] += n
						total += n
						break
					}
				}
			}
			for c, want := range tc.want {
				if got := float64(had[c]) / float64(total); got < want-0.01 || got > want+0.01 {
					t.Errorf("class %d had %.3f of the limit, want %.3f", c, got, want)
				}
			}
		})
	}
}

func TestAFreshChangeCostsTheBacklogNoTurn(t *testing.T) {
	for class, want := range map[Class]int{ClassFresh: 0, ClassBacklog: 1, ClassRetry: 1, ClassBulk: 1} {
		if got := class.Turn(); got != want {
			t.Errorf("class %d uses turn %d, want %d", class, got, want)
		}
	}
}
