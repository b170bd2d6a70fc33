package domain

import (
	"fmt"
	"math"
	"testing"
)

// The positions are those of `printf %s key:user | sha256sum`, in Python: an analyst must find the same.
func TestPositionIsTheOneOfTheDocuments(t *testing.T) {
	for _, tc := range []struct {
		key, user string
		want      float64
	}{
		{"vip", "user-1", 0xc2287541147c1.0p-52},
		{"high_value_shoppers", "u_8231", 0xbd51772e0d4e8.0p-52},
		{"vip", "Zoë", 0x69e069f717797.0p-52},
	} {
		if got := position(tc.key, tc.user); got != tc.want {
			t.Errorf("position of %s in %s is %v, want %v", tc.user, tc.key, got, tc.want)
		}
	}
}

func rolledOut(r Rollout, list ...string) Policy {
	rules := Rules{Defaults: Policy{Send: SendBoth, Rollout: &r}, Lists: map[string]UserList{"pilot": NewUserList(list)}}
	return rules.For("vip", "aud_1")
}

func TestAShareThatGrowsKeepsItsUsersAndNeverReachesTheHoldout(t *testing.T) {
	const users = 20_000
	told := make(map[string]bool)
	heldOut := 0
	for _, share := range []float64{0, 0.05, 0.2, 0.5, 0.95, 1} {
		p, n := rolledOut(Rollout{Share: share, Holdout: 0.1}), 0
		heldOut = 0
		for i := range users {
			user := fmt.Sprint("user-", i)
			tells := p.Reaches(user) && !p.HoldsOut(user)
			if told[user] && !tells {
				t.Fatalf("%s was told before the share grew to %v, and is no more", user, share)
			}
			if told[user] = tells; tells {
				n++
			}
			if p.HoldsOut(user) {
				heldOut++
			}
			if said := p.RolloutSentence(user) == ""; said != tells {
				t.Errorf("%s: told %v, and the reason is %q", user, tells, p.RolloutSentence(user))
			}
		}
		if got, want := float64(n)/users, min(share, 0.9); math.Abs(got-want) > 0.01 {
			t.Errorf("a share of %v tells %v of the users", share, got)
		}
	}
	if got := float64(heldOut) / users; math.Abs(got-0.1) > 0.01 {
		t.Errorf("a holdout of 0.1 has %v of the users", got)
	}
}

func TestAListNarrowsTheShare(t *testing.T) {
	p := rolledOut(Rollout{Share: 1, List: "pilot"}, "ann", "bob", "bob")
	for user, want := range map[string]string{"ann": "", "bob": "", "cid": "the user is not in only_users_file", "": "the user is not in only_users_file"} {
		if got := p.RolloutSentence(user); got != want {
			t.Errorf("%q: %q, want %q", user, got, want)
		}
	}
	if p.Listed.Len() != 2 {
		t.Errorf("the list has %d users", p.Listed.Len())
	}
	lost := rolledOut(Rollout{Share: 1, List: "no such"})
	if lost.Reaches("ann") {
		t.Error("a list that is lost tells everybody")
	}
	if some := rolledOut(Rollout{Share: 0.05, List: "pilot"}, "user-1"); some.RolloutSentence("user-1") != "the user is not in the share of 5 %" {
		t.Errorf("outside of the share: %q", some.RolloutSentence("user-1"))
	}
}

func TestWithoutARolloutEverybodyIsTold(t *testing.T) {
	rules := Rules{Defaults: Policy{Send: SendBoth}}
	p := rules.For("vip", "")
	if !p.Reaches("ann") || p.HoldsOut("ann") || p.RolloutSentence("ann") != "" {
		t.Error("a policy without a rollout holds somebody")
	}
}

// Each computation has a sample of its own, and each id a section of its own has the sample of its key.
func TestComputationsHaveSamplesOfTheirOwn(t *testing.T) {
	rules := Rules{Sections: []Section{{ID: "aud_1", Policy: Policy{Rollout: &Rollout{Share: 0.5}}}, {Key: "vip", Policy: Policy{Rollout: &Rollout{Share: 0.5}}}}}
	byID, byKey := rules.For("vip", "aud_1"), rules.For("vip", "aud_2")
	other := rules.For("dormant", "aud_1")
	both := 0
	for i := range 10_000 {
		user := fmt.Sprint("user-", i)
		if byID.Reaches(user) != byKey.Reaches(user) {
			t.Fatal("an audience that was made again under another id has another sample")
		}
		if byID.Reaches(user) && other.Reaches(user) {
			both++
		}
	}
	if both < 2_300 || both > 2_700 {
		t.Errorf("%d of 10,000 users are in both halves: the samples depend on each other", both)
	}
}

func TestWhomARolloutTells(t *testing.T) {
	for want, r := range map[string]*Rollout{
		"all users":                           nil,
		"nobody (share = 0)":                  {Holdout: 0.1},
		"5 % of the users":                    {Share: 0.05},
		"the users in pilot.txt":              {Share: 1, List: "pilot.txt"},
		"20 % of the users in pilot.txt":      {Share: 0.2, List: "pilot.txt"},
		"all users, but never 10 % (holdout)": {Share: 1, Holdout: 0.1},
	} {
		if got := r.Told(); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
}
