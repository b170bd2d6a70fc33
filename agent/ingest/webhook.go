package ingest

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	"personasync/agent/segment"
	"personasync/store/domain"
)

// webhook accepts a delivery of a Segment webhook destination: one event or an array.
func (h *Handler) webhook(r *request, c *Config, _ domain.Call) answer {
	received, latest, ahead := h.Clock.receipt()
	if bad := c.checkBeforeBody(r.Request); bad != nil {
		return *bad
	}
	body, err := readBody(r, c.MaxBodyBytes)
	if err != nil {
		return unreadableBody(err, webhookTooLarge(c.MaxBodyBytes))
	}
	items, array, err := segment.Split(withoutMark(body))
	covered := c.covered(r.Request, body, items, array)
	if covered == coversNothing {
		return refuse(http.StatusUnauthorized, "invalid_signature", cmp.Or(spoilt(body), "The X-Signature does not match this body. Compare the shared secret in Segment's webhook settings with ingest.shared_secret, and let no proxy change the body."))
	}
	if err != nil {
		return notEvents(body, err, http.StatusRequestEntityTooLarge)
	}
	if !r.memory.take(int64(len(items)*eventCost + len(body))) {
		return crowded
	}
	trace := traceOf(r.Header)
	events := make([]*domain.Event, len(items))
	for i, item := range items {
		events[i] = segment.Read(item, segment.Reading{
			Route:    segment.RouteWebhook,
			Received: received,
			Latest:   latest,
			Ahead:    ahead,
			Verified: covered == coversAll || i == 0,
			CheckID:  c.CheckID,
			Position: i,
			Trace:    trace,
			OddTime:  h.oddTime,
		})
	}
	a := h.take(r.Context(), events)
	if a.status == http.StatusOK {
		if c.AsksConsent {
			events = slices.DeleteFunc(events, (*domain.Event).IsConsentUpdate)
		}
		h.intake.webhook(events, received)
	}
	return a
}

func webhookTooLarge(limit int64) answer {
	return refuse(http.StatusRequestEntityTooLarge, "body_too_large", fmt.Sprintf("The body has more than %d bytes. Lower the batch size in Segment's webhook settings, or raise ingest.max_body_bytes.", limit))
}

// traceOf returns the trace that a delivery is part of, nil when it names none, or several.
func traceOf(h http.Header) *domain.Trace {
	if named := h["Traceparent"]; len(named) == 1 {
		return domain.ParseTrace(named[0])
	}
	return nil
}
