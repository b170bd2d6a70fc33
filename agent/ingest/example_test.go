package ingest_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"

	"personasync/agent/ingest"
	"personasync/store/domain"
)

// memory is an inbox in memory.
type memory struct{ users []string }

func (m *memory) Append(_ context.Context, events ...*domain.Event) error {
	for _, e := range events {
		m.users = append(m.users, e.User.ID)
	}
	return nil
}

func (m *memory) CountRefusal(domain.Refusal) {}

// Segment signs a webhook's body with the shared secret. A delivery without that signature is refused, and no part of
// it is stored.
func ExampleHandler() {
	inbox := &memory{}
	handler := ingest.New(ingest.Config{SharedSecrets: []string{"s3cret"}, AuthRequired: true}, inbox, slog.New(slog.DiscardHandler))

	body := `{"type":"identify","userId":"ann","traits":{"plan":"gold"}}`
	for _, secret := range []string{"s3cret", "guessed", ""} {
		request := httptest.NewRequest("POST", "/segment/webhook", strings.NewReader(body))
		if secret != "" {
			signature := hmac.New(sha1.New, []byte(secret))
			signature.Write([]byte(body))
			request.Header.Set("X-Signature", hex.EncodeToString(signature.Sum(nil)))
		}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		fmt.Println(answer.Code, inbox.users)
	}
	// Output:
	// 200 [ann]
	// 401 [ann]
	// 401 [ann]
}
