package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"personasync/store"
	"personasync/store/domain"
)

// trialEvents are a few users entering and leaving audiences, traits that change, repeats and events that are parked.
func trialEvents(r *rand.Rand, n int) (list []*domain.Event) {
	for i := range n {
		at := noon.Add(time.Duration(i) * time.Minute)
		e := says(fmt.Sprint("user", r.IntN(3)), r.IntN(2) == 0, i)
		e.Call = []domain.Call{domain.CallIdentify, domain.CallTrack}[r.IntN(2)]
		e.Time, e.MessageID = at.Add(-time.Duration(r.IntN(5))*time.Minute), fmt.Sprint("m", i)
		switch r.IntN(8) {
		case 0:
			e.Fault, e.Sentence = "undetermined", "it says nothing"
		case 1:
			e.User.ID, e.Anonymous.ID = "", "nobody"
		case 2:
			e.Class, e.Key, e.ComputationID, e.Flag = domain.ClassTrait, "spent", "tra_1", domain.FlagSilent
			e.Raw = fmt.Appendf(nil, `{"spent":%d}`, r.IntN(3))
			e.Columns = []domain.Column{{Name: "spent", Value: domain.Span{Off: 9, Len: 1}}}
		case 3:
			if len(list) > 0 {
				again := *list[len(list)-1]
				again.Received = at
				e = &again
			}
		case 4:
			e.Call, e.PassThrough, e.Name = domain.CallTrack, true, "Step"
		}
		list = append(list, e)
	}
	return list
}

// TestATrialComesToWhatTheStoreDoes tries each event, and then has the store receive it and MoEngage accept everything.
func TestATrialComesToWhatTheStoreDoes(t *testing.T) {
	store.OnFiles(t)
	for _, send := range []domain.SendMethods{domain.SendAsReceived, domain.SendBoth, domain.SendCohort | domain.SendAttribute, domain.SendList | domain.SendEvent, domain.SendNone} {
		for _, seed := range store.Seeds(4, 40) {
			rules := domain.Rules{MessageIDs: 48 * time.Hour, Defaults: domain.Policy{
				Send: send, Anonymous: domain.IdentityPark, Collapse: seed%2 == 0, EnterEvent: "Entered", ExitEvent: "Left", TraitEvent: "Computed", ListAttribute: "lists",
			}}
			s, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.SetRules(t.Context(), rules); err != nil {
				t.Fatal(err)
			}
			for i, e := range trialEvents(rand.New(rand.NewPCG(uint64(seed), 1)), 60) {
				if err := s.Applied(t.Context()); err != nil {
					t.Fatal(err)
				}
				var tried store.TrialResult
				err := s.Try(rules, func(trial *store.Trial) (err error) { tried, err = trial.Apply(e); return err })
				if err != nil {
					t.Fatal(err)
				}
				before := ledger(t, s)
				if err := s.Append(t.Context(), e); err != nil {
					t.Fatal(err)
				}
				if err := s.Applied(t.Context()); err != nil {
					t.Fatal(err)
				}
				after := ledger(t, s)
				after.Accepted--
				if before.Count(tried.Outcome); before != after {
					t.Fatalf("send %b, seed %d, event %d: tried as %d; the ledger has %+v, want %+v", send, seed, i, tried.Outcome, after, before)
				}
				for _, c := range tried.Changes {
					real, _, err := s.Change(c.ID)
					if err != nil || real.State != c.State || real.Name != c.Name || !bytes.Equal(real.Value, c.Value) || real.Reason != c.Reason {
						t.Fatalf("send %b, seed %d, event %d: tried %+v, real %+v, %v", send, seed, i, c, real, err)
					}
				}
				real := acceptAll(t, s, e.Received)
				if d := cmp.Diff(tried.Leases, real, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(domain.Lease{}, "ID")); d != "" {
					t.Fatalf("send %b, seed %d, event %d: tried requests against real ones:\n%s", send, seed, i, d)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func ledger(t *testing.T, s *store.Store) domain.EventLedger {
	t.Helper()
	c, err := s.Counts()
	if err != nil {
		t.Fatal(err)
	}
	return c.Events
}

// acceptAll settles everything that is pending as delivered.
func acceptAll(t *testing.T, s *store.Store, at time.Time) (list []*domain.Lease) {
	t.Helper()
	now := time.Now()
	for _, endpoint := range []domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
		now = now.Add(24 * time.Hour)
		for {
			l, _, err := s.Take(t.Context(), domain.TakeOptions{
				Endpoint: endpoint, Now: now, Force: true, MaxUsers: 1, MaxEvents: 1,
				Due: func(string) time.Time { return now }, Fit: func(domain.UserChanges) bool { return true },
			})
			if err != nil {
				t.Fatal(err)
			}
			if l == nil {
				break
			}
			list = append(list, l)
			o := domain.Settlement{Lease: l.ID, At: now}
			for range l.Users {
				ok := domain.Result{Verdict: domain.Delivered}
				o.Results = append(o.Results, domain.UserResult{Attributes: ok, Event: ok})
			}
			if err := s.Settle(context.Background(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	return list
}

// TestATrialLeavesTheFilesAlone tries events on the files of a stopped agent.
func TestATrialLeavesTheFilesAlone(t *testing.T) {
	store.OnFiles(t)
	dir := t.TempDir()
	s, err := store.Open(dir, store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), says("ann", true, 0), says("bob", true, 1)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Applied(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		var all bytes.Buffer
		files, _ := filepath.Glob(filepath.Join(dir, "*.db"))
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
		return all.String()
	}
	before := read()
	v, err := store.OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for range 2 { // the first trial leaves nothing to the second
		err = v.Try(domain.Rules{Defaults: domain.Policy{Send: domain.SendAttribute, Collapse: true}}, func(trial *store.Trial) error {
			r, err := trial.Apply(says("ann", false, 2))
			if err != nil || r.Outcome != domain.OutcomeTransition || len(r.Leases) != 0 || r.Changes[0].State != domain.StateCancelled {
				t.Errorf("the exit of a member of whom MoEngage was not told yet: %+v, %v", r, err)
			}
			r, err = trial.Apply(says("bob", true, 3))
			if err != nil || r.Outcome != domain.OutcomeUnchanged {
				t.Errorf("the enter of a member: %+v, %v", r, err)
			}
			r, err = trial.Apply(says("ann", true, 4))
			if err != nil || r.Outcome != domain.OutcomeTransition || len(r.Leases) != 1 || string(r.Leases[0].Users[0].Attributes[0].Value) != "true" {
				t.Errorf("the enter of a user who has left: %+v, %v", r, err)
			}
			r, err = trial.Apply(says("ann", false, 5))
			if err != nil || r.Outcome != domain.OutcomeTransition || len(r.Leases) != 1 {
				t.Errorf("the exit of a user of whose enter MoEngage was told: %+v, %v", r, err)
			}
			r, err = trial.Apply(says("ann", false, 6))
			if err != nil || r.Outcome != domain.OutcomeUnchanged || len(r.Leases) != 0 {
				t.Errorf("the exit of a user who has left: %+v, %v", r, err)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if read() != before {
		t.Error("the files were written")
	}
}
