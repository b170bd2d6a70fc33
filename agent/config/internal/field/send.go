package field

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/wording"
	"personasync/store/domain"
)

// sendWords are the words of "send", in display order.
var sendWords = []struct {
	word string
	set  domain.SendMethods
}{
	{"as_received", domain.SendAsReceived},
	{"both", domain.SendBoth},
	{"attribute", domain.SendAttribute},
	{"event", domain.SendEvent},
	{"cohort", domain.SendCohort},
	{"list", domain.SendList},
}

// sendNothing is the word for an empty set.
const sendNothing = "none"

// setSend parses one word or a list of words that do not contradict each other.
func setSend(p *domain.SendMethods, v document.Value) error {
	words := []string{v.Text}
	if v.Kind != document.Text {
		var err error
		if words, err = v.Texts(); err != nil {
			return errors.New(`must be a word in double quotes, or a list of words, like ["attribute", "event"]`)
		}
	}
	if len(words) == 0 {
		return errors.New(`must have at least one word, or be "none"`)
	}
	set, err := combine(words)
	if err != nil {
		return err
	}
	*p = set
	return nil
}

// combine refuses words that contradict each other.
func combine(words []string) (domain.SendMethods, error) {
	var set domain.SendMethods
	for _, word := range words {
		c, err := sendMethod(word)
		if err != nil {
			return 0, err
		}
		set |= c
	}
	if slices.Contains(words, sendNothing) && len(words) > 1 {
		return 0, errors.New(`"none" stands alone`)
	}
	if set.Has(domain.SendAsReceived) && set&domain.SendBoth != 0 {
		return 0, errors.New(`"as_received" already decides between attribute and event by what Segment sent: ` +
			`leave it out, or leave out attribute, event and both`)
	}
	return set, nil
}

func sendMethod(word string) (domain.SendMethods, error) {
	if word == sendNothing {
		return domain.SendNone, nil
	}
	known := make([]string, 0, len(sendWords)+1)
	for _, c := range sendWords {
		if c.word == word {
			return c.set, nil
		}
		known = append(known, c.word)
	}
	return 0, fmt.Errorf("%q is not known: must be %s", wording.Shorten(word), wording.Either(append(known, sendNothing)))
}

// ShowSend returns a set as TOML.
func ShowSend(set domain.SendMethods) string {
	words := sendWordsOf(set)
	if len(words) == 1 {
		return strconv.Quote(words[0])
	}
	return document.QuoteAll(words)
}

func sendWordsOf(set domain.SendMethods) []string {
	if set == domain.SendNone {
		return []string{sendNothing}
	}
	var words []string
	for _, c := range sendWords {
		if set.Has(c.set) {
			words = append(words, c.word)
			set &^= c.set
		}
	}
	return words
}
