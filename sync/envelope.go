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

// said is the content of an answer's body. MoEngage's envelope is
//
//	{"status":…,"message":…,"request_id":…,"error":{"type":…,"message":…,"attribute":…,"request_id":…}}
//
// IP whitelisting puts a string in error, and the deletion endpoint has title and description instead. Proxies
// answer with lists, pages, text or nothing. The operator must see the message in any form.
type said struct {
	status, requestID string
	kind              string   // type of an error that is an object
	name              string   // an error that is a string
	words             []string // all messages for people, in order
}

// text joins the messages.
func (s *said) text() string { return strings.Join(s.words, ": ") }

// say adds a message unless it is a repeat.
func (s *said) say(words string) {
	if words = strings.Join(strings.Fields(words), " "); words != "" && !slices.Contains(s.words, words) {
		s.words = append(s.words, words)
	}
}

// deepest limits the nesting of errors inside errors.
const deepest = 4

// parseEnvelope parses an answer's body. It accepts any form, but reports object only for a JSON object,
// because only that can be an answer of MoEngage.
func parseEnvelope(body []byte) (s said, object bool) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\uFEFF")))
	if !json.Valid(body) {
		s.say(pageText(body))
		return s, false
	}
	s.hear(body, 0)
	return s, body[0] == '{'
}

// hear collects the messages in JSON of any form.
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

// asText returns the text of a JSON string, or "" for any other JSON.
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

// pageText returns the title of a page, or else its text. Other content is returned unchanged.
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

// anonymous returns the message without user ids: those of the request, in the forms in which they may be
// echoed, and every e-mail address. If the answer judges the data, it also removes anything with a digit, which
// may be a user's value.
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

// sortedByLength returns the longest ids first, so that an id which begins with another is replaced as a whole.
func sortedByLength(users []string) []string {
	return slices.SortedFunc(slices.Values(users), func(a, b string) int { return len(b) - len(a) })
}
