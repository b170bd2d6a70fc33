package store

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"personasync/store/domain"
	"personasync/store/postgres/pgtest"
)

// TestAnAgentWithOtherRulesThanTheWriterSaysSo: at its start as a door, and when it takes over, with the computations that are
// treated differently. One with equal rules says nothing.
func TestAnAgentWithOtherRulesThanTheWriterSaysSo(t *testing.T) {
	onFiles(t)
	url := pgtest.URL(t)
	rules := func(attribute string) domain.Rules {
		return domain.Rules{Defaults: domain.Policy{Send: domain.SendAttribute}, Sections: []domain.Section{{Key: "vip", Policy: domain.Policy{Send: domain.SendAttribute, Attribute: attribute}}}}
	}
	open := func(h *Shared, log *bytes.Buffer) *Store {
		t.Helper()
		s, err := h.Open(t.Context(), t.TempDir(), Options{Log: slog.New(slog.NewTextHandler(log, nil))})
		must(t, err)
		return s
	}
	var before, equal, other bytes.Buffer
	writer := open(share(t, url), &before)
	must(t, writer.SetRules(t.Context(), rules("vip")))
	must(t, writer.Applied(t.Context()))

	same := open(share(t, url), &equal)
	must(t, same.SetRules(t.Context(), rules("vip")))
	must(t, same.Close())
	if strings.Contains(equal.String(), "rules") {
		t.Errorf("of equal rules: %s", &equal)
	}

	h := share(t, url)
	door := open(h, &other)
	must(t, door.SetRules(t.Context(), rules("vip_two")))
	if said := other.String(); !strings.Contains(said, "hold until this one takes over") || !strings.Contains(said, "computations=[vip]") {
		t.Errorf("a door: %s", said)
	}
	must(t, writer.Close())
	<-door.RoleEnded()
	must(t, door.Close())
	other.Reset()
	next := open(h, &other)
	defer next.Close()
	must(t, next.SetRules(t.Context(), rules("vip_two")))
	if said := other.String(); !strings.Contains(said, "hold from now on") || !strings.Contains(said, "computations=[vip]") {
		t.Errorf("the next writer: %s", said)
	}
}
