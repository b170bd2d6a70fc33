package state_test

import (
	"fmt"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

func TestAChangeLeavesInTheLaneOfItsComputation(t *testing.T) {
	d := newDB(t)
	d.Do(func(tx *state.Tx) {
		vip := tx.NewField(&state.Field{Key: "vip", Class: domain.ClassAudience})
		row := tx.NewField(&state.Field{Key: "row", Class: domain.ClassTrait})
		col := state.FieldBeside(tx, row, "a", domain.ClassTrait)
		cohort := state.FieldBeside(tx, vip, state.CohortColumn, domain.ClassAudience)
		city := tx.NewField(&state.Field{Column: "city", Class: domain.ClassTrait})
		u := tx.User("ann")
		const own, bulk, exits, shared = 1 << 31, 1 << 30, 1 << 29, 1<<16 - 1
		for i, tc := range []struct {
			f    *state.Field
			job  string
			t    domain.Transition
			bulk bool
			want uint32
		}{
			{vip, "", domain.TransitionEnter, false, own}, {vip, "", domain.TransitionExit, false, own}, {row, "", domain.TransitionValue, false, own | 1},
			{col, "", domain.TransitionValue, false, own | 1}, {vip, "", domain.TransitionEnter, true, own | bulk}, {vip, "nightly", domain.TransitionEnter, false, own | 1<<16},
			{cohort, "", domain.TransitionEnter, false, own | 3}, {cohort, "", domain.TransitionExit, false, own | exits | 3}, {cohort, "nightly", domain.TransitionExit, true, own | bulk | exits | 1<<16 | 3},
			{city, "", domain.TransitionValue, false, own | shared},
		} {
			tx.Bulk = tc.bulk
			if got := state.LaneOf(tx, u, tc.f, tc.job, tc.t); got != tc.want {
				t.Errorf("case %d: lane %x, want %x", i, got, tc.want)
			}
		}
		tx.Bulk = false
		for n := range uint32(state.LanesOfUser) {
			u.Index.Endpoint(domain.EndpointTransition).Add(own|100+n, 1)
		}
		if got := state.LaneOf(tx, u, vip, "", domain.TransitionEnter); got != own|shared {
			t.Errorf("of a user in very many lanes it is %x", got)
		}
		u.Index.Endpoint(domain.EndpointTransition).Add(own, 1)
		if got := state.LaneOf(tx, u, vip, "", domain.TransitionEnter); got != own {
			t.Errorf("of one who is in this lane already it is %x", got)
		}
		if got := state.LaneOf(tx, u, cohort, "", domain.TransitionEnter); got != own|3 {
			t.Errorf("of a cohort it is %x", got)
		}
	})
}

// TestLanesAreReadFromTheDueIndex: the first and the last second of each, and no entry at NotYet.
func TestLanesAreReadFromTheDueIndex(t *testing.T) {
	d := newDB(t)
	put := func(e domain.Endpoint, lane, second uint32, user string) {
		d.Put(state.BucketDue, state.DueKey(e, lane, second, state.UserKey(user)), nil)
	}
	put(1, 0, 5, "ann")
	put(1, 0, 9, "bob")
	put(1, 3, 7, "ann")
	put(1, state.LaneRetry, 8, "cid")
	put(2, 3, 6, "ann")
	put(2, 4, state.NotYet, "ann")
	d.Reopen()
	d.Do(func(tx *state.Tx) {
		lanes := state.Lanes(tx, domain.EndpointTransition)
		for lane, want := range map[uint32]string{0: "5 9", 3: "7 7", state.LaneRetry: "8 8"} {
			if l := lanes[lane]; l == nil || fmt.Sprint(l.First, " ", l.Last) != want {
				t.Errorf("lane %d is %+v, want %s", lane, l, want)
			}
		}
		cohorts := state.Lanes(tx, domain.EndpointCohort)
		if len(lanes) != 3 || len(cohorts) != 2 || cohorts[3].First != 6 || cohorts[4].First != state.NotYet || cohorts[4].Last != 0 {
			t.Errorf("%d lanes, %d of cohorts", len(lanes), len(cohorts))
		}
		tx.RemoveDue(state.DuePlace{Endpoint: 1, Lane: 0, Second: 5}, state.UserKey("ann"))
		if !lanes[0].Gone || state.FirstDue(tx, 1, 0, lanes[0]) != 9 || lanes[0].Gone {
			t.Errorf("after the first entry went it is %+v", lanes[0])
		}
		tx.RemoveDue(state.DuePlace{Endpoint: 1, Lane: 3, Second: 7}, state.UserKey("ann"))
		if got := state.FirstDue(tx, 1, 3, lanes[3]); got != state.NotYet {
			t.Errorf("an empty lane begins at %d", got)
		}
		u := tx.User("dan")
		u.Index.Endpoint(1).Add(3, 20)
		u.Index.Endpoint(1).Add(11, 4)
		u.Dirty = true
		tx.Reindex(u)
		if lanes[3].First != 20 || lanes[3].Last != 20 || lanes[11] == nil || lanes[11].First != 4 {
			t.Errorf("a new entry: %+v, %+v", lanes[3], lanes[11])
		}
	})
	d.Do(func(tx *state.Tx) {
		for i, user := range []string{"eve", "fay", "gus"} {
			u := tx.User(user)
			u.Index.Endpoint(1).Add(50, uint32(i+1))
			u.Dirty = true
		}
	})
	for most, want := range []int{0, 1, 2, 3, 3} {
		n := 0
		d.Read(func(tx *state.Tx) {
			for h := range state.Indexes(tx, 1, 50, most) {
				if n++; h.Endpoint(1).Lanes[0].Due != uint32(n) {
					t.Errorf("user %d is due at %d", n, h.Endpoint(1).Lanes[0].Due)
				}
			}
		})
		if n != want {
			t.Errorf("at most %d: %d", most, n)
		}
	}
}
