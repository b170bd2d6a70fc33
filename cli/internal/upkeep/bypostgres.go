package upkeep

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"personasync/agent/condition"
	"personasync/cli/internal/term"
	"personasync/store/domain"
)

// ByPostgres says what does the work of a command on files where PostgreSQL keeps the data. address is without its password.
func ByPostgres(work, address, schema string) string {
	at, s := domain.ShellWord(address), domain.ShellWord(schema)
	switch work {
	case "compact":
		return fmt.Sprintf("the data is in PostgreSQL, which uses the room of removed rows again by itself. To give it back to the file system, stop the agents and type "+
			"psql %s -c %s", at, domain.ShellWord(fmt.Sprintf("vacuum (full, analyze) %q.rows", schema)))
	case "backup":
		return fmt.Sprintf("the data is in PostgreSQL: pg_basebackup, or its provider, backs up the whole server. For this data alone type "+
			"pg_dump --format=custom --schema=%s --file=FILE %s", s, at)
	}
	// The partitions of records have parts that cannot be dropped alone, and an error must leave the data as it was.
	return fmt.Sprintf("the data is in PostgreSQL: to restore a file of pg_dump into the schema, stop the agents and type pg_restore --clean --if-exists --schema=%s --file=FILE.sql FILE && "+
		"psql --single-transaction --set=ON_ERROR_STOP=1 --command=%s --file=FILE.sql --command=%s %s, which also has change ids go on under another epoch",
		s, domain.ShellWord(fmt.Sprintf("drop table if exists %q.records", schema)), domain.ShellWord(fmt.Sprintf("update %q.meta set v = 'restored' where k = 'home'", schema)), at)
}

// StoreText says which agent writes a store that several share.
func StoreText(w *term.Terminal, s *condition.Store) string {
	var who string
	switch {
	case s.Error != "":
		return w.Paint.Red("PostgreSQL does not answer") + ": " + term.Plain(s.Error)
	case s.Writer == "":
		who = w.Paint.Red("no agent writes")
	case s.Role == condition.RoleWriter:
		who = "this agent writes"
	case s.Role == condition.RoleDoor:
		who = term.Plain(s.Writer) + " writes, and this agent receives for it"
	default:
		who = term.Plain(s.Writer) + " writes"
	}
	if s.TermSince != nil {
		who += fmt.Sprintf(" (term %d, since %s)", s.Term, s.TermSince.Format(time.RFC3339))
	}
	return fmt.Sprintf("PostgreSQL: %s; connected: %s; a statement takes %s", who, term.Plain(cmp.Or(strings.Join(s.Doors, ", "), "none")), Roughly(time.Duration(s.RoundTrip*1e9)))
}
