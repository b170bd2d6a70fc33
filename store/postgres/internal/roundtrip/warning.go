package roundtrip

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// warning is where a connection keeps the last warning of its server, see NoteWarning.
const warning = "warning"

// NoteWarning keeps a warning for the one who commits. PostgreSQL answers a commit with success and a warning when its
// wait for the standby was cancelled: it is not durable there.
func NoteWarning(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.SeverityUnlocalized == "WARNING" {
		conn.CustomData()[warning] = n.Message
	}
}

// errWarned says that a commit may not be durable.
var errWarned = errors.New("PostgreSQL wrote, and warns")

// Warned returns the warning that came since the last call as an error, nil without one.
func Warned(conn *pgconn.PgConn) error {
	message, found := conn.CustomData()[warning]
	if !found {
		return nil
	}
	delete(conn.CustomData(), warning)
	return fmt.Errorf("%w: %v", errWarned, message)
}
