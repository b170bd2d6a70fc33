package condition

import (
	"fmt"
	"sync"
	"time"

	"personasync/agent/config"
	"personasync/store"
	"personasync/store/domain"
)

// The conditions of a store that several agents share, and of where a store is sent to.

// Store is where the data of an agent is that shares it with others. It has more than 15 fields because the contract has one
// flat object.
type Store struct {
	Engine    string     `json:"engine"` // postgres
	Role      string     `json:"role"`   // of this agent: writer | door, which receives for the writer | stopped
	Writer    string     `json:"writer"` // host of the agent that writes; "" if none does
	Term      int64      `json:"term"`   // number of its term, which grows with each take-over
	TermSince *time.Time `json:"term_since"`
	Doors     []string   `json:"doors"` // hosts of all agents that are connected, the writer's too

	NoWriterSince *time.Time `json:"no_writer_since"`           // end of the last term; null while an agent writes, and before the first
	NoTerm        string     `json:"no_term,omitempty"`         // why this agent could not take over when it tried last
	Elsewhere     string     `json:"other_workspace,omitempty"` // why this agent may not take over: it would send to another workspace of MoEngage
	Unconfirmed   string     `json:"unconfirmed,omitempty"`     // why commits are on no standby, where store.replicated asks for one

	RoundTrip  float64 `json:"round_trip_seconds"`  // of one statement
	HorizonAge float64 `json:"horizon_age_seconds"` // since the oldest open transaction began, behind which removed rows keep their room

	Keeper string `json:"horizon_holder,omitempty"`       // the replication slot or standby that keeps removed rows, if it does so for LongKept
	Kept   int64  `json:"horizon_transactions,omitempty"` // how many transactions ago it began to

	Error string `json:"error,omitempty"` // why PostgreSQL does not say more

	Speaks  bool   `json:"-"` // of the doors this one tells people that no agent writes
	address string // without its password
}

// Roles of an agent, as a Store has them.
const (
	RoleWriter = "writer"
	RoleDoor   = "door"
	roleNone   = "stopped"
)

// SharedStore is h, or the error of asking for it, as an agent with that configuration shows it. role is nil of a stopped
// one. now is the time of h.
func SharedStore(role *store.Role, c *config.Store, h *store.DatabaseHealth, err error, now time.Time) *Store {
	s := &Store{Engine: "postgres", Role: roleNone, Doors: []string{}, address: c.Address()}
	if role != nil && role.Writer {
		s.Role = RoleWriter
	} else if role != nil {
		s.Role = RoleDoor
	}
	if err != nil {
		s.Error = err.Error()
		return s
	}
	at := func(t time.Time) *time.Time { t = t.UTC().Truncate(time.Second); return &t }
	switch w := h.Holder; {
	case w.Left > 0:
		s.Writer, s.Term, s.TermSince = w.Host, w.Term, at(w.Since)
	case w.Term > 0:
		s.NoWriterSince = at(now.Add(w.Left))
	}
	s.Doors = append(s.Doors, h.Doors...)
	s.NoTerm, s.Elsewhere, s.Speaks = h.NoTerm, h.Elsewhere, h.FirstDoor
	if c.Replicated == "standby" {
		s.Unconfirmed = unconfirmed(h)
	}
	if h.Kept > LongKept {
		s.Keeper, s.Kept = h.Keeper, h.Kept
	}
	s.RoundTrip, s.HorizonAge = h.RoundTrip.Seconds(), h.Horizon.Seconds()
	return s
}

// unconfirmed is why no standby confirms commits; "" if one does, or if this user may not know.
func unconfirmed(h *store.DatabaseHealth) string {
	switch {
	case h.Standbys == "":
		return "synchronous_standby_names is empty there, so PostgreSQL waits for no standby"
	case h.Synchronous == 0 && h.Unseen == 0:
		return fmt.Sprintf("none of synchronous_standby_names = %q is connected, so every commit waits for it", h.Standbys)
	}
	return ""
}

const (
	// takeover is how long a store may be without a writer: an agent takes over within two seconds.
	takeover = 10 * time.Second
	// standstill is how long received events may wait without one of them being applied.
	standstill = 2 * time.Minute
	// LongOpen is how long a transaction may be open in PostgreSQL. It keeps all rows that are removed meanwhile.
	LongOpen = time.Hour
	// LongKept is how many transactions a standby may keep removed rows for: hours at the pace of a writer. PostgreSQL knows no time.
	LongKept = 250_000
)

