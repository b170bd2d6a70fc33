package ingest

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"personasync/agent/segment"
	"personasync/store/domain"
)

// Segment's HTTP Tracking API, so far that an unmodified SDK works with only its host changed. Limits
// are Segment's: 32 KB an event, 500 KB a batch. Ruby's SDK fills 512,000 bytes, so batches get 512 KiB,
// and an eighth more for the envelope.
const (
	maxTrackingCall  = segment.MaxEventBytes
	maxTrackingBatch = 512<<10 + 64<<10
)

var (
	callTooLarge  = refuse(http.StatusBadRequest, segment.FaultEventTooLarge, fmt.Sprintf("The event has more than %d bytes, the most that one may have. Send less in it.", maxTrackingCall))
	batchTooLarge = refuse(http.StatusBadRequest, "batch_too_large", fmt.Sprintf("The batch has more than %d bytes. Send fewer events at a time.", maxTrackingBatch))
	badWriteKey   = refuse(http.StatusUnauthorized, "invalid_write_key", "The write key is missing or wrong. Give the SDK one of ingest.write_keys.")
)

// trackingCall takes one event. What Segment's API refuses is refused with a code; what only we cannot
// use is taken, and parked.
func (d *Handler) trackingCall(k *knock, c *Config, call domain.Call) answer {
	received, latest, ahead := d.Clock.receipt()
	if bad := c.checkWriteKeys(); bad != nil {
		return *bad
	}
	body, err := readBody(k, maxTrackingCall)
	if err != nil {
		return unreadableBody(err, callTooLarge)
	}
	body = withoutMark(body)
	key, err := segment.WriteKey(body)
	if err != nil {
		return notEvents(err, http.StatusBadRequest)
	}
	if !c.mayWrite(k.Request, key) {
		return badWriteKey
	}
	e := segment.Read(body, segment.Reading{Route: segment.RouteTracking, Received: received, Latest: latest, Ahead: ahead, CheckID: c.CheckID, Call: call, OddTime: d.oddTime})
	if segment.Refuses(e.Fault) {
		return refuse(http.StatusBadRequest, e.Fault, e.Sentence)
	}
	return d.take(k.Context(), []*domain.Event{e})
}

// trackingBatch takes a batch whole: items that Segment's API would refuse are parked, because a refusal
// would lose the others.
func (d *Handler) trackingBatch(k *knock, c *Config, _ domain.Call) answer {
	received, latest, ahead := d.Clock.receipt()
	if bad := c.checkWriteKeys(); bad != nil {
		return *bad
	}
	body, err := readBody(k, maxTrackingBatch)
	if err != nil {
		return unreadableBody(err, batchTooLarge)
	}
	body = withoutMark(body)
	batch, err := segment.ParseBatch(body)
	if err != nil {
		return notEvents(err, http.StatusBadRequest)
	}
	if !c.mayWrite(k.Request, batch.WriteKey) {
		return badWriteKey
	}
	size := 0
	for _, item := range batch.Items {
		size += eventCost + 2*len(item.Raw) // its own memory when the batch's context was merged into it, and its copy
	}
	if !k.claim.take(int64(size)) {
		return crowded
	}
	how := segment.Reading{Route: segment.RouteTracking, Received: received, Latest: latest, Ahead: ahead, CheckID: c.CheckID, OddTime: d.oddTime}
	how.SentAt, how.SentAtUnreadable = batch.SentAt(how.OddTime)
	events := make([]*domain.Event, len(batch.Items))
	for i, item := range batch.Items {
		how.Position, how.Size = i, item.Size
		events[i] = segment.Read(item.Raw, how)
	}
	return d.take(k.Context(), events)
}

// trackingMetrics takes what Analytics.js measures about itself, and drops it.
func (d *Handler) trackingMetrics(*knock, *Config, domain.Call) answer { return taken }

// checkWriteKeys answers 503 while no key is configured: SDKs keep their events for that.
func (c *Config) checkWriteKeys() *answer {
	if !c.AuthRequired || len(c.WriteKeys) > 0 {
		return nil
	}
	a := unwell(CodeNoCredentials, "No ingest.write_keys are set here, so nothing can be checked. The sender keeps its events.", time.Minute)
	return &a
}

// mayWrite accepts a write key as user name of Basic authorization or in the body. An OAuth token
// (Authorization: Bearer) cannot be checked here; the write key that Segment wants beside it can.
func (c *Config) mayWrite(r *http.Request, inBody string) bool {
	return !c.AuthRequired || oneOfSecrets(c.WriteKeys, inBody) || oneOfSecrets(c.WriteKeys, basicUser(r))
}

// basicUser is the user of Basic authorization. Old SDKs leave out the colon behind it, and some the
// padding of base64, so http.Request.BasicAuth will not do.
func basicUser(r *http.Request) string {
	encoded := strings.TrimRight(cutScheme(r.Header.Get("Authorization"), "Basic"), "=")
	decoded, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return ""
	}
	user, _, _ := strings.Cut(string(decoded), ":")
	return user
}

// allowOrigin lets pages of any origin post: Analytics.js in a browser needs it, and a write key is public
// there. A preflight may name any header, because deliveryStrategy.config.headers of Analytics.js adds what
// its user likes, and a refused one loses every event. Credentials are allowed for its setting
// credentials = "include"; they open nothing, because no cookie is looked at.
func allowOrigin(h http.Header, r *http.Request) {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	if r.Method != http.MethodOptions {
		h.Set("Access-Control-Expose-Headers", "Retry-After")
		return
	}
	h.Add("Vary", "Access-Control-Request-Headers")
	h.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
	h.Set("Access-Control-Allow-Headers", cmp.Or(strings.Join(r.Header.Values("Access-Control-Request-Headers"), ","), usualHeaders))
	h.Set("Access-Control-Max-Age", "86400")
}

// usualHeaders are what SDKs send when a preflight does not say.
const usualHeaders = "authorization, content-type, content-encoding, x-retry-count"
