//go:build linux && cgo && sqlite

package contender

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"

	sqlite3 "github.com/mattn/go-sqlite3"

	"personasync/agent/ingest"
	"personasync/store/domain"
)

// HaveSQLite reports whether this program includes C SQLite.
const HaveSQLite = true

// sqliteInbox is the usual SQLite outbox: diff and outbox in one transaction, and one transaction for all
// queued requests. It uses the driver directly, because database/sql would add about a microsecond per
// statement.
type sqliteInbox struct {
	committer *committer[[]*domain.Event]
	conn      *sqlite3.SQLiteConn
	upsert    driver.Stmt
	keep      driver.Stmt
	enqueue   driver.Stmt
	begin     driver.Stmt
	commit    driver.Stmt
	rollback  driver.Stmt
	last      int64 // id of the newest event
}

var _ ingest.Inbox = (*sqliteInbox)(nil)

// Events and changes are in separate tables, as in the agent: a change leaves the outbox once it is delivered,
// and events are kept for later questions. The index lets a sender find due changes.
const sqliteSchema = `
CREATE TABLE received (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, event BLOB NOT NULL);
CREATE TABLE membership (user TEXT NOT NULL, computation TEXT NOT NULL, member INTEGER NOT NULL, at INTEGER NOT NULL,
	PRIMARY KEY (user, computation)) WITHOUT ROWID;
CREATE TABLE outbox (id INTEGER PRIMARY KEY, due INTEGER NOT NULL, user TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL);
CREATE INDEX outbox_due ON outbox (due);`

func sqliteHandler(dir string, log *slog.Logger) (http.Handler, func() error, error) {
	in, err := openSQLite(filepath.Join(dir, "outbox.sqlite"))
	if err != nil {
		return nil, nil, fmt.Errorf("open SQLite: %w", err)
	}
	return Ingest(in, log), in.close, nil
}

func openSQLite(path string) (*sqliteInbox, error) {
	conn, err := new(sqlite3.SQLiteDriver).Open("file:" + path + "?_journal_mode=WAL&_synchronous=FULL&_locking_mode=EXCLUSIVE&_cache_size=-65536")
	if err != nil {
		return nil, err
	}
	in := &sqliteInbox{conn: conn.(*sqlite3.SQLiteConn)}
	if _, err := in.conn.Exec(sqliteSchema, nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	for statement, text := range map[*driver.Stmt]string{
		&in.upsert: `INSERT INTO membership VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET member = excluded.member, at = excluded.at
			WHERE excluded.at > at AND excluded.member <> member`,
		&in.keep:     `INSERT INTO received (id, at, event) VALUES (?, ?, ?)`,
		&in.enqueue:  `INSERT INTO outbox (id, due, user, name, value) VALUES (?, ?, ?, ?, ?)`,
		&in.begin:    `BEGIN IMMEDIATE`,
		&in.commit:   `COMMIT`,
		&in.rollback: `ROLLBACK`,
	} {
		if *statement, err = in.conn.Prepare(text); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	in.committer = newCommitter(in.write)
	return in, nil
}

// Append implements ingest.Inbox.
func (in *sqliteInbox) Append(ctx context.Context, events ...*domain.Event) error {
	return in.committer.submit(ctx, events)
}

// CountRefusal implements ingest.Inbox.
func (in *sqliteInbox) CountRefusal(domain.Refusal) {}

func (in *sqliteInbox) close() error {
	in.committer.close()
	return in.conn.Close()
}

// write commits a group in one transaction.
func (in *sqliteInbox) write(group [][]*domain.Event) error {
	if _, err := execute(in.begin); err != nil {
		return err
	}
	for _, events := range group {
		for _, e := range events {
			if err := in.apply(e); err != nil {
				_, failed := execute(in.rollback)
				return errors.Join(err, failed)
			}
		}
	}
	_, err := execute(in.commit)
	return err
}

func (in *sqliteInbox) apply(e *domain.Event) error {
	user, computation, member, ok := membershipOf(e)
	if !ok {
		return nil
	}
	in.last++
	if _, err := execute(in.keep, in.last, e.Received.UnixNano(), e.Raw); err != nil {
		return err
	}
	changed, err := execute(in.upsert, user, computation, member, e.Time.UnixNano())
	if err != nil || !changed {
		return err
	}
	_, err = execute(in.enqueue, in.last, e.Received.Unix(), user, e.Key, member)
	return err
}

// execute runs a prepared statement and reports whether it changed a row.
func execute(s driver.Stmt, args ...driver.Value) (changed bool, err error) {
	result, err := s.Exec(args) //lint:ignore SA1019 the form without a context starts no goroutine
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}
