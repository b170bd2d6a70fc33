package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
)

// What the doctor takes for too much. The writer makes several round trips for each transaction, a dead row that cannot be
// removed is passed over by each, and times in listings are those of the agent.
const (
	longRoundTrip = 5 * time.Millisecond
	clockApart    = 5 * time.Second
)

// checkDatabase asks the PostgreSQL that keeps the data what an agent depends on there.
func (d *doctor) checkDatabase(ctx context.Context) {
	c := &d.config.Store
	if len(c.URL) == 0 {
		d.find("database", "skip", "run doctor as the user of the agent, or give it the address in PERSONASYNC_STORE_URL", "the address, store.url, cannot be read")
		return
	}
	config := sharedConfig(d.config, "", d.version, slog.New(slog.DiscardHandler))
	h, err := store.AskDatabase(ctx, config)
	if err != nil {
		d.find("database", "fail", "", "%v", err)
		return
	}
	secured := "without TLS, on this host"
	if h.TLS != "" {
		secured = h.TLS
	}
	d.find("database", "ok", "", "%s: PostgreSQL %s, %s, synchronous_commit = %s; the data takes %s", config.Place(), h.Version, secured, h.Commit, domain.Bytes(h.Size))
	d.checkDurable(&h)
	d.checkServer(&h)
	d.checkTerm(&h)
}

// checkDurable looks for what would lose acknowledged events.
func (d *doctor) checkDurable(h *store.DatabaseHealth) {
	if h.Unsafe != "" {
		d.find("durability", "fail", "switch it on in postgresql.conf, and restart PostgreSQL", "%s is off there: a power failure damages the data", h.Unsafe)
	}
	switch r := d.config.Store.Replicated; {
	case r == "elsewhere":
		d.find("standby", "skip", "", `store.replicated = "elsewhere": the provider or the disk keeps the second copy, which cannot be seen from here`)
	case r == "no":
		d.find("standby", "warn", "", `store.replicated = "no": the loss of PostgreSQL's host loses events that were answered with 200`)
	case h.Standbys == "":
		d.find("standby", "fail", `set synchronous_standby_names there, or say in [store] who keeps a second copy: replicated = "elsewhere" or "no"`, "PostgreSQL waits for no standby: events that are answered with 200 are in one place only, and no agent makes a new store")
	case h.Unseen > 0:
		d.find("standby", "skip", "have an administrator run: grant pg_monitor to the user of store.url", "%d connected, of which this user may see nothing; synchronous_standby_names = %q", h.Unseen, h.Standbys)
	case h.Synchronous == 0:
		d.find("standby", "fail", "start the standby, or correct synchronous_standby_names", "none of synchronous_standby_names = %q is connected: every commit waits, and deliveries are answered with 503", h.Standbys)
	default:
		d.find("standby", "ok", "", "%d synchronous, %d streaming", h.Synchronous, h.Streaming)
	}
}

// checkServer looks for what slows the agents down, or will stop them.
func (d *doctor) checkServer(h *store.DatabaseHealth) {
	trip := fmt.Sprintf("a statement takes %s, the clocks are %s apart, the oldest transaction is open for %s",
		h.RoundTrip.Round(10*time.Microsecond), h.ClockOff.Abs().Round(10*time.Millisecond), h.Horizon.Round(time.Second))
	state, do := "ok", ""
	switch {
	case !h.Creates:
		d.find("rights", "fail", "have an administrator run: grant create on the schema (or on the database, if the schema is missing) to the user of store.url", "the user of store.url may make no tables in schema %s, and partitions of the inbox are made all the time", d.config.Store.Schema)
	case h.Horizon > condition.LongOpen:
		state, do = "warn", "look for it: select pid, usename, xact_start, query from pg_stat_activity order by xact_start; or in pg_prepared_xacts. Until it ends no removed row gives its room back"
	case h.Kept > condition.LongKept:
		state, do = "warn", "look at the long queries of that standby; if it is gone for good: select pg_drop_replication_slot(slot_name)"
		trip = fmt.Sprintf("the %s keeps removed rows of %d transactions; ", h.Keeper, h.Kept) + trip
	case h.RoundTrip > longRoundTrip:
		state, do = "warn", "run the agents near PostgreSQL: every transaction of the writer makes several round trips"
	case h.ClockOff.Abs() > clockApart:
		state, do = "warn", "set the clocks by NTP: terms go by PostgreSQL's, and times in listings by the agent's"
	case h.Pooled:
		state, do = "warn", "name PostgreSQL itself in store.url: a busy pooler delays the renewal of the term"
		trip = "a pooler stands between; " + trip
	}
	d.find("server", state, do, "%s", trip)
}

// checkTerm says who writes.
func (d *doctor) checkTerm(h *store.DatabaseHealth) {
	switch {
	case h.Holder.Term == 0:
		d.find("term", "skip", "", "no agent has written there yet")
	case h.Holder.Left <= 0:
		d.find("term", "warn", "start an agent", "no agent writes: events are received if an agent runs, and nothing is sent")
	default:
		d.find("term", "ok", "", "%s writes, term %d, since %s; connected: %q", h.Holder.Host, h.Holder.Term, domain.Timestamp(h.Holder.Since), h.Doors)
	}
}
