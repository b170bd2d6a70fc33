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

// These routes implement Segment's HTTP Tracking API as far as an unmodified SDK needs it when only its host is
// changed. The limits are Segment's: 32 KB for an event, 500 KB for a batch. Ruby's SDK fills 512,000 bytes, so a
// batch may have 512 KiB, and an eighth more for its envelope.
const (
	maxTrackingCall  = segment.MaxEventBytes
	maxTrackingBatch = 512<<10 + 64<<10
)

var (
	callTooLarge  = refuse(http.StatusBadRequest, segment.FaultEventTooLarge, fmt.Sprintf("The event has more than %d bytes, the most that one may have. Send less in it.", maxTrackingCall))
	batchTooLarge = refuse(http.StatusBadRequest, "batch_too_large", fmt.Sprintf("The batch has more than %d bytes. Send fewer events at a time.", maxTrackingBatch))
	badWriteKey   = refuse(http.StatusUnauthorized, "invalid_write_key", "The write key is missing or wrong. Give the SDK one of ingest.write_keys.")
)

// trackingCall accepts one event. An event that Segment's API would refuse is refused with a code. An event that
// only this agent cannot use is accepted, and parked.
func (h *Handler) trackingCall(r *request, c *Config, call domain.Call) answer {
	received, latest, ahead := h.Clock.receipt()
	if bad := c.checkWriteKeys(); bad != nil {
		return *bad
	}
	body, err := readBody(r, maxTrackingCall)
	if err != nil {
		return unreadableBody(err, callTooLarge)
	}
	body = withoutMark(body)
	key, err := segment.WriteKey(body)
	if err != nil {
		return notEvents(body, err, http.StatusBadRequest)
	}
	if !c.mayWrite(r.Request, key) {
		return badWriteKey
	}
	e := segment.Read(body, segment.Reading{Route: segment.RouteTracking, Received: received, Latest: latest, Ahead: ahead, CheckID: c.CheckID, Call: call, Trace: traceOf(r.Header), OddTime: h.oddTime})
	if segment.Refuses(e.Fault) {
		return refuse(http.StatusBadRequest, e.Fault, e.Sentence)
	}
	return h.take(r.Context(), []*domain.Event{e})
}

// trackingBatch accepts a whole batch. Items that Segment's API would refuse are parked, because refusing the
// request would lose the others.
func (h *Handler) trackingBatch(r *request, c *Config, _ domain.Call) answer {
	received, latest, ahead := h.Clock.receipt()
	if bad := c.checkWriteKeys(); bad != nil {
		return *bad
	}
	body, err := readBody(r, maxTrackingBatch)
	if err != nil {
		return unreadableBody(err, batchTooLarge)
	}
	body = withoutMark(body)
	batch, err := segment.ParseBatch(body)
	if err != nil {
		return notEvents(body, err, http.StatusBadRequest)
	}
	if !c.mayWrite(r.Request, batch.WriteKey) {
		return badWriteKey
	}
	size := 0
	for _, item := range batch.Items {
		size += eventCost + 2*len(item.Raw) // a merged item is a copy, and the event keeps another one
	}
	if !r.memory.take(int64(size)) {
		return crowded
	}
	how := segment.Reading{Route: segment.RouteTracking, Received: received, Latest: latest, Ahead: ahead, CheckID: c.CheckID, Trace: traceOf(r.Header), OddTime: h.oddTime}
	how.SentAt, how.SentAtUnreadable = batch.SentAt(how.OddTime)
	events := make([]*domain.Event, len(batch.Items))
	for i, item := range batch.Items {
		how.Position, how.Size = i, item.Size
		events[i] = segment.Read(item.Raw, how)
	}
	return h.take(r.Context(), events)
}

// trackingMetrics accepts the metrics that Analytics.js sends about itself, and drops them.
func (h *Handler) trackingMetrics(*request, *Config, domain.Call) answer { return taken }

// checkWriteKeys returns a 503 if no key is configured, because SDKs then keep their events.
func (c *Config) checkWriteKeys() *answer {
	if !c.AuthRequired || len(c.WriteKeys) > 0 {
		return nil
	}
	a := unavailable(CodeNoCredentials, "No ingest.write_keys are set, so credentials cannot be checked. Keep the events and retry.", time.Minute)
	return &a
}

// mayWrite accepts a write key as the user name of Basic authorization, or in the body. An OAuth token
// (Authorization: Bearer) cannot be checked here. The write key that Segment requires with it can.
func (c *Config) mayWrite(r *http.Request, inBody string) bool {
	return !c.AuthRequired || oneOfSecrets(c.WriteKeys, inBody) || oneOfSecrets(c.WriteKeys, basicUser(r))
}

// basicUser returns the user of Basic authorization. Old SDKs leave out the colon after it, and some leave out the
// padding of base64, so http.Request.BasicAuth cannot be used.
func basicUser(r *http.Request) string {
	encoded := strings.TrimRight(cutScheme(r.Header.Get("Authorization"), "Basic"), "=")
	decoded, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return ""
	}
	user, _, _ := strings.Cut(string(decoded), ":")
	return user
}

// allowOrigin lets pages of any origin post. Analytics.js needs it, and a write key is public in a browser. A
// preflight may name any header, because deliveryStrategy.config.headers of Analytics.js can add any, and a refused
// preflight loses every event. Credentials are allowed for its setting credentials = "include". They give no
// access, because no cookie is read.
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

// usualHeaders are the headers of SDKs, for a preflight that names none.
const usualHeaders = "authorization, content-type, content-encoding, x-retry-count"
