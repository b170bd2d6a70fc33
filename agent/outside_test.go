package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/agent/condition"
)

func names(list []condition.Condition) string {
	var all []string
	for _, c := range list {
		all = append(all, c.Name)
	}
	return strings.Join(all, " ")
}

// TestAnAgentTellsOfItselfAndOneDoorOfNoWriter: of all else the writer tells, and a door would tell it twice.
func TestAnAgentTellsOfItselfAndOneDoorOfNoWriter(t *testing.T) {
	since := func(ago time.Duration) *time.Time { at := time.Now().Add(-ago); return &at }
	for name, tc := range map[string]struct {
		store  *condition.Store
		writer bool
		want   string
	}{
		"a door that is the first":                  {&condition.Store{NoWriterSince: since(time.Second), Speaks: true}, false, "config_refused no_writer other_workspace"},
		"another door":                              {&condition.Store{NoWriterSince: since(everyoneTells - time.Minute)}, false, "config_refused other_workspace"},
		"another door, and the first one is silent": {&condition.Store{NoWriterSince: since(everyoneTells + time.Minute)}, false, "config_refused no_writer other_workspace"},
		"a door beside a writer":                    {&condition.Store{Speaks: true}, false, "config_refused other_workspace"},
		"a store in files":                          {nil, false, "config_refused other_workspace"},
		"the writer":                                {&condition.Store{NoWriterSince: since(time.Hour), Speaks: true}, true, "config_refused other_workspace"},
	} {
		s := condition.Status{Store: tc.store}
		for _, c := range []string{condition.ConfigRefused, condition.NoWriter, "disk_full", condition.OtherWorkspace} {
			s.Conditions = append(s.Conditions, condition.Condition{Name: c})
		}
		all, out := slices.Clone(s.Conditions), new(outside)
		out.receive(func(context.Context) (condition.Status, error) { return s, nil }, tc.writer)
		got, err := (*out.look.Load())(t.Context())
		if err != nil || names(got.Conditions) != tc.want {
			t.Errorf("%s tells of %s, %v; want %s", name, names(got.Conditions), err, tc.want)
		}
		if names(s.Conditions) != names(all) {
			t.Errorf("%s: the status that others read was changed: %s", name, names(s.Conditions))
		}
		rest, err := withoutOwn(func(context.Context) (condition.Status, error) { return s, nil })(t.Context())
		if err != nil || names(rest.Conditions) != "no_writer disk_full" {
			t.Errorf("%s: beside that there is %s, %v", name, names(rest.Conditions), err)
		}
	}
}

// TestAnAgentWhoseStoreIsSilentKeepsWhatItSaw as the writer, which tells of the store itself. A door tells of it.
func TestAnAgentWhoseStoreIsSilentKeepsWhatItSaw(t *testing.T) {
	for _, writer := range []bool{true, false} {
		s, fault := condition.Status{Conditions: []condition.Condition{{Name: condition.ConfigRefused}}}, error(nil)
		out := new(outside)
		out.receive(func(context.Context) (condition.Status, error) { return s, fault }, writer)
		look := func() (condition.Status, error) { return (*out.look.Load())(t.Context()) }
		if got, err := look(); err != nil || names(got.Conditions) != condition.ConfigRefused {
			t.Errorf("writer %v: %s, %v", writer, names(got.Conditions), err)
		}
		s, fault = condition.Status{}, errors.New("PostgreSQL is away")
		got, err := look()
		if writer && (err != nil || names(got.Conditions) != condition.ConfigRefused) || !writer && !errors.Is(err, fault) {
			t.Errorf("writer %v, without an answer of the store: %s, %v", writer, names(got.Conditions), err)
		}
	}
	out := new(outside)
	for _, why := range []error{errors.New("it cannot be opened"), nil} {
		out.fail(why)
		if s, err := (*out.look.Load())(t.Context()); err != why || !s.Ready {
			t.Errorf("after %v: %+v, %v", why, s.Ready, err)
		}
	}
}
