package condition

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"personasync/agent/ingest"
	"personasync/store/domain"
)

// The conditions of receiving.

const (
	// refusedLately is how long a refusal counts although deliveries are accepted again.
	refusedLately = 15 * time.Minute
	// refusedEver is how long it counts when nothing was accepted since.
	refusedEver = 7 * 24 * time.Hour
	// manyRefused is the share of deliveries, one in so many, beyond which refusals are no exception.
	manyRefused = 10
	// longDeferred is how long Segment may be kept waiting: it gives up after about four hours.
	longDeferred = time.Hour
)

// intakeRefused judges each route by itself: what one takes says nothing of another.
func (f *Facts) intakeRefused() (all *Condition) {
	for _, name := range ingest.Routes {
		c := f.routeRefused(name)
		switch {
		case c == nil:
			continue
		case all == nil:
			all = c
			continue
		case c.Severity == Critical:
			all.Severity = Critical
		}
		if all.Text += " " + c.Text; c.Lost == "" {
			all.Lost = "" // events are lost on one of the routes
		}
	}
	return all
}

func (f *Facts) routeRefused(name string) *Condition {
	var kinds []domain.Refusal
	var last time.Time
	for _, r := range f.Status.Refusals {
		if r.Route == name && r.Delivery && f.Now.Sub(r.Last) < refusedEver {
			if kinds = append(kinds, r); r.Last.After(last) {
				last = r.Last
			}
		}
	}
	route, accepted := f.route(name)
	healed := accepted.After(last)
	if len(kinds) == 0 || healed && f.Now.Sub(last) > refusedLately {
		return nil
	}
	slices.SortStableFunc(kinds, func(a, b domain.Refusal) int { return b.Last.Compare(a.Last) })
	severity, lost := warning, ""
	switch all := route.Lost + route.Accepted; {
	case route.Lost > 0 && route.Strangers == route.Lost: // nothing says that events are lost
		lost = "Perhaps nothing: none of the senders looks like Segment."
	case !healed, all > 0 && route.Lost*manyRefused >= all:
		severity = Critical
	}
	return condition(severity, domain.Timestamp(kinds[0].Last.Truncate(time.Second)), []string{"personasync tail --follow", "personasync config check"},
		"%s, the last %s, and Segment discards their events (%s). %s", refusedShare(&route, name), atText(last), kindsText(kinds), curesOf(kinds, &route)).within(lost, "", "")
}

// route is the recent traffic of a route, and when it last accepted a delivery. A wrong URL is healed once the right one
// accepts deliveries.
func (f *Facts) route(name string) (r ingest.IntakeRoute, accepted time.Time) {
	switch name {
	case ingest.RouteWebhook:
		accepted = f.LastReceived.Webhook
	case ingest.RouteTracking:
		accepted = f.LastReceived.Tracking
	default:
		accepted = f.LastReceived.Last()
	}
	if f.Status.Intake == nil {
		return r, accepted
	}
	for _, one := range f.Status.Intake.Routes {
		if one.Route == name {
			r = one
		}
		if (one.Route == name || name == ingest.RouteOther) && one.LastAccepted.After(accepted) {
			accepted = one.LastAccepted
		}
	}
	return r, accepted
}

func refusedShare(r *ingest.IntakeRoute, name string) string {
	where := map[string]string{ingest.RouteWebhook: ingest.PathWebhook, ingest.RouteTracking: "the Tracking API's routes", ingest.RouteOther: "paths that take no events"}[name]
	if r.Lost == 0 {
		return "Deliveries to " + where + " were refused for good"
	}
	if name == ingest.RouteOther {
		return fmt.Sprintf("%s to %s in the last hour %s refused for good", Quantity(r.Lost, "delivery"), where, were(r.Lost))
	}
	return fmt.Sprintf("%s of %s to %s in the last hour %s refused for good", thousands(r.Lost), Quantity(r.Lost+r.Accepted, "delivery"), where, were(r.Lost))
}

// kindsShown is how many kinds of refusals a condition names.
const kindsShown = 3

func kindsText(kinds []domain.Refusal) string {
	var parts []string
	for _, k := range kinds[:min(len(kinds), kindsShown)] {
		parts = append(parts, fmt.Sprintf("%d %s: %s so far", k.Status, k.Code, thousands(k.Count)))
	}
	return strings.Join(parts, ", ")
}

