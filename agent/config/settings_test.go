package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEffectiveHasTheOriginOfEveryValue(t *testing.T) {
	secret := writeFile(t, "secret", "a\nb\n")
	c := mustRead(t, lines(
		"[ingest]", `shared_secret_file = "`+secret+`"`,
		"[defaults]", `on_null = "empty"`,
		"[[computation]]", `key = "vip"`, `send = ["attribute", "event"]`),
		"PERSONASYNC_LOG_LEVEL=debug")

	byKey := map[string]Setting{}
	for _, s := range c.Effective() {
		if _, twice := byKey[s.Key]; twice {
			t.Errorf("%s is listed twice", s.Key)
		}
		byKey[s.Key] = s
	}
	for _, want := range []Setting{
		{Key: "data_dir", Value: `"/var/lib/personasync"`, Origin: "default"},
		{Key: "log.level", Value: `"debug"`, Origin: "env PERSONASYNC_LOG_LEVEL"},
		{Key: "ingest.shared_secret", Value: "(set, 2 values)", Origin: "file " + secret, Secret: true},
		{Key: "ingest.bearer_token", Value: "(not set)", Origin: "default", Secret: true},
		{Key: "ingest.max_body_bytes", Value: "8388608", Origin: "default"},
		{Key: "retention.delivered", Value: `"72h"`, Origin: "default"},
		{Key: "defaults.on_null", Value: `"empty"`, Origin: "agent.toml:4"},
		{Key: "defaults.forward_traits", Value: "[]", Origin: "default"},
		{Key: "computation.vip.key", Value: `"vip"`, Origin: "agent.toml:6"},
		{Key: "computation.vip.send", Value: `"both"`, Origin: "agent.toml:7"},
		{Key: "computation.vip.on_null", Value: `"empty"`, Origin: "agent.toml:4", Inherited: true},
		{Key: "computation.vip.collapse", Value: "true", Origin: "default", Inherited: true},
		{Key: "computation.vip.attribute", Value: `""`, Origin: "default"},
	} {
		if diff := cmp.Diff(want, byKey[want.Key]); diff != "" {
			t.Error(diff)
		}
	}
}
