package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"personasync/store/domain"
)

func TestEnvironmentOverridesEveryType(t *testing.T) {
	c := mustRead(t, lines(`data_dir = "/a"`, "[moengage]", "concurrency = 2", "[defaults]", "collapse = true"),
		"PERSONASYNC_DATA_DIR=/b",
		"PERSONASYNC_DATA_DIR=/c", // the last one counts
		"PERSONASYNC_ADMIN_LISTEN=",
		"PERSONASYNC_MOENGAGE_CONCURRENCY=8",
		"PERSONASYNC_INGEST_MAX_BODY_BYTES=1048576",
		"PERSONASYNC_MOENGAGE_TIMEOUT=5s",
		"PERSONASYNC_DEFAULTS_COLLAPSE=false",
		"PERSONASYNC_DEFAULTS_SEND=attribute, event",
		"PERSONASYNC_DEFAULTS_FORWARD_TRAITS=plan,city",
		"PERSONASYNC_INGEST_WRITE_KEYS=one, two",
		"PERSONASYNC_CONFIG=/elsewhere.toml",
		"NOT_OURS=1", "no pair")
	want := Default()
	want.Path = "agent.toml"
	want.DataDir = "/c"
	want.Admin.Listen = ""
	want.MoEngage.Concurrency = 8
	want.Ingest.MaxBodyBytes = 1 << 20
	want.MoEngage.Timeout = lasting(5 * time.Second)
	want.Defaults.Collapse = false
	want.Defaults.Send = domain.SendBoth
	want.Defaults.ForwardTraits = []string{"plan", "city"}
	want.Ingest.WriteKeys = Secret{"one", "two"}
	if diff := cmp.Diff(want, c, ignoreOrigins); diff != "" {
		t.Error(diff)
	}
}

func TestBadVariablesAreFaultsThatNameThem(t *testing.T) {
	got := faultsOf(t, "",
		"PERSONASYNC_LOG_LEVEL=",
		"PERSONASYNC_MOENGAGE_CONCURRENCY=0x4",
		"PERSONASYNC_MOENGAGE_TIMEOUT=soon",
		"PERSONASYNC_DEFAULTS_COLLAPSE=1",
		"PERSONASYNC_INGEST_WRITE_KEYS=hunter2,,",
		"PERSONASYNC_SCHEDULE_TIMEZONE=Nowhere",
		"PERSONASYNC_GUARD_EXIT_SHARE=30")
	want := []string{
		`env PERSONASYNC_LOG_LEVEL: log.level = "": must be debug, info, warn or error`,
		`env PERSONASYNC_INGEST_WRITE_KEYS: ingest.write_keys = (hidden): has an empty value in the list`,
		`env PERSONASYNC_MOENGAGE_TIMEOUT: moengage.timeout = "soon": must be a duration like "30s", "15m" or "72h" (a day is 24h)`,
		`env PERSONASYNC_MOENGAGE_CONCURRENCY: moengage.concurrency = "0x4": must be a whole number`,
		`env PERSONASYNC_DEFAULTS_COLLAPSE: defaults.collapse = "1": must be true or false, without quotes`,
		`env PERSONASYNC_GUARD_EXIT_SHARE: guard.exit_share = "30": must be from 0 to 1: write 30 % as 0.3`,
		`env PERSONASYNC_SCHEDULE_TIMEZONE: schedule.timezone = "Nowhere": is not a known time zone: write a name like "Europe/Berlin", or "UTC"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownVariablesOnlyWarn(t *testing.T) {
	c := mustRead(t, complete, "PERSONASYNC_INGEST_LISTN=x", "PERSONASYNC_SOMETHING_ELSE=1", "PERSONASYNC_CONFIG=x")
	want := []string{
		"environment variable PERSONASYNC_INGEST_LISTN is not known: did you mean PERSONASYNC_INGEST_LISTEN?",
		"environment variable PERSONASYNC_SOMETHING_ELSE is not known",
	}
	if diff := cmp.Diff(want, c.Warnings()); diff != "" {
		t.Error(diff)
	}
}