// curesOf says what to change for each of the refusals that are named. Where one thing cures several it is said once.
func curesOf(kinds []domain.Refusal, r *ingest.IntakeRoute) string {
	var cures []string
	for i := range kinds[:min(len(kinds), kindsShown)] {
		if cure := cureOf(&kinds[i]); !slices.Contains(cures, cure) {
			cures = append(cures, cure)
		}
	}
	if r.Lost > 0 && r.Strangers == r.Lost {
		cures = append(cures, "None of the senders looks like Segment: it may be a stranger, or a forwarder of yours.")
	}
	return strings.Join(cures, " ")
}

func cureOf(k *domain.Refusal) string {
	text := "The answer names their fault."
	switch {
	case k.Status == 404:
		text = "Set the URL in Segment to end in " + ingest.PathWebhook + "."
	case k.Status == 405:
		text = "Set the method in Segment to POST."
	case k.Status == 413:
		text = "Lower the batch size in Segment's settings, or raise ingest.max_body_bytes."
	case k.Code == "invalid_token":
		text = "Compare the Authorization header in Segment's settings with ingest.bearer_token."
	case k.Code == "invalid_write_key":
		text = "Compare the write key of the sender with ingest.write_keys."
	case k.Status == 401:
		text = "Compare the shared secret in Segment's settings with ingest.shared_secret; a batch needs ingest.bearer_token."
	}
	return text
}

// enoughEvents are no accident when all of them are ignored.
const enoughEvents = 10

func (f *Facts) intakeIgnored() *Condition {
	e, in := &f.Status.Events, f.Status.Intake
	hour := in != nil && in.WebhookEvents >= enoughEvents && (in.WebhookOrdinary == in.WebhookEvents || in.Settled >= enoughEvents && in.Ignored == in.Settled)
	ever := e.Accepted > 0 && e.Ignored == e.Accepted
	turned := in != nil && in.OrdinaryRun >= enoughEvents && in.OrdinaryRun == in.WebhookOrdinary // before that none was
	if !hour && !ever && !turned {
		return ignoredAmongOthers(in)
	}
	severity, much := Critical, "All "+Quantity(e.Accepted, "event")+" received so far were ignored"
	switch {
	case hour:
		much = "All " + Quantity(in.WebhookEvents, "event") + " that came to " + ingest.PathWebhook + " in the last hour were ignored"
		if in.WebhookOrdinary < in.WebhookEvents {
			return condition(severity, "", []string{"personasync tail", "personasync config show"},
				"%s. %s of them name no computation; the others have no userId, and `anonymous` or `email_only` of the configuration ignores such, or are about users who were erased. Map userId in Segment.", much, thousands(in.WebhookOrdinary))
		}
	case !ever:
		severity, much = warning, "The last "+Quantity(in.OrdinaryRun, "event")+" that came to "+ingest.PathWebhook+" were ignored, and none before them in the last hour"
	case e.Accepted < enoughEvents:
		severity = warning
		if e.Accepted == 1 {
			much = "The only event received so far was ignored"
		}
	}
	missing := "they name no computation"
	if in != nil && in.WebhookOrdinary > 0 {
		if missing = "their context.personas has neither class, id nor key"; in.NoPersonas == in.WebhookOrdinary {
			missing = "they have no context.personas"
		}
	}
	return condition(severity, "", []string{"personasync tail"},
		"%s: %s, so nothing says which audience they are about, and no membership changes. Map the whole event ($.) in Segment, and send audiences of Engage to this destination.", much, missing)
}

// ignoredAmongOthers holds where one audience's mapping is broken beside healthy ones: what names no computation
// looks like an audience's all the same.
func ignoredAmongOthers(in *ingest.Intake) *Condition {
	if in == nil || in.Alike == 0 {
		return nil
	}
	like := "bear a name that Segment gives the events of audiences"
	if in.AlikeKey != "" {
		like = "have true or false at the key of an audience, such as " + in.AlikeKey
	}
	return condition(warning, "", []string{"personasync tail", "personasync audience list"},
		"%s of %s that came to %s in the last hour name no computation and were ignored, and at least %s of them %s. One destination or mapping in Segment may be broken: map the whole event ($.) there.",
		thousands(in.WebhookOrdinary), Quantity(in.WebhookEvents, "event"), ingest.PathWebhook, thousands(in.Alike), like)
}

