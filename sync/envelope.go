package syncer

import (
	"bytes"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// said is what the body of an answer says. MoEngage's envelope is
//
//	{"status":…,"message":…,"request_id":…,"error":{"type":…,"message":…,"attribute":…,"request_id":…}}
//
// but IP whitelisting puts a string in error, the endpoint for deletions has title and description
// instead, and what stands between answers with lists, pages, text, or nothing. Whatever it is, an
// operator needs to see it.
type said struct {
	status, requestID string
	kind              string   // the type of an error that is an object
	name              string   // the error, where it is a string
	words             []string // everything that is meant for a person, in order
}

// text joins what was said.
func (s *said) text() string { return strings.Join(s.words, ": ") }

// say adds words, unless they were said before.
func (s *said) say(words string) {
	if words = strings.Join(strings.Fields(words), " "); words != "" && !slices.Contains(s.words, words) {
		s.words = append(s.words, words)
	}
}

// deepest bounds how far errors inside errors are followed.
const deepest = 4

// parseEnvelope reads an answer's body. It is lenient about everything but the status: an answer is
// MoEngage's only if it is a JSON object.
func parseEnvelope(body []byte) (s said, object bool) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\uFEFF")))
	if !json.Valid(body) {
		s.say(pageText(body))
		return s, false
	}
	s.hear(body, 0)
	return s, body[0] == '{'
}

// hear takes in JSON of any form.
func (s *said) hear(raw json.RawMessage, depth int) {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || depth == deepest {
		return
	}
	switch raw[0] {
	case '"':
		s.say(asText(raw))
	case '[':
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) == nil && len(list) > 0 {
			s.hear(list[0], depth+1)
		}
	case '{':
		s.object(raw, depth)
	}
}

func (s *said) object(raw json.RawMessage, depth int) {
	var o struct {
		Status, Type, Title, Error, Errors, Message, Description, Detail, Attribute json.RawMessage

		RequestID json.RawMessage `json:"request_id"`
	}
	if json.Unmarshal(raw, &o) != nil {
		return
	}
	if id := asText(o.RequestID); id != "" {
		s.requestID = id
	}
	if depth == 0 {
		s.status, s.name = asText(o.Status), asText(o.Error)
	} else if kind := asText(o.Type); s.kind == "" {
		s.kind = kind
	}
	s.say(asText(o.Type))
	s.say(asText(o.Title))
	s.hear(o.Error, depth+1)
	s.hear(o.Errors, depth+1)
	for _, words := range []json.RawMessage{o.Message, o.Description, o.Detail} {
		s.say(asText(words))
	}
	if name := asText(o.Attribute); name != "" {
		s.say("attribute " + name)
	}
}

// asText returns a JSON string's text, and nothing for any other JSON.
func asText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

var (
	pageTitle = regexp.MustCompile(`(?is)<(?:title|h1)[^>]*>(.*?)</(?:title|h1)\s*>`)
	pageTags  = regexp.MustCompile(`(?s)<[^>]*>`)
)

// pageText is what a page says: its title, else its text. Anything else but JSON is text as it is.
func pageText(body []byte) string {
	if len(body) == 0 || body[0] != '<' {
		return string(body)
	}
	text := body
	if title := pageTitle.FindSubmatch(body); title != nil {
		text = title[1]
	}
	words := strings.TrimSpace(html.UnescapeString(string(pageTags.ReplaceAll(text, []byte(" ")))))
	return strings.TrimSpace("a page, " + words)
}

// anonymous is what was said without the users that it may name: those of the request, in the forms in
// which they may come back, and every e-mail address. Where the data is judged, whatever has a digit in
// it goes, too: it may be a value of somebody.
func (a answer) anonymous(users []string) string {
	words := a.words
	if words == "" {
		return ""
	}
	var pairs []string
	for _, u := range sortedByLength(users) {
		for _, form := range []string{u, strings.ToLower(u), url.QueryEscape(u), url.PathEscape(u), html.EscapeString(u)} {
			if len(form) > 1 {
				pairs = append(pairs, form, "…")
			}
		}
	}
	words = strings.NewReplacer(pairs...).Replace(words)
	named := func(word string) bool {
		return strings.Contains(word, "@") || strings.Contains(word, "%40") || a.judges() && strings.ContainsFunc(word, unicode.IsDigit)
	}
	list := strings.Fields(words)
	for i, word := range list {
		if named(word) {
			list[i] = "…"
		}
	}
	return strings.Join(list, " ")
}

// sortedByLength puts the longest first, so that an id which begins with another is replaced as a whole.
func sortedByLength(users []string) []string {
	return slices.SortedFunc(slices.Values(users), func(a, b string) int { return len(b) - len(a) })
}
