package domain

import (
	"encoding/json"
	"slices"
	"testing"
)

// TestAChangeOfTheRulesNamesWhatItIsAbout: the log says after a reload whose users are told otherwise from now on.
func TestAChangeOfTheRulesNamesWhatItIsAbout(t *testing.T) {
	section := func(key, id string, p Policy) Section { return Section{Key: key, ID: id, Policy: p} }
	listed := Policy{Send: SendEvent, Rollout: &Rollout{Share: 1, List: "a.csv"}}
	old := Rules{Sections: []Section{section("same", "", Policy{Send: SendEvent}), section("vip", "aud_1", Policy{Send: SendEvent}), section("gone", "", Policy{}), section("shared", "", listed)}}
	next := Rules{Defaults: Policy{Send: SendAttribute}, Sections: []Section{section("same", "", Policy{Send: SendEvent}), section("vip", "aud_1", Policy{Send: SendList}), section("new", "", Policy{}), section("shared", "", listed)}}
	if got, want := ChangedRules(old, next), []string{"(defaults)", "aud_1", "gone", "new"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := ChangedRules(next, next); len(got) != 0 {
		t.Errorf("the same rules: %v", got)
	}
	old = next
	next.Lists = map[string]UserList{"a.csv": UserList("8 bytes.")}
	if got := ChangedRules(old, next); !slices.Equal(got, []string{"shared"}) {
		t.Errorf("another list of users: %v", got)
	}
}

// TestAPauseIsOfAKeyOrOfOneIDOfIt, and a command names it by what tells it from others.
func TestAPauseIsOfAKeyOrOfOneIDOfIt(t *testing.T) {
	for _, c := range []struct {
		pause Pause
		name  string
		of    [3]bool // vip of aud_1, vip of aud_2, new of aud_1
	}{
		{Pause{}, "", [3]bool{}},
		{Pause{Computation: "vip"}, "vip", [3]bool{true, true}},
		{Pause{Computation: "vip", ID: "aud_1"}, "aud_1", [3]bool{true}},
	} {
		if of := [3]bool{c.pause.Of("vip", "aud_1"), c.pause.Of("vip", "aud_2"), c.pause.Of("new", "aud_1")}; of != c.of || c.pause.Name() != c.name {
			t.Errorf("%+v is called %q and is of %v", c.pause, c.pause.Name(), of)
		}
	}
}

// TestALineOfAListingIsWhole: a change without a value has null, and a parked one its cause, where that says more than the reason.
func TestALineOfAListingIsWhole(t *testing.T) {
	for _, c := range []struct {
		change       Change
		value, cause string
	}{
		{Change{State: StatePending}, "null", ""},
		{Change{State: StateParked, Reason: "refused", Value: JSONTrue}, "true", ""},
		{Change{State: StateParked, Reason: "refused", Sentence: "MoEngage refuses it" + Said + "the name is too long"}, "null", "refused: the name is too long"},
		{Change{State: StatePending, Reason: "refused", Sentence: "MoEngage refuses it" + Said + "the name is too long"}, "null", ""},
	} {
		info := c.change.Describe()
		if string(info.Value) != c.value || info.Cause != c.cause || info.Trace != "" {
			t.Errorf("%+v is listed with the value %s and the cause %q, want %s and %q", c.change, info.Value, info.Cause, c.value, c.cause)
		}
		if _, err := json.Marshal(info); err != nil || info.NextAttempt != "" {
			t.Errorf("a change that was never tried is tried again at %q, %v", info.NextAttempt, err)
		}
	}
	traced := Change{Trace: ParseTrace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}
	if got := traced.Describe().Trace; got != "4bf92f3577b34da6a3ce929d0e0e4736" {
		t.Errorf("the trace is %q", got)
	}
}
