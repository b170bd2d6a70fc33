package demo

import "fmt"

// model is the state that MoEngage must have in the end, computed from the deliveries alone.
type model struct {
	attributes map[string]map[string]string // user -> attribute -> JSON
	events     map[string][]string          // user -> "action key", in order
}

// learn adds a delivery that was a transition. Other deliveries must not change anything.
func (m *model) learn(d *delivery, v verdict) {
	if m.attributes == nil {
		m.attributes, m.events = map[string]map[string]string{}, map[string][]string{}
	}
	if v.word != enters.word && v.word != exits.word && v.word != changes.word {
		return
	}
	if d.key == shoppers || d.call == identify {
		if m.attributes[d.user] == nil {
			m.attributes[d.user] = map[string]string{}
		}
		m.attributes[d.user][d.key] = fmt.Sprint(d.value)
	}
	if d.key == shoppers || d.call == track {
		action := "Audience Entered"
		if v.word == exits.word {
			action = "Audience Exited"
		}
		m.events[d.user] = append(m.events[d.user], action+" "+d.key)
	}
}
