package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"personasync/cli/internal/term"
	"personasync/sync/sandbox"
)

// compare compares MoEngage with the model: every attribute, and every event exactly once and in order.
func (s *story) compare(context.Context) error {
	var wrong []error
	for user, attributes := range s.expected.attributes {
		profile, _ := s.box.User(user)
		for name, want := range attributes {
			if got := string(profile.Attributes[name]); got != want {
				wrong = append(wrong, fmt.Errorf("MoEngage holds %s = %q of %s, not %s", name, got, user, want))
			}
		}
		if got, want := actions(profile.Events), s.expected.events[user]; !slices.Equal(got, want) {
			wrong = append(wrong, fmt.Errorf("MoEngage saw of %s the events %q, not %q", user, got, want))
		}
	}
	if _, known := s.box.User("usr_mallory"); known {
		wrong = append(wrong, errors.New("a forged delivery reached MoEngage"))
	}
	for _, v := range s.box.Violations() {
		wrong = append(wrong, fmt.Errorf("request %d broke MoEngage's rule %s: %s", v.Request, v.Rule, v.Detail))
	}
	return errors.Join(wrong...)
}

func actions(events []sandbox.Event) (list []string) {
	for _, e := range events {
		var a struct {
			Key string `json:"audience_key"`
		}
		_ = json.Unmarshal(e.Attributes, &a) // without a key it will not equal the expectation
		list = append(list, e.Action+" "+a.Key)
	}
	return list
}

// lastWrites returns the number of the request that wrote each user's membership.
func (s *story) lastWrites() map[string]uint64 {
	writes := make(map[string]uint64)
	for user := range s.expected.attributes {
		if p, ok := s.box.User(user); ok {
			writes[user] = p.Written[shoppers].Request
		}
	}
	return writes
}

// netDifference checks that attributes which ended where they began, and values that were replaced during the outage,
// were not sent.
func (s *story) netDifference() error {
	if now := s.lastWrites(); now["usr_chloe"] != s.before["usr_chloe"] {
		return errors.New("chloe left and came back during the outage, and her attribute was sent again for nothing")
	}
	s.line("spared", "chloe left and came back: her attribute did not change, and is not sent")
	for _, r := range s.box.Requests() {
		if r.Stored && strings.Contains(r.Body, ":1300") {
			return errors.New("a value that was overtaken during the outage was sent all the same")
		}
	}
	s.line("spared", "%s = 1300 was overtaken by 1342.75, and is not sent", value)
	return nil
}

// showSides prints the agent's memberships beside MoEngage's.
func (s *story) showSides(ctx context.Context) error {
	in, err := s.members(ctx, shoppers)
	if err != nil {
		return err
	}
	t := s.Terminal.NewTable(false, term.Column{Title: "   " + shoppers}, term.Column{Title: "AGENT"}, term.Column{Title: "MOENGAGE"}, term.Column{Title: "EVENTS THERE"})
	var rows [][]string
	var wrong []error
	for _, user := range term.SortedKeys(s.expected.attributes) {
		profile, _ := s.box.User(user)
		there := string(profile.Attributes[shoppers])
		if there != fmt.Sprint(in[user]) {
			wrong = append(wrong, fmt.Errorf("%s: in = %v for the agent, %s for MoEngage", user, in[user], there))
		}
		rows = append(rows, []string{"   " + user, inOut(in[user]), there, arrows(profile.Events)})
	}
	return errors.Join(t.Print(rows), errors.Join(wrong...))
}

func inOut(in bool) string {
	if in {
		return "in"
	}
	return "out"
}

// arrows draws the order of a user's events of one audience.
func arrows(events []sandbox.Event) string {
	var words []string
	for _, e := range actions(events) {
		action, key, _ := strings.Cut(strings.TrimPrefix(e, "Audience "), " ")
		if key == shoppers {
			words = append(words, strings.ToLower(action))
		}
	}
	return strings.Join(words, ", ")
}

// audit checks that both ledgers balance and count the events of the story.
func (s *story) audit(ctx context.Context) error {
	status, err := s.inspector.Status(ctx)
	if err != nil {
		return err
	}
	for _, text := range []string{
		term.LedgerText(s.Terminal, "events", "accepted", status.Events.Accepted, term.EventTerms(status.Events)),
		term.LedgerText(s.Terminal, "changes", "created", status.Changes.Created, term.ChangeTerms(status.Changes)),
	} {
		s.block(text)
	}
	if term.Balance(status.Events.Accepted, term.EventTerms(status.Events)) != 0 || term.Balance(status.Changes.Created, term.ChangeTerms(status.Changes)) != 0 {
		return errors.New("the ledgers do not balance")
	}
	if status.Rejected != 1 {
		return fmt.Errorf("%d requests were counted as refused, not the 1 that was forged", status.Rejected)
	}
	parked, err := s.parked(ctx)
	if err != nil {
		return err
	}
	if len(parked) != 1 || parked[0].Reason != "undetermined" {
		return fmt.Errorf("parked should be the one event that said nothing, but there are %d: %v", len(parked), parked)
	}
	s.line("parked", "%s of %s: %s; kept, nothing lost", parked[0].ID, parked[0].User, s.Paint.Yellow(parked[0].Reason))
	return nil
}
