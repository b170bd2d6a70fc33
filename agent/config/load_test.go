package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"personasync/agent/config/internal/field"
	"personasync/agent/config/internal/valid"
	"personasync/store/domain"
)

func TestFaultsNameKeyValueLineAndRemedy(t *testing.T) {
	tests := []struct {
		name string
		doc  string
		want []string
	}{
		{"unknown key with a near one", lines("[ingest]", `lisen = "x"`),
			[]string{`agent.toml:2: ingest.lisen: there is no such key: did you mean listen?`}},
		{"unknown key like no other", lines("[log]", `colour = true`),
			[]string{`agent.toml:2: log.colour: there is no such key`}},
		{"key of another section", lines("[log]", `timezone = "UTC"`),
			[]string{`agent.toml:2: log.timezone: there is no such key: did you mean schedule.timezone?`}},
		{"key that belongs into one of two sections", lines(`listen = "x"`),
			[]string{`agent.toml:1: listen: there is no such key: did you mean ingest.listen or admin.listen?`}},
		{"unknown section, once for all of its keys", lines("[moengaeg]", "timeout = 3", `x = "y"`),
			[]string{`agent.toml:1: [moengaeg]: there is no such section: did you mean [moengage]?`}},
		{"unknown section below a section", lines("[log.file]", `path = "x"`),
			[]string{`agent.toml:1: [log.file]: there is no such section`}},
		{"dotted key of an unknown section", lines(`logs.level = "info"`, `logs.format = "text"`),
			[]string{`agent.toml:1: [logs]: there is no such section: did you mean [log]?`}},
		{"section where a key is", lines("[data_dir]", "x = 1"),
			[]string{`agent.toml:1: [data_dir]: is a key, not a section`}},
		{"key where a section is", lines("log = 3"),
			[]string{`agent.toml:1: log: is a section: write [log], and its keys below`}},
		{"computations as something else", lines("computation = [1]"),
			[]string{`agent.toml:1: computation: must be written as sections, [[computation]] with its keys below`}},
		{"quoted key that only looks like another", lines(`"log.level" = "info"`, `"\u001b[31m" = 1`),
			[]string{`agent.toml:1: "log.level": there is no such key`, `agent.toml:2: "\x1b[31m": there is no such key`}},
		{"section as an array", lines("[[log]]", `level = "info"`, "[[log]]", `level = "warn"`),
			[]string{`agent.toml:1: [log]: must be written [log]: there is only one`}},
		{"table inside a key", lines("[log]", `level = { name = "info" }`),
			[]string{`agent.toml:2: [log.level]: is a key, not a section`}},
		{"word not on the list", lines("[log]", `level = "loud"`),
			[]string{`agent.toml:2: log.level = "loud": must be debug, info, warn or error`}},
		{"word in an inline table", lines(`log = { format = "xml" }`),
			[]string{`agent.toml:1: log.format = "xml": must be auto, tint, text or json`}},
		{"number for text", lines("data_dir = 7"),
			[]string{`agent.toml:1: data_dir = 7: must be text in double quotes`}},
		{"date for text", lines("data_dir = 2026-01-01"),
			[]string{`agent.toml:1: data_dir = 2026-01-01: must be text in double quotes`}},
		{"text for a number", lines("[moengage]", `concurrency = "4"`),
			[]string{`agent.toml:2: moengage.concurrency = "4": must be a whole number, without quotes`}},
		{"fraction for a number", lines("[moengage]", `concurrency = 1.5`),
			[]string{`agent.toml:2: moengage.concurrency = 1.5: must be a whole number, without quotes`}},
		{"number out of range", lines("[moengage]", "concurrency = 0", "users_per_minute = -1", "max_request_bytes = 1_000_000"),
			[]string{
				`agent.toml:2: moengage.concurrency = 0: must be from 1 to 64`,
				`agent.toml:3: moengage.users_per_minute = -1: must be 1 or more`,
				`agent.toml:4: moengage.max_request_bytes = 1_000_000: must be from 1000 to 131072`,
			}},
		{"text for a switch", lines("[admin]", `show_users = "yes"`),
			[]string{`agent.toml:2: admin.show_users = "yes": must be true or false, without quotes`}},
		{"number for a duration", lines("[moengage]", "timeout = 30"),
			[]string{`agent.toml:2: moengage.timeout = 30: must be a duration in double quotes, like "30s", "15m" or "72h"`}},
		{"days", lines("[retention]", `parked = "30d"`),
			[]string{`agent.toml:2: retention.parked = "30d": must be a duration like "30s", "15m" or "72h" (a day is 24h)`}},
		{"negative duration", lines("[retention]", `parked = "-1h"`),
			[]string{`agent.toml:2: retention.parked = "-1h": must not be negative`}},
		{"no time to answer", lines("[moengage]", `timeout = "0s"`),
			[]string{`agent.toml:2: moengage.timeout = "0s": must be from 1ms to 45s`}},
		{"a timeout longer than a stop may wait", lines("[moengage]", `timeout = "46s"`),
			[]string{`agent.toml:2: moengage.timeout = "46s": must be from 1ms to 45s`}},
		{"an address with a zone for X-Forwarded-For", lines("[moengage]", `forwarded_for = "fe80::1%eth0"`),
			[]string{`agent.toml:2: moengage.forwarded_for = "fe80::1%eth0": must be the one address that MoEngage sees this host under, like "203.0.113.7", or "" to send none`}},
		{"two addresses for X-Forwarded-For", lines("[moengage]", `forwarded_for = "203.0.113.7, 10.0.0.1"`),
			[]string{`agent.toml:2: moengage.forwarded_for = "203.0.113.7, 10.0.0.1": must be the one address that MoEngage sees this host under, like "203.0.113.7", or "" to send none`}},
		{"backoff upside down", lines("[retry]", `min_backoff = "1m"`, `max_backoff = "30s"`),
			[]string{`agent.toml:3: retry.max_backoff = "30s": must not be shorter than retry.min_backoff, which is 1m`}},
		{"unknown data center", lines("[moengage]", `data_center = "07"`),
			[]string{`agent.toml:2: moengage.data_center = "07": must be 01, 02, 03, 04, 05, 06 or 101`}},
		{"data center as a number", lines("[moengage]", `data_center = 1`),
			[]string{`agent.toml:2: moengage.data_center = 1: must be text in double quotes`}},
		{"base URL of another kind", lines("[moengage]", `base_url = "ftp://x"`),
			[]string{`agent.toml:2: moengage.base_url = "ftp://x": must be a URL like "https://api-01.moengage.com" or "http://127.0.0.1:8490"`}},
		{"base URL with a password, which is not shown", lines("[moengage]", `base_url = "https://ws:pw@x"`),
			[]string{`agent.toml:2: moengage.base_url: must not hold a user or password: they go to moengage.workspace_id and moengage.api_key`}},
		{"the dashboard in the place of the API", lines("[moengage]", `base_url = "https://dashboard-02.moengage.com/"`),
			[]string{`agent.toml:2: moengage.base_url = "https://dashboard-02.moengage.com/": is not the address of MoEngage's API: write "https://api-02.moengage.com"`}},
		{"another page of MoEngage", lines("[moengage]", `base_url = "https://app.moengage.com"`),
			[]string{`agent.toml:2: moengage.base_url = "https://app.moengage.com": is not the address of MoEngage's API: write "https://api-01.moengage.com"`}},
		{"a secret with a space", lines("[ingest]", `shared_secret = "marked secret"`, `write_keys = ["fine", "two words"]`),
			[]string{
				`agent.toml:2: ingest.shared_secret: has a space or a control character in it, which no secret has: copy it again, without a word such as Bearer`,
				`agent.toml:3: ingest.write_keys: line 2 has a space or a control character in it, which no secret has: copy it again, without a word such as Bearer`}},
		{"base URL with a query", lines("[moengage]", `base_url = "https://x/?a=1"`),
			[]string{`agent.toml:2: moengage.base_url = "https://x/?a=1": must end before any ? or #`}},
		{"workspace id that is none", lines("[moengage]", `workspace_id = "a/b"`),
			[]string{`agent.toml:2: moengage.workspace_id = "a/b": has a character that no workspace id has: copy it from MoEngage: Settings, Account, APIs`}},
		{"unknown zone", lines("[schedule]", `timezone = "Mars/Olympus"`),
			[]string{`agent.toml:2: schedule.timezone = "Mars/Olympus": is not a known time zone: write a name like "Europe/Berlin", or "UTC"`}},
		{"no port", lines("[ingest]", `listen = "127.0.0.1"`),
			[]string{`agent.toml:2: ingest.listen = "127.0.0.1": must be host:port, like "127.0.0.1:8480"`}},
		{"port out of range", lines("[admin]", `listen = "127.0.0.1:99999"`),
			[]string{`agent.toml:2: admin.listen = "127.0.0.1:99999": "99999" is not a port: must be a number from 0 to 65535; "" turns the status page off`}},
		{"one address for both", lines("[admin]", `listen = "127.0.0.1:8480"`),
			[]string{`agent.toml:2: admin.listen = "127.0.0.1:8480": is the address of ingest.listen: choose another port`}},
		{"one address for both, by its name", lines("[admin]", `listen = "localhost:8480"`),
			[]string{`agent.toml:2: admin.listen = "localhost:8480": is the address of ingest.listen: choose another port`}},
		{"every address for one of the two", lines("[admin]", `listen = ":8480"`),
			[]string{`agent.toml:2: admin.listen = ":8480": is the address of ingest.listen: choose another port`}},
		{"one socket for both", lines(`data_dir = "/srv/p"`, "[ingest]", `listen = "unix:/srv/p/sockets/../admin.sock"`),
			[]string{`agent.toml:3: ingest.listen = "unix:/srv/p/sockets/../admin.sock": is the socket of the commands (admin.socket): choose another path`}},
		{"open to the network", lines("[ingest]", `listen = "0.0.0.0:8480"`),
			[]string{`agent.toml:2: ingest.listen = "0.0.0.0:8480": is reachable from other machines: set ingest.tls_cert and ingest.tls_key, or ingest.behind_proxy = true if a proxy provides TLS for it`}},
		{"open to the network, without credentials", lines("[ingest]", `listen = ":8480"`, `auth = "off"`, "behind_proxy = true"),
			[]string{`agent.toml:3: ingest.auth = "off": is allowed on a loopback address only, and ingest.listen is ":8480": anyone could post events`}},
		{"unix without a path", lines("[ingest]", `listen = "unix:"`),
			[]string{`agent.toml:2: ingest.listen = "unix:": must name a socket, like "unix:/run/personasync/ingest.sock"`}},
		{"socket with a path too long for one", lines("[admin]", `socket = "/`+strings.Repeat("x", 107)+`"`),
			[]string{`agent.toml:2: admin.socket = "/` + strings.Repeat("x", 107) + `": the path of a socket may have 107 bytes, this one has 108: choose a shorter one`}},
		{"host that is none", lines("[admin]", `listen = "http://127.0.0.1:80"`),
			[]string{`agent.toml:2: admin.listen = "http://127.0.0.1:80": must be host:port, like "127.0.0.1:8480"; "" turns the status page off`}},
		{"bad schedule", lines("[schedule]", `cron = "soon"`),
			[]string{`agent.toml:2: schedule.cron = "soon": ` + scheduleFault(t, "soon")}},
		{"list of another type", lines("[defaults]", `forward_traits = "plan"`),
			[]string{`agent.toml:2: defaults.forward_traits = "plan": must be a list of texts, like ["one", "two"]`}},
		{"certificate without a key", lines("[ingest]", `tls_cert = "/x.pem"`),
			[]string{`agent.toml:2: ingest.tls_cert = "/x.pem": also needs ingest.tls_key`}},
		{"key without a certificate", lines("[ingest]", `tls_key = "/x.pem"`),
			[]string{`agent.toml:2: ingest.tls_key = "/x.pem": also needs ingest.tls_cert`}},
		{"certificate that is not there", lines("[ingest]", `tls_cert = "/nowhere/x.pem"`, `tls_key = "/nowhere/y.pem"`),
			[]string{`agent.toml:2: ingest.tls_cert = "/nowhere/x.pem": cannot be read: no such file or directory`}},
		{"no data directory", lines(`data_dir = ""`),
			[]string{`agent.toml:1: data_dir = "": must name a folder`}},

		{"unknown word", lines("[defaults]", `send = "all"`),
			[]string{`agent.toml:2: defaults.send = "all": "all" is not known: must be as_received, both, attribute, event, cohort, list or none`}},
		{"contradicting words", lines("[defaults]", `send = ["as_received", "event"]`),
			[]string{`agent.toml:2: defaults.send = ["as_received", "event"]: "as_received" already decides between attribute and event by what Segment sent: leave it out, or leave out attribute, event and both`}},
		{"nothing and something", lines("[defaults]", `send = ["none", "event"]`),
			[]string{`agent.toml:2: defaults.send = ["none", "event"]: "none" stands alone`}},
		{"no word", lines("[defaults]", `send = []`),
			[]string{`agent.toml:2: defaults.send = []: must have at least one word, or be "none"`}},
		{"words of another type", lines("[defaults]", `send = ["event", 1]`),
			[]string{`agent.toml:2: defaults.send = ["event", 1]: must be a word in double quotes, or a list of words, like ["attribute", "event"]`}},
		{"empty event name", lines("[defaults]", `enter_event = " "`),
			[]string{`agent.toml:2: defaults.enter_event = " ": must not be empty: choose another name`}},
		{"event name that MoEngage blocks", lines("[defaults]", `exit_event = "MOE_left"`),
			[]string{`agent.toml:2: defaults.exit_event = "MOE_left": MoEngage blocks names that begin with moe_: choose another name`}},
		{"event name that would be cut", lines("[defaults]", `trait_event = "`+strings.Repeat("é", 201)+`"`),
			[]string{`agent.toml:2: defaults.trait_event = "` + strings.Repeat("é", 59) + `…: MoEngage keeps 200 characters of a name, and this one has 201: choose another name`}},
		{"event called id", lines("[defaults]", `trait_event = "_id"`),
			[]string{`agent.toml:2: defaults.trait_event = "_id": "_id" is reserved by MoEngage: choose another name`}},
		{"all traits and one", lines("[defaults]", `forward_traits = ["*", "plan"]`),
			[]string{`agent.toml:2: defaults.forward_traits = ["*", "plan"]: "*" means all traits and stands alone`}},
		{"reserved trait", lines("[defaults]", `forward_traits = ["plan", "status"]`),
			[]string{`agent.toml:2: defaults.forward_traits = ["plan", "status"]: "status" cannot be an attribute: "status" is reserved by MoEngage`}},

		{"cohort that MoEngage refuses", lines("[[computation]]", `key = "vip"`, `cohort_name = ".High: value?"`),
			[]string{`agent.toml:3: computation.vip.cohort_name = ".High: value?": MoEngage refuses it as a cohort's name, which has none of |*?\:<>=$", no period at its beginning and no blank around it: write "High_ value_"`}},
		{"key that names a cohort", lines("[[computation]]", `key = "a|b"`, `send = "cohort"`),
			[]string{`agent.toml:2: computation."a|b".key = "a|b": names the cohort too, and MoEngage refuses it as a cohort's name, which has none of |*?\:<>=$", no period at its beginning and no blank around it: write "a_b" as cohort_name`}},
		{"one cohort of two", lines("[defaults]", `send = "cohort"`, "[[computation]]", `key = "a"`, `cohort_name = "b"`, "[[computation]]", `key = "b"`),
			[]string{`agent.toml:7: computation.b.key = "b": changes the cohort "b", and so does computation.a: give one of them another cohort_name`}},
		{"list that is an attribute", lines("[defaults]", `send = ["attribute", "list"]`, "[[computation]]", `key = "segment_audiences"`),
			[]string{`computation.segment_audiences.attribute = "": writes the attribute "segment_audiences", which holds a list of audiences (list_attribute): give it another attribute`}},
		{"list that MoEngage reserves", lines("[defaults]", `list_attribute = "status"`),
			[]string{`agent.toml:2: defaults.list_attribute = "status": "status" is reserved by MoEngage: choose another name`}},

		{"verification", lines("[verify]", `schedule = "TZ=UTC 0 4 * * *"`, "sample = 0"),
			[]string{
				`agent.toml:2: verify.schedule = "TZ=UTC 0 4 * * *": the time zone does not belong in the spec; set the schedule's timezone instead`,
				`agent.toml:3: verify.sample = 0: must be from 1 to 1000000`,
			}},
		{"a history that is gone before anybody asks", lines("[history]", `keep = "1h"`), []string{`agent.toml:2: history.keep = "1h": must be "0s", for no history, or 24h or more`}},
		{"exits forgotten before their redeliveries have come", lines("[retention]", `ex_members = "1h"`),
			[]string{`agent.toml:2: retention.ex_members = "1h": must be "0s", for ever, or 24h or more: late deliveries are recognised by it`}},

		{"a share that is none", lines("[guard]", "exit_share = 30", "exit_count = 0", `window = "1ms"`),
			[]string{
				`agent.toml:2: guard.exit_share = 30: must be from 0 to 1: write 30 % as 0.3`,
				`agent.toml:3: guard.exit_count = 0: must be 1 or more`,
				`agent.toml:4: guard.window = "1ms": must be 1s or more`,
			}},
		{"a share in quotes", lines("[guard]", `exit_share = "0.3"`),
			[]string{`agent.toml:2: guard.exit_share = "0.3": must be a number like 0.3, without quotes`}},

		{"a limit of nothing", lines("[retention]", "max_data_bytes = 1000000"),
			[]string{`agent.toml:2: retention.max_data_bytes = 1000000: must be 0, for no limit, or 67108864 (64 MiB) or more: the files grow in steps of 16 MiB`}},

		{"computation without a name", lines("[[computation]]", `send = "none"`),
			[]string{`agent.toml:1: [[computation]]: names no computation: add key = "…" or id = "…"`}},
		{"computation in single brackets", lines("[computation]", `key = "vip"`),
			[]string{`agent.toml:1: [computation]: must be written [[computation]], with key = "…" or id = "…" below it: there may be several`}},
		{"computation as a section's name", lines("[computation.vip]", `send = "none"`),
			[]string{`agent.toml:1: [computation.vip]: must be written [[computation]], with key = "…" or id = "…" below it: there may be several`}},
		{"computation twice", lines("[[computation]]", `key = "vip"`, "[[computation]]", `key = "vip"`),
			[]string{`agent.toml:3: [[computation]]: vip has a section already, at line 1: merge the two sections`}},
		{"faults inside a section", lines("[[computation]]", "key = 1", `snd = "none"`, `schedule = "soon"`, "[computation.more]", "x = 1", "[computation.on_null]"),
			[]string{
				`agent.toml:2: computation[1].key = 1: must be text in double quotes`,
				`agent.toml:3: computation[1].snd: there is no such key: did you mean send?`,
				`agent.toml:4: computation[1].schedule = "soon": ` + scheduleFault(t, "soon"),
				`agent.toml:5: computation[1].more: there is no such key`,
				`agent.toml:7: computation[1].on_null: is a key, not a section`,
			}},
		{"two computations, one attribute", lines("[[computation]]", `key = "vip"`, "[[computation]]", `id = "aud_1"`, `attribute = "vip"`),
			[]string{`agent.toml:5: computation.aud_1.attribute = "vip": writes the attribute "vip", and so does computation.vip: give one of them another attribute`}},
		{"one key in two spaces, one attribute", lines("[[computation]]", `key = "vip"`, `id = "aud_1"`, "[[computation]]", `key = "vip"`, `id = "aud_2"`),
			[]string{`agent.toml:5: computation.aud_2.key = "vip": writes the attribute "vip", and so does computation.aud_1: give one of them another attribute`}},
		{"two whose attributes become one", lines("[[computation]]", `key = "Status"`, "[[computation]]", `key = "segment_Status"`),
			[]string{`agent.toml:4: computation.segment_Status.key = "segment_Status": writes the attribute "segment_Status", and so does computation.Status: give one of them another attribute`}},
		{"reserved attribute", lines("[[computation]]", `key = "vip"`, `attribute = "user_id"`),
			[]string{`agent.toml:3: computation.vip.attribute = "user_id": "user_id" is reserved by MoEngage: choose another name`}},
		{"key that cannot be an attribute", lines("[[computation]]", `key = "status"`),
			[]string{`agent.toml:2: computation.status.key = "status": names the attribute too, and "status" is reserved by MoEngage: set attribute to another name`}},
		{"attribute given as nothing", lines("[[computation]]", `key = "vip"`, `attribute = ""`),
			[]string{`agent.toml:3: computation.vip.attribute = "": must not be empty: choose another name`}},
		{"name of a job of the agent", lines("[[computation]]", `key = "retry"`, `schedule = "@daily"`),
			[]string{`agent.toml:3: computation.retry.schedule = "@daily": a computation of this name cannot have its own schedule: the agent has a job with this name`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, faultsOf(t, tt.doc)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// scheduleFault returns the scheduler's error for a spec.
func scheduleFault(t *testing.T, spec string) string {
	t.Helper()
	err := valid.CronSpec(spec, time.UTC)
	if err == nil {
		t.Fatalf("%q is a schedule", spec)
	}
	return err.Error()
}

func TestSyntaxFaultShowsTheLine(t *testing.T) {
	tests := []struct{ name, doc, want string }{
		{"text without quotes", "[log]\n\tlevel = debug\n",
			"agent.toml:2:10: unexpected character U+0064 'd' at start of value\n    \tlevel = debug\n    \t        ^"},
		{"key twice", "data_dir = \"a\"\ndata_dir = \"b\"\n",
			"agent.toml:2:1: key data_dir is already defined: leave one of the two lines\n    data_dir = \"b\"\n    ^"},
		{"section twice", "[log]\nlevel = \"info\"\n[log]\n",
			"agent.toml:3:2: table log already exists: move what stands below it to the section of that name above\n    [log]\n     ^"},
		{"header of a section", "[log.file\nlevel = \"info\"\n",
			"agent.toml:1:10: expected ']' to close table name\n    [log.file\n             ^"},
		{"section not closed", "[log\nlevel = \"info\"\n",
			"agent.toml:1:5: expected ']' to close table name\n    [log\n        ^"},
		{"secret without an end, hidden", "[ingest]\nshared_secret = \"hunter2\n",
			"agent.toml:2:25: basic strings cannot have new lines\n    shared_secret …"},
		{"secret under a wrong name, hidden", "[ingest]\nshared_sekret = \"hunter2\n",
			"agent.toml:2:25: basic strings cannot have new lines\n    shared_sekret …"},
		{"secret on a line of its own, hidden", "[ingest]\nwrite_keys = [\n  \"hunter2\n]\n",
			"agent.toml:3:11: basic strings cannot have new lines\n    …"},
		{"secret that looks like a number, hidden", "[moengage]\napi_key = 1e999999\n",
			"agent.toml:2:11: unable to parse float\n    api_key …"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff([]string{tt.want}, faultsOf(t, tt.doc)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAllFaultsComeTogether(t *testing.T) {
	_, err := readDoc(lines("[log]", `level = "loud"`, "[retry]", "max_attempts = -1"), "PERSONASYNC_ADMIN_SHOW_USERS=maybe")
	want := `agent.toml: 3 faults
  agent.toml:2: log.level = "loud": must be debug, info, warn or error
  agent.toml:4: retry.max_attempts = -1: must be 0 or more
  env PERSONASYNC_ADMIN_SHOW_USERS: admin.show_users = "maybe": must be true or false, without quotes`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	var faults *Faults
	if !errors.As(err, &faults) || faults.All[0].Line != 2 || faults.All[0].Key != "log.level" || faults.All[0].Value != `"loud"` {
		t.Errorf("the fault has other fields: %+v", faults)
	}
}

func TestEveryFormOfTOMLMeansTheSame(t *testing.T) {
	want := mustRead(t, lines("[log]", `level = "warn"`, "[[computation]]", `key = "a"`, "[[computation]]", `key = "b"`, `send = "none"`))
	for name, doc := range map[string]string{
		"dotted":            lines(`log.level = "warn"`, `computation = [{ key = "a" }, { key = "b", send = "none" }]`),
		"inline":            lines(`log = { level = "warn" }`, "[[computation]]", `key = 'a'`, "[[computation]]", `"key" = "b"`, `send = ["none"]`),
		"after a byte mark": "\ufeff" + lines(`log.level = "warn"`, "[[computation]]", `key = "a"`, "[[computation]]", `key = "b"`, `send = "none"`),
		"windows lines":     strings.ReplaceAll(lines("[log]", `level = "warn"`, "[[computation]]", `key = "a"`, "[[computation]]", `key = "b"`, `send = "none"`), "\n", "\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, mustRead(t, doc), ignoreOrigins); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestComputationInheritsFromDefaultsWhereverTheyStand(t *testing.T) {
	c := mustRead(t, lines(
		"[[computation]]", `key = "vip"`, `send = "both"`, `schedule = "0 3 * * *"`, `attribute = "is_vip"`, "guard = false",
		"[guard]", "exit_share = 0.25",
		"[[computation]]", `id = "aud_1"`,
		"[defaults]", `on_null = "empty"`, `anonymous = "use_anonymous_id"`, `forward_traits = ["plan"]`, `send = "event"`),
		"PERSONASYNC_DEFAULTS_MAX_EVENT_AGE=1h")

	defaults := domain.Policy{
		Send: domain.SendEvent, Anonymous: domain.IdentityUse, EmailOnly: domain.IdentityPark, OnNull: domain.NullEmpty,
		ForwardTraits: []string{"plan"}, ListAttribute: "segment_audiences", MaxEventAge: time.Hour,
		EnterEvent: "Audience Entered", ExitEvent: "Audience Exited", TraitEvent: "Trait Computed", Collapse: true,
	}
	vip := defaults
	vip.Send, vip.Attribute, vip.Job, vip.Unguarded = domain.SendBoth, "is_vip", "vip", true
	want := domain.Rules{
		Defaults:   defaults,
		Sections:   []domain.Section{{Key: "vip", Policy: vip}, {ID: "aud_1", Policy: defaults}},
		OnDelete:   "forget",
		Guard:      domain.Guard{Share: 0.25, Count: 1000, Window: time.Hour},
		MessageIDs: 48 * time.Hour,
		Journal:    true,
	}
	if diff := cmp.Diff(want, c.Rules()); diff != "" {
		t.Error(diff)
	}
}

func TestMoEngagesUpdatableAttributesMayBeNamed(t *testing.T) {
	c := mustRead(t, lines("[defaults]", `forward_traits = ["moe_sms_subscription", "moe_em_unsub_categories"]`, `list_attribute = "moe_em_unsub_categories"`,
		"[[computation]]", `key = "opted_out"`, `attribute = "moe_unsubscribe"`))
	r := c.Rules()
	if p := r.For("opted_out", ""); p.Attribute != "moe_unsubscribe" || len(p.ForwardTraits) != 2 {
		t.Errorf("%+v", p)
	}
}

func TestSendWordsCombine(t *testing.T) {
	for doc, want := range map[string]domain.SendMethods{
		`"as_received"`:          domain.SendAsReceived,
		`"both"`:                 domain.SendBoth,
		`["attribute", "event"]`: domain.SendBoth,
		`["both", "event"]`:      domain.SendBoth,
		`"none"`:                 domain.SendNone,
		`["attribute"]`:          domain.SendAttribute,
	} {
		if got := mustRead(t, "[defaults]\nsend = "+doc).Defaults.Send; got != want {
			t.Errorf("send = %s is %v, want %v", doc, got, want)
		}
	}
}

func TestRelativePathsBeginAtTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "agent.toml")
	doc := lines(`data_dir = "data"`, "[ingest]", `listen = "unix:in.sock"`, "[admin]", `socket = "/run/x.sock"`)
	if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, name := range []string{path, "agent.toml"} {
		c, err := Load(name, []string{"PERSONASYNC_DATA_DIR=other"})
		if err != nil {
			t.Fatal(err)
		}
		got := []string{c.DataDir, c.Ingest.Listen, c.Admin.Socket}
		want := []string{filepath.Join(dir, "other"), "unix:" + filepath.Join(dir, "in.sock"), "/run/x.sock"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Load(%q): %s", name, diff)
		}
	}
}

func TestAByteOrderMarkBeforeTheConfigurationIsIgnored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.toml")
	if err := os.WriteFile(path, []byte("\ufeffdata_dir = \"/data\"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, nil)
	if err != nil || c.DataDir != "/data" {
		t.Fatalf("%+v, %v", c, err)
	}
}

func TestLoadWithoutAFileIsDefaultsAndEnvironment(t *testing.T) {
	c, err := Load("", []string{"PERSONASYNC_LOG_LEVEL=debug"})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Log.Level = "debug"
	if diff := cmp.Diff(want, c, ignoreOrigins); diff != "" {
		t.Error(diff)
	}
}

func TestFileThatCannotBeReadIsNoFault(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "none.toml"), dir} {
		_, err := Load(path, nil)
		if _, isFaults := err.(*Faults); err == nil || isFaults {
			t.Errorf("Load(%s): %v", path, err)
		}
		if strings.Count(err.Error(), path) != 1 {
			t.Errorf("the message should name the file once: %v", err)
		}
	}
}

func TestFindReturnsTheFirstExistingFile(t *testing.T) {
	here, etc := t.TempDir(), t.TempDir()
	t.Chdir(here)
	defer func(old string) { systemFile = old }(systemFile)
	systemFile = filepath.Join(etc, "agent.toml")
	env := map[string]string{}
	getenv := func(name string) string { return env[name] }
	touch := func(path string) string {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	expect := func(flag, want string) {
		t.Helper()
		if got, err := Find(flag, getenv); err != nil || got != want {
			t.Errorf("Find(%q) = %q, %v; want %q", flag, got, err, want)
		}
	}

	if _, err := Find("", getenv); !errors.Is(err, ErrNoFile) {
		t.Errorf("nothing there: %v", err)
	}
	expectFile := touch(systemFile)
	expect("", expectFile)
	touch("agent.toml")
	expect("", "agent.toml")
	env[fileVariable] = touch(filepath.Join(here, "env.toml"))
	expect("", env[fileVariable])
	expect(touch(filepath.Join(here, "flag.toml")), filepath.Join(here, "flag.toml"))

	// A file that was named but does not exist must not be replaced by another.
	if _, err := Find("gone.toml", getenv); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "--config names gone.toml: ") {
		t.Errorf("the flag names nothing: %v", err)
	}
	env[fileVariable] = "gone.toml"
	if _, err := Find("", getenv); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "$PERSONASYNC_CONFIG names gone.toml: ") {
		t.Errorf("the variable names nothing: %v", err)
	}
}

func TestAddressesOfMoEngageAndTheSocket(t *testing.T) {
	c := Default()
	env := map[string]string{}
	getenv := func(name string) string { return env[name] }
	var got []string
	got = append(got, c.BaseURL(), c.Socket(getenv))
	env["RUNTIME_DIRECTORY"] = "/run/personasync:/run/other"
	c.MoEngage.DataCenter = "101"
	got = append(got, c.BaseURL(), c.Socket(getenv))
	c.MoEngage.BaseURL, c.Admin.Socket = "http://127.0.0.1:1/", "/x.sock"
	got = append(got, c.BaseURL(), c.Socket(getenv))
	want := []string{
		"https://api-01.moengage.com", "/var/lib/personasync/admin.sock",
		"https://api-101.moengage.com", "/run/personasync/admin.sock",
		"http://127.0.0.1:1", "/x.sock",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLocationIsTheConfiguredZone(t *testing.T) {
	if got := mustRead(t, "[schedule]\ntimezone = \"Asia/Kolkata\"").Location().String(); got != "Asia/Kolkata" {
		t.Error(got)
	}
}

func TestListensThatNeedNoTLS(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "127.8.9.1:80", "[::1]:80", "localhost:80", "unix:/run/in.sock"} {
		mustRead(t, lines("[ingest]", "listen = \""+listen+"\"", `auth = "off"`))
	}
	for _, listen := range []string{":80", "0.0.0.0:80", "[::]:80", "10.0.0.1:80", "example.com:80"} {
		if faults := faultsOf(t, lines("[ingest]", "listen = \""+listen+"\"")); !strings.Contains(faults[0], "reachable from other machines") {
			t.Errorf("%s: %v", listen, faults)
		}
		mustRead(t, lines("[ingest]", "listen = \""+listen+"\"", "behind_proxy = true"))
	}
}

func TestNamesOfVariablesAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, f := range field.Of(Default(), "") {
		if other, taken := seen[field.Variable(f.Key)]; taken {
			t.Errorf("%s and %s share %s", f.Key, other, field.Variable(f.Key))
		}
		seen[field.Variable(f.Key)] = f.Key
	}
	if seen["PERSONASYNC_INGEST_LISTEN"] != "ingest.listen" || seen["PERSONASYNC_DATA_DIR"] != "data_dir" {
		t.Errorf("%v", seen)
	}
}

// Every bound in a tag must parse, so that a mistake fails here and not at a user's start.
func TestTagsAreSound(t *testing.T) {
	for _, f := range field.Of(Default(), "") {
		bound := func(name string) {
			switch s := f.Tag.Get(name); f.Ptr.(type) {
			case *int, *int64, *float64:
				if _, err := strconv.ParseInt(s, 10, 64); s != "" && err != nil {
					t.Error(f.Key, err)
				}
			case *Duration:
				if _, err := time.ParseDuration(s); s != "" && err != nil {
					t.Error(f.Key, err)
				}
			default:
				if s != "" {
					t.Errorf("%s: %q cannot bound this type", f.Key, name)
				}
			}
		}
		bound("min")
		bound("max")
		if words := f.Tag.Get("one"); words != "" && !slices.Contains(strings.Split(words, "|"), *f.Ptr.(*string)) {
			t.Errorf("%s: the default is none of %s", f.Key, words)
		}
	}
}
