package sandbox

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault is one way to misbehave: the effect, the affected requests, and the duration. The zero value does
// nothing. A fault lasts until For or Count is used up, or until Heal. It has a
// field for each flag of the sandbox and of its control route.
type Fault struct {
	// The effect. Slow combines with all others and Drip with every answer; the rest exclude each other.
	Status     int           // answer this status, in MoEngage's words
	Type       string        // answer this documented error, see [refusal]
	Error      string        // answer 200 with status "fail" and this type
	RetryAfter time.Duration // with Status: a Retry-After header, in whole seconds
	RateLimit  string        // form of x-ratelimit-reset with Status 429: seconds (default), epoch or none
	HTML       bool          // answer with a page
	Truncate   bool          // break the connection in the middle of the body
	Redirect   string        // answer 307, or Status, to this URL
	Reset      bool          // break the connection instead of answering
	Hang       bool          // answer nothing until the fault ends, then break the connection
	Slow       time.Duration // delay of the answer
	Drip       time.Duration // duration of the body, sent a few bytes at a time

	// When says whether the request still takes effect: "before" means no, "after" means yes. Empty means
	// "after" for a damaged answer (HTML or Truncate alone) and "before" otherwise.
	When string

	// The affected requests. Empty means all.
	User  string // requests with this user; without another effect they get 400 TypeError
	On    string // this endpoint: transition, customer, event, cohortsync, export or authentication
	Every int    // every n-th of them
	First int    // only the first n of them, affected or not
	At    int    // only the n-th of them

	// The duration.
	For   time.Duration // from Fail, or from New
	Count int           // number of affected requests
}

// word is one key of the written form of a fault.
type word struct {
	key   string
	value string // shown after "=" in a message; "" for a bare word
	set   func(f *Fault, value string) error
	show  func(f Fault) string // "" if unset
}

var words = []word{
	intWord("status", "CODE", func(f *Fault) *int { return &f.Status }),
	textWord("type", "DOCUMENTED_TYPE", func(f *Fault) *string { return &f.Type }),
	textWord("error", "TYPE", func(f *Fault) *string { return &f.Error }),
	{"retry_after", "SECONDS", setRetryAfter, showRetryAfter},
	textWord("ratelimit", "seconds|epoch|none", func(f *Fault) *string { return &f.RateLimit }),
	{"body", "html", setBody, func(f Fault) string { return showIf(f.HTML, "html") }},
	bareWord("truncate", func(f *Fault) *bool { return &f.Truncate }),
	textWord("redirect", "URL", func(f *Fault) *string { return &f.Redirect }),
	bareWord("reset", func(f *Fault) *bool { return &f.Reset }),
	bareWord("hang", func(f *Fault) *bool { return &f.Hang }),
	durationWord("slow", func(f *Fault) *time.Duration { return &f.Slow }),
	durationWord("drip", func(f *Fault) *time.Duration { return &f.Drip }),
	textWord("when", "before|after", func(f *Fault) *string { return &f.When }),
	textWord("user", "ID", func(f *Fault) *string { return &f.User }),
	textWord("on", "ENDPOINT", func(f *Fault) *string { return &f.On }),
	intWord("every", "N", func(f *Fault) *int { return &f.Every }),
	intWord("first", "N", func(f *Fault) *int { return &f.First }),
	intWord("at", "N", func(f *Fault) *int { return &f.At }),
	durationWord("for", func(f *Fault) *time.Duration { return &f.For }),
	intWord("count", "N", func(f *Fault) *int { return &f.Count }),
}

// ParseFault parses the written form: words separated by commas, most of them key=value. It refuses unknown
// words and meaningless combinations; the error lists the valid words.
func ParseFault(spec string) (Fault, error) {
	var f Fault
	given := map[string]bool{}
	for part := range strings.SplitSeq(spec, ",") {
		key, value, hasValue := strings.Cut(strings.TrimSpace(part), "=")
		i := slices.IndexFunc(words, func(w word) bool { return w.key == key })
		switch {
		case i < 0:
			return Fault{}, fmt.Errorf("fault %q: unknown word %q; use one of %s", spec, key, knownWords())
		case given[key]:
			return Fault{}, fmt.Errorf("fault %q: %q is given twice; give it once", spec, key)
		case hasValue == (words[i].value == "") || hasValue && value == "":
			return Fault{}, fmt.Errorf("fault %q: write %s", spec, words[i].usage())
		}
		given[key] = true
		if err := words[i].set(&f, value); err != nil {
			return Fault{}, fmt.Errorf("fault %q: %w; write %s", spec, err, words[i].usage())
		}
	}
	if err := f.check(); err != nil {
		return Fault{}, fmt.Errorf("fault %q: %w", spec, err)
	}
	return f, nil
}

// String returns the written form, which ParseFault accepts.
func (f Fault) String() string {
	var parts []string
	for _, w := range words {
		switch value := w.show(f); {
		case value == "":
		case w.value == "":
			parts = append(parts, w.key)
		default:
			parts = append(parts, w.key+"="+value)
		}
	}
	return strings.Join(parts, ",")
}

