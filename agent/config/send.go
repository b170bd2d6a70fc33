package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"personasync/store"
)

// channels are the words of "send", in display order.
var channels = []struct {
	word string
	set  store.SendMethods
}{
	{"as_received", store.SendAsReceived},
	{"both", store.SendBoth},
	{"attribute", store.SendAttribute},
	{"event", store.SendEvent},
	{"cohort", store.SendCohort},
	{"list", store.SendList},
}

const sendNothing = "none"

// setChannels parses one word or a list of words that do not contradict each other.
func setChannels(p *store.SendMethods, v value) error {
	words := []string{v.text}
	if v.kind != text {
		var err error
		if words, err = texts(v); err != nil {
			return errors.New(`must be a word in double quotes, or a list of words, like ["attribute", "event"]`)
		}
	}
	if len(words) == 0 {
		return errors.New(`must name at least one channel, or be "none"`)
	}
	set, err := combine(words)
	if err != nil {
		return err
	}
	*p = set
	return nil
}

func combine(words []string) (store.SendMethods, error) {
	var set store.SendMethods
	for _, word := range words {
		c, err := channel(word)
		if err != nil {
			return 0, err
		}
		set |= c
	}
	if slices.Contains(words, sendNothing) && len(words) > 1 {
		return 0, errors.New(`"none" stands alone`)
	}
	if set.Has(store.SendAsReceived) && set&store.SendBoth != 0 {
		return 0, errors.New(`"as_received" already decides between attribute and event by what Segment sent: ` +
			`leave it out, or leave out attribute, event and both`)
	}
	return set, nil
}

func channel(word string) (store.SendMethods, error) {
	if word == sendNothing {
		return store.SendNone, nil
	}
	known := make([]string, 0, len(channels)+1)
	for _, c := range channels {
		if c.word == word {
			return c.set, nil
		}
		known = append(known, c.word)
	}
	return 0, fmt.Errorf("%q is not known: must be %s", shorten(word), either(append(known, sendNothing)))
}

// showChannels returns a set as TOML.
func showChannels(set store.SendMethods) string {
	words := channelWords(set)
	if len(words) == 1 {
		return strconv.Quote(words[0])
	}
	return quoteAll(words)
}

func channelWords(set store.SendMethods) []string {
	if set == store.SendNone {
		return []string{sendNothing}
	}
	var words []string
	for _, c := range channels {
		if set.Has(c.set) {
			words = append(words, c.word)
			set &^= c.set
		}
	}
	return words
}

// sendsAttribute reports whether a transition may become a custom attribute named after its computation.
func sendsAttribute(set store.SendMethods) bool {
	return set&(store.SendAsReceived|store.SendAttribute) != 0
}

// sendsMembership reports whether only memberships can be sent, and no traits.
func sendsMembership(set store.SendMethods) bool {
	return set != store.SendNone && set&^(store.SendCohort|store.SendList) == 0
}

// sendsEvent reports whether a transition may become an event.
func sendsEvent(set store.SendMethods) bool {
	return set&(store.SendAsReceived|store.SendEvent) != 0
}
