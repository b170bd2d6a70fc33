//go:build linux

// Package load has the events that a measurement posts, and the client that posts them.
package load

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// Secret signs every body. The agent is configured with it.
const Secret = "a-shared-secret-of-the-usual-length"

// Placeholders in the sample, each as long as its replacement.
const (
	markUser     = "UUUUUUUUUUUUUUUU"
	markMessage  = "MMMMMMMMMMMMMMMM"
	markAudience = "AAA"
	markSign     = "SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS"
)

// Sample is the identify call of an Engage audience as Segment sends it: 1.1 KB with the usual context.
const Sample = `{"anonymousId":null,"channel":"server","context":{"integration":{"name":"Engage","version":"1.0.0"},` +
	`"integrations":{"personas":false},"ip":"203.0.113.44","library":{"name":"unknown","version":"unknown"},"locale":"en-GB",` +
	`"personas":{"computation_class":"audience","computation_id":"aud_2bIXzfWru4zCBz3N14fvoj3c` + markAudience + `",` +
	`"computation_key":"high_value_shoppers_` + markAudience + `","namespace":"spa_7Qm2cXwT9LrVb4KdYh3NzE",` +
	`"space_id":"spa_7Qm2cXwT9LrVb4KdYh3NzE"},"timezone":"Europe/London",` +
	`"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36"},` +
	`"integrations":{"All":false,"Webhooks (Actions)":true,"Warehouses":{"all":false}},` +
	`"messageId":"personas_2DGdYrXrV8d` + markMessage + `","originalTimestamp":"2026-03-14T09:26:53.589734167Z",` +
	`"projectId":"4kQ9vNcU2mXw7RzTb8LsYe","receivedAt":"2026-03-14T09:26:55.039Z","sentAt":null,"timestamp":"2026-03-14T09:26:53.589Z",` +
	`"traits":{"high_value_shoppers_` + markAudience + `":true,"email":"` + markUser + `@example.com"},` +
	`"type":"identify","userId":"usr_` + markUser + `","version":2,"writeKey":"REDACTED"}`

// EventBytes is the length of every event.
const EventBytes = len(Sample)

// patch locates the placeholders in the sample.
type patch struct{ user, message, audience []int }

var samplePatch = patch{
	user:     marks(Sample, markUser),
	message:  marks(Sample, markMessage),
	audience: marks(Sample, markAudience),
}

func marks(text, mark string) (at []int) {
	for from := 0; ; {
		i := strings.Index(text[from:], mark)
		if i < 0 {
			return at
		}
		at = append(at, from+i)
		from += i + len(mark)
	}
}

// UserID returns the id of the user with this scattered number.
func UserID(scattered uint64) string { return fmt.Sprintf("usr_%016x", scattered) }

// Scatter is a bijection that removes the order of user numbers: the finishing step of splitmix64.
func Scatter(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Events is an endless series of distinct events. Event n is user n mod span entering an audience that they
// never entered before, so every event of a run is a transition.
type Events struct {
	span       uint64     // number of users
	signatures [][20]byte // of the first events, computed in advance
	mac        hash.Hash
}

// Unlimited is a span in which no user repeats.
const Unlimited = 1 << 40

// NewEvents returns events over span users; 0 means Unlimited.
func NewEvents(span uint64) *Events {
	if span == 0 {
		span = Unlimited
	}
	return &Events{span: span, mac: hmac.New(sha1.New, []byte(Secret))}
}

// Write turns body, a copy of the sample, into event n.
func (e *Events) Write(body []byte, n uint64) {
	user := Scatter(n % e.span)
	for _, at := range samplePatch.user {
		putHex(body[at:at+16], user)
	}
	for _, at := range samplePatch.message {
		putHex(body[at:at+16], n)
	}
	audience := n / e.span
	for _, at := range samplePatch.audience {
		body[at], body[at+1], body[at+2] = '0'+byte(audience/100%10), '0'+byte(audience/10%10), '0'+byte(audience%10)
	}
}

func putHex(to []byte, v uint64) {
	const digits = "0123456789abcdef"
	for i := range to {
		to[i] = digits[v>>(60-4*i)&15]
	}
}

// Prepare signs the events before number upTo in advance.
func (e *Events) Prepare(upTo uint64) {
	body := []byte(Sample)
	for n := uint64(len(e.signatures)); n < upTo; n++ {
		e.Write(body, n)
		e.signatures = append(e.signatures, e.sum(body))
	}
}

func (e *Events) sum(body []byte) (s [20]byte) {
	e.mac.Reset()
	e.mac.Write(body)
	e.mac.Sum(s[:0])
	return s
}

// Request is one HTTP request with a number of events. It is built once and patched for each use.
type Request struct {
	bytes     []byte
	Signature []byte   // 40 hexadecimal digits within bytes
	Bodies    [][]byte // the events within bytes
}

// NewRequest returns a POST of count events: an object for one, otherwise an array.
func NewRequest(host string, count int) *Request {
	items := make([]string, count)
	for i := range items {
		items[i] = Sample
	}
	body := items[0]
	if count > 1 {
		body = "[" + strings.Join(items, ",") + "]"
	}
	head := "POST /segment/webhook HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: Segment.io/2.0\r\nContent-Type: application/json\r\n" +
		"X-Signature: " + markSign + fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", len(body))
	r := &Request{bytes: []byte(head + body)}
	at := strings.Index(head, markSign)
	r.Signature = r.bytes[at : at+len(markSign)]
	at = len(head)
	if count > 1 {
		at++
	}
	for range items {
		r.Bodies = append(r.Bodies, r.bytes[at:at+EventBytes])
		at += EventBytes + 1
	}
	return r
}

// Fill makes r the POST of events from number n on. As Segment does today, an array has the signature of its
// first event.
func (r *Request) Fill(e *Events, n uint64) {
	for i, body := range r.Bodies {
		e.Write(body, n+uint64(i))
	}
	var s [20]byte
	if n < uint64(len(e.signatures)) {
		s = e.signatures[n]
	} else {
		s = e.sum(r.Bodies[0])
	}
	hex.Encode(r.Signature, s[:])
}