func (f Fault) check() error {
	endings := 0
	for _, chosen := range []bool{f.Reset, f.Hang, f.answers()} {
		if chosen {
			endings++
		}
	}
	_, known := byType(f.Type)
	switch {
	case endings == 0 && f.Slow == 0 && f.Drip == 0 && f.User == "":
		return fmt.Errorf("nothing happens: add one of status, type, error, body, truncate, redirect, reset, hang, slow, drip or user")
	case endings > 1:
		return fmt.Errorf("reset, hang and an answer exclude each other: start them as separate faults")
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status=%d is not a status that can be answered; use 200 to 599", f.Status)
	case f.Status == 200 && f.Error == "" && !f.HTML && !f.Truncate:
		return fmt.Errorf("status=200 alone is no fault; add error, body or truncate")
	case f.Error != "" && (f.Type != "" || f.Status != 0 && f.Status != 200):
		return fmt.Errorf("error is the type of a 200 that says \"fail\": use type for other statuses")
	case f.Type != "" && !known:
		return fmt.Errorf("type %q is not documented; use one of %s", f.Type, knownTypes())
	case !oneOf(f.When, "before", "after"):
		return fmt.Errorf("when=%s: write before or after", f.When)
	case !oneOf(f.RateLimit, "seconds", "epoch", "none"):
		return fmt.Errorf("ratelimit=%s: write seconds, epoch or none", f.RateLimit)
	case !oneOf(f.On, endpointNames()...):
		return fmt.Errorf("on=%s is not an endpoint; use one of %s", f.On, strings.Join(endpointNames(), ", "))
	}
	if f.Redirect != "" {
		if _, err := url.Parse(f.Redirect); err != nil {
			return fmt.Errorf("redirect: %w", err)
		}
	}
	return nil
}

func oneOf(value string, known ...string) bool {
	return value == "" || slices.Contains(known, value)
}

// answers reports whether the fault determines the answer.
func (f Fault) answers() bool {
	return f.Status != 0 || f.Type != "" || f.Error != "" || f.HTML || f.Truncate || f.Redirect != ""
}

// ends reports whether the fault decides the outcome of a request, not only its delay.
func (f Fault) ends() bool {
	return f.answers() || f.Reset || f.Hang || f.User != "" && f.Slow == 0 && f.Drip == 0
}

// refusalName returns the type of the fault's refusal, or "" if it does not refuse.
func (f Fault) refusalName() string {
	switch {
	case f.Error != "":
		return f.Error
	case f.Type != "":
		return f.Type
	case f.Status != 0 && f.Status != 200:
		return byStatus(f.Status).kind
	}
	return ""
}

// after reports whether an affected request takes effect.
func (f Fault) after() bool {
	if f.When != "" {
		return f.When == "after"
	}
	return (f.HTML || f.Truncate) && f.refusalName() == "" && f.Redirect == ""
}

func (w word) usage() string {
	if w.value == "" {
		return w.key
	}
	return w.key + "=" + w.value
}

func knownWords() string {
	var all []string
	for _, w := range words {
		all = append(all, w.usage())
	}
	return strings.Join(all, ", ")
}

func knownTypes() string {
	var all []string
	for _, r := range documented {
		if !slices.Contains(all, r.kind) {
			all = append(all, r.kind)
		}
	}
	return strings.Join(all, ", ")
}

func endpointNames() []string {
	var all []string
	for _, e := range endpoints {
		all = append(all, e.name)
	}
	return all
}

func intWord(key, usage string, field func(*Fault) *int) word {
	return word{key, usage, func(f *Fault, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return fmt.Errorf("%s=%s is not a positive number", key, value)
		}
		*field(f) = n
		return nil
	}, func(f Fault) string {
		return showIf(*field(&f) != 0, strconv.Itoa(*field(&f)))
	}}
}

func textWord(key, usage string, field func(*Fault) *string) word {
	return word{key, usage, func(f *Fault, value string) error {
		*field(f) = value
		return nil
	}, func(f Fault) string { return *field(&f) }}
}

func bareWord(key string, field func(*Fault) *bool) word {
	return word{key, "", func(f *Fault, _ string) error {
		*field(f) = true
		return nil
	}, func(f Fault) string { return showIf(*field(&f), key) }}
}

func durationWord(key string, field func(*Fault) *time.Duration) word {
	return word{key, "DURATION (10s, 500ms)", func(f *Fault, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return fmt.Errorf("%s=%s is not a positive duration", key, value)
		}
		*field(f) = d
		return nil
	}, func(f Fault) string {
		return showIf(*field(&f) != 0, field(&f).String())
	}}
}

func setRetryAfter(f *Fault, value string) error {
	n, err := strconv.Atoi(strings.TrimSuffix(value, "s"))
	if err != nil || n < 0 {
		return fmt.Errorf("retry_after=%s is not a number of seconds", value)
	}
	f.RetryAfter = time.Duration(n) * time.Second
	return nil
}

func showRetryAfter(f Fault) string {
	return showIf(f.RetryAfter != 0, strconv.Itoa(int(f.RetryAfter/time.Second)))
}

func setBody(f *Fault, value string) error {
	if value != "html" {
		return fmt.Errorf("body=%s is not known", value)
	}
	f.HTML = true
	return nil
}

func showIf(set bool, s string) string {
	if !set {
		return ""
	}
	return s
}