// noWriter holds while no agent may write, or the one that may applies nothing. Any agent can tell.
func (f *Facts) noWriter() *Condition {
	s := f.Process.Store
	if s == nil || s.Error != "" {
		return nil
	}
	since := f.Process.Standstill
	switch {
	case s.NoWriterSince != nil && f.Now.Sub(*s.NoWriterSince) > takeover:
		why, commands := "", []string{"personasync doctor", "journalctl -u personasync -n 50"}
		if s.NoTerm != "" {
			why = "This one could not take over: " + ended(s.NoTerm)
		}
		if s.Role == roleNone {
			commands = []string{"systemctl start personasync"}
		}
		return condition(Critical, domain.Timestamp(*s.NoWriterSince), commands,
			"No agent writes the store in PostgreSQL%s: received events are kept, and nothing is applied or sent. %s", sinceText(domain.Timestamp(*s.NoWriterSince)), why)
	case s.Writer != "" && !since.IsZero() && f.Now.Sub(since) > standstill:
		return condition(Critical, domain.Timestamp(since), []string{"personasync doctor", "systemctl restart personasync"},
			"%s is the writer and has applied none of %s%s: received events are kept, and none of them is sent. Look at the log there, and at locks in PostgreSQL; a restart there lets another agent take over.",
			s.Writer, Quantity(f.Status.Unapplied, "received event"), sinceText(domain.Timestamp(since)))
	}
	return nil
}

// otherWorkspace holds while an agent sends nothing, or cannot become the writer, because it would send to another workspace.
func (f *Facts) otherWorkspace() *Condition {
	if was := f.Process.Elsewhere; was != "" {
		return condition(Critical, "", []string{"personasync config show", "systemctl restart personasync", "personasync audience reconcile --all --dry-run"},
			"Nothing is sent: MoEngage's workspace %[1]s was told what this store knows, and the configured one was not. If the configuration is wrong, correct moengage.workspace_id, api_key or base_url, and restart the agent. "+
				"If the configured workspace takes the place of %[1]s, set moengage.replaces_workspace_id = %[1]q, restart the agent, and send the workspace everything with the last command.", was).
			within("Nothing. Events and changes are kept.", "Nothing: you decide.", "")
	}
	s := f.Process.Store
	if s == nil || s.Elsewhere == "" {
		return nil
	}
	return condition(warning, "", []string{"personasync config show", "systemctl restart personasync"}, "This agent does not take over: %s", ended(s.Elsewhere))
}

// noStandby holds while the second copy that the configuration names is not made.
func (f *Facts) noStandby() *Condition {
	s := f.Process.Store
	if s == nil || s.Unconfirmed == "" {
		return nil
	}
	return condition(Critical, "", []string{s.psql("select application_name, state, sync_state from pg_stat_replication"), s.psql("show synchronous_standby_names")},
		`Events that are answered with 200 are in one place only: %sBring a standby back, or say in [store] who keeps a second copy.`, ended(s.Unconfirmed))
}

// oldTransaction holds while a transaction keeps PostgreSQL from using the room of removed rows again.
func (f *Facts) oldTransaction() *Condition {
	s := f.Process.Store
	if s == nil {
		return nil
	}
	age := time.Duration(s.HorizonAge * float64(time.Second))
	if age <= LongOpen && s.Keeper == "" {
		return nil
	}
	if age <= LongOpen {
		return condition(warning, "", []string{s.psql("select slot_name, slot_type, active, age(xmin) from pg_replication_slots where xmin is not null")},
			"The %s keeps what the agent removed in the last %s, so the tables grow and become slower. End the long query on that standby. If the standby is gone for good, drop its slot: select pg_drop_replication_slot(slot_name).", s.Keeper, Quantity(uint64(s.Kept), "transaction"))
	}
	return condition(warning, domain.Timestamp(f.Now.Add(-age).Truncate(time.Minute)),
		[]string{s.psql("select pid, usename, application_name, xact_start, state from pg_stat_activity where backend_xmin is not null order by xact_start limit 5")},
		"A transaction is open in PostgreSQL for %s. What the agent removes keeps its room until it ends, so the tables grow and become slower. End it with pg_terminate_backend(pid), or look for it in pg_prepared_xacts.", ForPeople(age))
}

// psql is a command that asks the database of the store.
func (s *Store) psql(sql string) string {
	return "psql " + domain.ShellWord(s.address) + " -c " + domain.ShellWord(sql)
}

// Progress remembers since when received events wait and none is applied. Its method may be called concurrently. The zero
// value has seen nothing.
type Progress struct {
	mu      sync.Mutex
	applied uint64
	since   time.Time // the first look with that many applied; zero: nothing waited at the last
}

// Standstill returns since when unapplied events wait, as far as was seen; the zero time while they are applied.
func (p *Progress) Standstill(received, unapplied uint64, now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if applied := received - min(unapplied, received); unapplied == 0 {
		p.since = time.Time{}
	} else if p.since.IsZero() || applied != p.applied {
		p.applied, p.since = applied, now
	}
	return p.since
}

// UnreadableStore is the condition of a store that gives no answer. shared says that it is in PostgreSQL.
func UnreadableStore(why error, shared bool) Condition {
	c := condition(Critical, "", []string{"personasync db check", "personasync doctor"}, "The store gives no answer, so nothing else can be judged: %s", ended(why.Error()))
	c.Name = Unreadable
	if shared {
		c.Commands = []string{"personasync doctor"}
		c.Lost, c.Itself = segmentRepeats, "The agent goes on by itself once PostgreSQL answers."
	}
	return c.costed()
}
