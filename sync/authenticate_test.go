package syncer

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"personasync/sync/sandbox"
)

func TestCredentialsAreTestedWithoutSendingAnything(t *testing.T) {
	m := sandbox.New(sandbox.Options{WorkspaceID: "WS", APIKey: "s3cret-key"})
	server := httptest.NewServer(m)
	defer server.Close()
	c := Config{BaseURL: server.URL, WorkspaceID: "WS", APIKey: "s3cret-key", Timeout: 5 * time.Second}
	at, err := Authenticate(t.Context(), c)
	if err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("%v, %v", at, err)
	}
	c.APIKey = "wr0ng-key"
	_, err = Authenticate(t.Context(), c)
	refused := (*ReadError)(nil)
	if !errors.As(err, &refused) || refused.Code != "http_401" || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("wrong key: %v", err)
	}
	server.Close()
	if _, err = Authenticate(t.Context(), c); !errors.As(err, &refused) || refused.Code != codeUnreachable {
		t.Errorf("nobody there: %v", err)
	}
	unviolated(t, m)
}
