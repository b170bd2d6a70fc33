package ingest

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"personasync/agent/segment"
)

// # How Segment signs
//
// X-Signature is the hexadecimal HMAC-SHA1 of JSON.stringify(data) with the shared secret. For a single event these
// are the bytes of the body. Of an array only the first event is signed, as it is written in the array, or as the
// value of its json member if events are wrapped. Segment is preparing to sign the whole array (action-destinations,
// webhook and webhook-extensible, read in their source).
// So the elements after the first are not verified, unless the whole body matches or a token is checked.
//
// A signature contains no time. The store makes sure that a replayed request has no second effect.

// coverage is the part of a body that its credentials verify.
type coverage int

const (
	coversNothing coverage = iota
	coversFirst
	coversAll
)

// checkBeforeBody returns the answer to a webhook request that must be refused whatever its body is, or nil.
func (c *Config) checkBeforeBody(r *http.Request) *answer {
	if !c.AuthRequired && r.Header.Get("Origin") != "" { // without credentials nothing else stops a page in a browser on this machine
		a := refuse(http.StatusForbidden, "web_page", "With ingest.auth = off web pages may not post here.")
		return &a
	}
	if !c.AuthRequired {
		return nil
	}
	if len(c.SharedSecrets) == 0 && len(c.BearerTokens) == 0 {
		a := unavailable(CodeNoCredentials, "Neither ingest.shared_secret nor ingest.bearer_token is set, so credentials cannot be checked. Keep the events and retry.", time.Minute)
		return &a
	}
	if len(c.BearerTokens) > 0 && !c.bearer(r) {
		a := refuse(http.StatusUnauthorized, "invalid_token", "The Authorization header is missing or wrong. Compare it in Segment's webhook settings with ingest.bearer_token.")
		return &a
	}
	if len(c.SharedSecrets) > 0 && r.Header.Get("X-Signature") == "" {
		a := refuse(http.StatusUnauthorized, "missing_signature", "The request has no X-Signature. Set the shared secret in Segment's webhook settings.")
		return &a
	}
	return nil
}

// bearer checks the Authorization header. People enter it into Segment's settings with or without the word Bearer.
func (c *Config) bearer(r *http.Request) bool {
	header := r.Header.Get("Authorization")
	return oneOfSecrets(c.BearerTokens, header) || oneOfSecrets(c.BearerTokens, cutScheme(header, "Bearer"))
}

// cutScheme returns the header after an authorization scheme, or "" if it has another scheme.
func cutScheme(header, scheme string) string {
	got, rest, found := strings.Cut(header, " ")
	if !found || !strings.EqualFold(got, scheme) {
		return ""
	}
	return strings.TrimSpace(rest)
}

// oneOfSecrets reports whether given is one of the secrets. Its time depends neither on how much of a guess is
// right nor on which entry matches.
func oneOfSecrets(secrets []string, given string) bool {
	if given == "" {
		return false
	}
	sum := sha256.Sum256([]byte(given))
	found := 0
	for _, s := range secrets {
		want := sha256.Sum256([]byte(s))
		found |= subtle.ConstantTimeCompare(sum[:], want[:])
	}
	return found == 1
}

// covered returns the part of a webhook body that the request's credentials verify. The token was checked before. If
// the body is not JSON, items is nil and only the whole body can match.
func (c *Config) covered(r *http.Request, body []byte, items [][]byte, array bool) coverage {
	if !c.AuthRequired || len(c.SharedSecrets) == 0 {
		return coversAll
	}
	signature, err := hex.DecodeString(r.Header.Get("X-Signature"))
	if err != nil {
		return coversNothing
	}
	text := withoutMark(body) // a byte order mark may have been added before or after signing
	// The first event of an array comes first: it is what Segment signs, and it is short.
	first := array && len(items) > 0 && (c.signed(segment.FirstElement(text), signature) || c.signed(items[0], signature))
	switch {
	case first && len(c.BearerTokens) == 0:
		return coversFirst
	case first, c.signed(body, signature), len(text) < len(body) && c.signed(text, signature):
		return coversAll
	}
	return coversNothing
}

// signed checks all secrets, so that its time does not depend on which one matches.
func (c *Config) signed(text, signature []byte) bool {
	ok := false
	for _, secret := range c.SharedSecrets {
		mac := hmac.New(sha1.New, []byte(secret))
		mac.Write(text)
		ok = hmac.Equal(mac.Sum(nil), signature) || ok
	}
	return ok
}
