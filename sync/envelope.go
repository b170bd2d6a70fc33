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

// envelope is the content of an answer's body. MoEngage's envelope is
//
//	{"status":…,"message":…,"request_id":…,"error":{"type":…,"message":…,"attribute":…,"request_id":…}}
//
// IP whitelisting puts a string in error, and the deletion endpoint has title and description instead. Proxies
// answer with lists, pages, text or nothing. The operator must see the message in any form.
type envelope struct {
	status, requestID string
	kind              string   // type of an error that is an object
	name              string   // an error that is a string
	messages          []string // all messages for people, in order
}

// text joins the messages.
func (e *envelope) text() string { return strings.Join(e.messages, ": ") }

// add appends a message unless it is a repeat.
func (e *envelope) add(message string) {
	if message = strings.Join(strings.Fields(message), " "); message != "" && !slices.Contains(e.messages, message) {
		e.messages = append(e.messages, message)
	}
}

// maxDepth limits the nesting of errors inside errors.
const maxDepth = 4

// parseEnvelope parses an answer's body. It accepts any form, but reports object only for a JSON object,
// because only that can be an answer of MoEngage.
func parseEnvelope(body []byte) (e envelope, object bool) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\uFEFF")))
	if !json.Valid(body) {
		e.add(pageText(body))
		return e, false
	}
	e.collect(body, 0)
	return e, body[0] == '{'
}

// collect adds the messages in JSON of any form.
func (e *envelope) collect(raw json.RawMessage, depth int) {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || depth == maxDepth {
		return
	}
	switch raw[0] {
	case '"':
		e.add(asText(raw))
	case '[':
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) == nil && len(list) > 0 {
			e.collect(list[0], depth+1)
		}
	case '{':
		e.object(raw, depth)
	}
}

func (e *envelope) object(raw json.RawMessage, depth int) {
	var o struct {
		Status, Type, Title, Error, Errors, Message, Description, Detail, Attribute json.RawMessage

		RequestID json.RawMessage `json:"request_id"`
	}
	if json.Unmarshal(raw, &o) != nil {
		return
	}
	if id := asText(o.RequestID); id != "" {
		e.requestID = id
	}
	if depth == 0 {
		e.status, e.name = asText(o.Status), asText(o.Error)
	} else if kind := asText(o.Type); e.kind == "" {
		e.kind = kind
	}
	e.add(asText(o.Type))
	e.add(asText(o.Title))
	e.collect(o.Error, depth+1)
	e.collect(o.Errors, depth+1)
	for _, words := range []json.RawMessage{o.Message, o.Description, o.Detail} {
		e.add(asText(words))
	}
	if name := asText(o.Attribute); name != "" {
		e.add("attribute " + name)
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

// withoutUsers returns a message without user ids: those of the request, in the forms in which they may be echoed,
// and every e-mail address. With values it also removes anything with a digit, which may be a user's value.
func withoutUsers(words string, users []string, values bool) string {
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
	names := func(word string) bool {
		return strings.Contains(word, "@") || strings.Contains(word, "%40") || values && strings.ContainsFunc(word, unicode.IsDigit)
	}
	list := strings.Fields(strings.NewReplacer(pairs...).Replace(words))
	for i, word := range list {
		if names(word) {
			list[i] = "…"
		}
	}
	return strings.Join(list, " ")
}

// sortedByLength returns the longest ids first, so that an id which begins with another is replaced as a whole.
func sortedByLength(users []string) []string {
	return slices.SortedFunc(slices.Values(users), func(a, b string) int { return len(b) - len(a) })
}
