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

// How Segment signs
//
// X-Signature is the hexadecimal HMAC-SHA1, under the shared secret, of JSON.stringify(data): of a single
// event these are the bytes of the body. Of an array today only the first event is signed, as it stands
// in the array, or as the value of its json member when events are wrapped. Signing the whole array is
// under way at Segment (action-destinations, webhook and webhook-extensible, from their source).
// So the elements behind the first are nobody's word, unless the whole body or a token is checked.
//
// There is no time in a signature. That a recorded request has no second effect is the store's doing.

// coverage is how much of a body its credentials vouch for.
type coverage int

const (
	coversNothing coverage = iota
	coversFirst
	coversAll
)

// checkBeforeBody refuses a webhook request that no body could save.
func (c *Config) checkBeforeBody(r *http.Request) *answer {
	if !c.AuthRequired && r.Header.Get("Origin") != "" { // nothing else keeps out a page that any browser here has open
		a := refuse(http.StatusForbidden, "web_page", "With ingest.auth = off web pages may not post here.")
		return &a
	}
	if !c.AuthRequired {
		return nil
	}
	if len(c.SharedSecrets) == 0 && len(c.BearerTokens) == 0 {
		a := unwell(CodeNoCredentials, "Neither ingest.shared_secret nor ingest.bearer_token is set here, so nothing can be checked. The sender keeps its events.", time.Minute)
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

// bearer checks the Authorization header, which people enter into Segment's settings with the word
// Bearer or without.
func (c *Config) bearer(r *http.Request) bool {
	header := r.Header.Get("Authorization")
	return oneOfSecrets(c.BearerTokens, header) || oneOfSecrets(c.BearerTokens, cutScheme(header, "Bearer"))
}

// cutScheme returns what follows an authorization scheme, "" when it is another one.
func cutScheme(header, scheme string) string {
	got, rest, found := strings.Cut(header, " ")
	if !found || !strings.EqualFold(got, scheme) {
		return ""
	}
	return strings.TrimSpace(rest)
}

// oneOfSecrets compares in time that does not depend on how far a guess is right, nor on which entry it is.
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

// covered says how much of a webhook body the request's credentials vouch for; the token has been
// checked. The items are nil when the body is not JSON: then only the whole can match.
func (c *Config) covered(r *http.Request, body []byte, items [][]byte, array bool) coverage {
	if !c.AuthRequired || len(c.SharedSecrets) == 0 {
		return coversAll
	}
	signature, err := hex.DecodeString(r.Header.Get("X-Signature"))
	if err != nil {
		return coversNothing
	}
	text := withoutMark(body) // who put a mark before it did so before signing, or after
	if c.signed(body, signature) || len(text) < len(body) && c.signed(text, signature) {
		return coversAll
	}
	if !array || len(items) == 0 || !c.signed(segment.FirstElement(text), signature) && !c.signed(items[0], signature) {
		return coversNothing
	}
	if len(c.BearerTokens) > 0 {
		return coversAll
	}
	return coversFirst
}

func (c *Config) signed(text, signature []byte) bool {
	ok := false
	for _, secret := range c.SharedSecrets {
		mac := hmac.New(sha1.New, []byte(secret))
		mac.Write(text)
		ok = hmac.Equal(mac.Sum(nil), signature) || ok
	}
	return ok
}
