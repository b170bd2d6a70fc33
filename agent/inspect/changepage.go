package inspect

import (
	"bytes"
	"encoding/json"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/store/domain"
	syncer "personasync/sync"
)

func newChangePage(c *domain.Change, raw []byte, s syncer.Config) *api.ChangePage {
	p := &api.ChangePage{
		ChangeInfo:    lines([]domain.ChangeInfo{c.Describe()})[0],
		ComputationID: c.ComputedBy, Class: c.Class.String(), Name: c.Name, MessageID: c.MessageID,
		Sentence: c.Sentence, Closed: domain.Timestamp(c.Closed), Event: printable(raw),
		OrderedBy: c.OrderedBy, TimeSource: c.TimeSource.String(), TimeSentence: c.TimeSource.Sentence(), LeftOut: c.LeftOut,
	}
	if c.Answer != (domain.Answer{}) {
		answer := c.Answer
		answer.At = answer.At.UTC().Round(0)
		p.Answer = &answer
	}
	if !c.Successor.IsZero() {
		p.SupersededBy = c.Successor.String()
	}
	p.Request, p.NoRequest = requestOf(c, s)
	return p
}

// endpointOf is the endpoint that takes changes of a kind.
func endpointOf(k domain.Kind) domain.Endpoint {
	switch k {
	case domain.KindCohort:
		return domain.EndpointCohort
	case domain.KindDelete:
		return domain.EndpointDelete
	}
	return domain.EndpointTransition
}

// requestOf builds the request that would carry c alone, or says why there is none.
func requestOf(c *domain.Change, s syncer.Config) (*syncer.Preview, string) {
	d := domain.UserChanges{User: c.User}
	switch c.Kind {
	case domain.KindAttribute, domain.KindCohort, domain.KindList:
		d.Attributes = []domain.Change{*c}
	case domain.KindEvent, domain.KindDelete:
		d.Event = c
	case domain.KindReceived:
		return nil, "an event that could not be used has nothing to send"
	default:
		return nil, "requests of this kind cannot be shown"
	}
	previews, err := s.Preview(&domain.Lease{Endpoint: endpointOf(c.Kind), Users: []domain.UserChanges{d}})
	switch {
	case err != nil:
		return nil, err.Error()
	case len(previews) == 0:
		return nil, "it fits no request"
	}
	return &previews[0], ""
}

// maxDepth is how deeply nested an event may be to be shown as JSON: indenting costs its square.
const maxDepth = 256

// printable returns raw as JSON that every reader can parse: compact, or as a string if it is not JSON or too deep.
func printable(raw []byte) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	var b bytes.Buffer
	if depth(raw) <= maxDepth && json.Compact(&b, raw) == nil {
		return b.Bytes()
	}
	quoted, err := json.Marshal(string(raw))
	if err != nil {
		return json.RawMessage("null") // a string always has a JSON form
	}
	return quoted
}

// depth is the nesting of the brackets of raw outside strings.
func depth(raw []byte) (deepest int) {
	open, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			open++
			deepest = max(deepest, open)
		case c == '}' || c == ']':
			open--
		}
	}
	return deepest
}

// lines writes a missing value as null, so that an answer is the same before and after JSON.
func lines(list []domain.ChangeInfo) []domain.ChangeInfo {
	for i := range list {
		if list[i].Value == nil {
			list[i].Value = json.RawMessage("null")
		}
	}
	return condition.Whole(list)
}
