package notify

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config has the receivers, and when they are told. The zero Config tells nobody.
type Config struct {
	URL        string   // "": no POST
	Headers    []string // each "Name: value"
	Format     string   // see Formats
	RoutingKey string   // of PagerDuty

	Command []string // nil: no command

	After time.Duration // how long a condition must last, and be over, before it is told

	HeartbeatURL   string // "": no heartbeat
	HeartbeatEvery time.Duration
	HeartbeatLag   time.Duration // no heartbeat while a change is overdue by this

	Shared  bool   // several agents share the store, in PostgreSQL
	Host    string // as messages name this machine
	Version string
}

// configured reports whether anything is to be done.
func (c *Config) configured() bool {
	return c.URL != "" || len(c.Command) > 0 || c.HeartbeatURL != ""
}

// secrets are the texts that no error may repeat, the whole ones before their parts. A receiver may repeat the path alone of
// its address, or the token alone of a header.
func (c *Config) secrets() []string {
	list := append([]string{c.URL, c.HeartbeatURL, c.RoutingKey}, headerValues(c.Headers)...)
	for _, value := range headerValues(c.Headers) {
		list = append(list, longer(strings.Fields(value))...)
	}
	for _, address := range []string{c.URL, c.HeartbeatURL} {
		list = append(list, longer(secretParts(address))...)
	}
	return list
}

// secretParts are the parts of an address without its host, as they are written and as they are meant.
func secretParts(address string) (parts []string) {
	u, err := url.Parse(address)
	if err != nil {
		return nil
	}
	written := u.User.String() + u.RequestURI()
	meant, _ := url.QueryUnescape(written)
	parts = []string{u.RequestURI(), u.EscapedPath(), u.Path}
	for _, form := range []string{written, meant} {
		parts = append(parts, strings.FieldsFunc(form, func(r rune) bool { return strings.ContainsRune("/?&=:", r) })...)
	}
	return parts
}

// longer leaves out the parts that are words, such as "Bearer" and "hooks": an error without its words says nothing.
func longer(parts []string) []string {
	return slices.DeleteFunc(parts, func(part string) bool { return len(part) <= 8 })
}
