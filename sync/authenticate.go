package syncer

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// Authenticate tests credentials at MoEngage's endpoint for that, which changes nothing. It returns the time of
// MoEngage's clock, or zero if the answer has none. The error is a *ReadError if MoEngage refuses the
// credentials or cannot be reached.
func Authenticate(ctx context.Context, c Config) (theirs time.Time, err error) {
	c = c.withDefaults()
	if c.Transport == nil {
		t := newTransport()
		defer t.CloseIdleConnections()
		c.Transport = t
	}
	body, err := json.Marshal(map[string]string{"app_id": c.WorkspaceID, "app_secret": c.APIKey, "source": userAgent, "region": c.Region})
	if err != nil {
		return theirs, err
	}
	client := newClient(c, dated{c.Transport, &theirs})
	client.url = strings.TrimRight(c.BaseURL, "/") + "/v1/integrations/authentication"
	if a := client.post(ctx, body); a.act != actTake {
		return theirs, &ReadError{a.Code, a.public(nil)}
	}
	return theirs, nil
}

// dated is a transport that records the Date of an answer.
type dated struct {
	http.RoundTripper
	at *time.Time
}

// RoundTrip implements http.RoundTripper.
func (d dated) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.RoundTripper.RoundTrip(r)
	if err == nil {
		*d.at, _ = http.ParseTime(resp.Header.Get("Date"))
	}
	return resp, err
}