func (f *Facts) intakeDeferred() *Condition {
	in := f.Status.Intake
	if in == nil || !f.Status.Ready {
		return nil // not_ready says why
	}
	for _, r := range in.Routes {
		if r.DeferredFrom.IsZero() || f.Now.Sub(r.LastDeferred) > refusedLately {
			continue
		}
		severity := warning
		if f.Now.Sub(r.DeferredFrom) > longDeferred {
			severity = Critical
		}
		cure := "The log says why."
		if r.DeferredCode == ingest.CodeNoCredentials {
			cure = map[string]string{ingest.RouteWebhook: "Set ingest.shared_secret or ingest.bearer_token.", ingest.RouteTracking: "Set ingest.write_keys."}[r.Route]
		}
		return condition(severity, domain.Timestamp(r.DeferredFrom.Truncate(time.Second)), []string{"personasync config check"},
			"Deliveries to the %s route are answered with 5xx (%s) since %s: %s in the last hour. Segment sends them again for about four hours, then it discards them. %s",
			r.Route, r.DeferredCode, at(r.DeferredFrom), thousands(r.Deferred), cure)
	}
	return nil
}

func (f *Facts) noEventYet() *Condition {
	if !f.running() || f.Status.Received > 0 || f.Status.Events.Accepted > 0 || f.intakeRefused() != nil || f.intakeDeferred() != nil {
		return nil // they say what becomes of what reaches it
	}
	return condition(warning, domain.Timestamp(f.Process.Started.Truncate(time.Second)), []string{"personasync tail --follow"},
		"No event was ever received, so nothing says that Segment reaches this agent. Connect it to %s, and send a test event from Segment.%s", ingest.PathWebhook, f.unread(time.Time{}))
}

// unreadCauses says what is set up wrong when requests were refused before their path was read.
var unreadCauses = map[string]string{
	domain.CodeHTTPSToHTTP:     "came by HTTPS, and ingest.listen speaks HTTP: set ingest.tls_cert and ingest.tls_key, or have a proxy in front speak HTTP to it",
	domain.CodeHTTPToHTTPS:     "came by HTTP, and ingest.listen speaks HTTPS: the URL must begin with https://",
	domain.CodeHeadersTooLarge: "had headers of more than 16 KiB: have the proxy in front add less",
}

// unread says what came after a time, and lately, that could not be read. It follows a sentence about silence.
func (f *Facts) unread(after time.Time) (text string) {
	for _, r := range f.Status.Refusals {
		if cause := unreadCauses[r.Code]; r.Route == domain.RouteUnread && cause != "" && r.Last.After(after) && f.Now.Sub(r.Last) < refusedEver {
			text += fmt.Sprintf(" Requests came that could not be read: %d so far %s (%s, the last at %s).", r.Count, cause, r.Code, at(r.Last))
		}
	}
	return text
}

func (f *Facts) nothingReceived() *Condition {
	received := f.Status.LastReceived
	if !f.running() || received == nil || f.Status.Unapplied > 0 {
		return nil
	}
	limit := silentAfter
	if usual := f.Process.UsualSilence; usual > 0 {
		limit = min(limit, max(minSilence, silences*usual))
	}
	silence := f.Now.Sub(*received)
	if silence < limit {
		return nil
	}
	text := "it sends something at least once a day"
	if limit < silentAfter {
		text = "in the day before, no pause was longer than " + ForPeople(f.Process.UsualSilence)
	}
	return condition(warning, domain.Timestamp(received.Truncate(time.Second)), []string{"personasync tail --follow"},
		"Segment has sent nothing since %s (%s), and %s. Look in Segment's Event Delivery whether its requests reach this agent.%s", at(*received), ForPeople(silence), text, f.unread(*received))
}

const (
	// minSilence and silences are when a silence is longer than usual.
	minSilence = time.Hour
	silences   = 4
)

func (f *Facts) computationSilent() *Condition {
	var keys []string
	for _, s := range f.Status.Staleness {
		if s.Silent {
			keys = append(keys, s.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return condition(info, "", []string{"personasync audience list"},
		"No event of %s for more than two days, while Segment sends others. Look in Segment whether it is still computed, and connected to this destination.", some(keys))
}
