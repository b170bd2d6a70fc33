package pgtest

import (
	"cmp"
	"context"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQL has the superuser run statements outside of any test's database, and returns the rows that they answer: a line each,
// with its columns apart by |.
func (s *Server) SQL(t testing.TB, statements string) string {
	t.Helper()
	out, err := s.in("postgres", statements)
	if err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
	return out
}

// Hold runs a statement as the superuser in a transaction of the database postgres, and leaves that open until end.
func (s *Server) Hold(t testing.TB, statement string) (end func()) {
	t.Helper()
	conn, err := s.connect("postgres")
	if err == nil {
		end = sync.OnceFunc(func() { conn.Close(context.Background()) })
		t.Cleanup(end)
		_, err = run(conn, "begin; "+statement)
	}
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return end
}

// in is SQL in a database, on a connection of its own.
func (s *Server) in(database, statements string) (string, error) {
	conn, err := s.connect(database)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.Background())
	return run(conn, statements)
}

func (s *Server) connect(database string) (*pgconn.PgConn, error) {
	return pgconn.Connect(context.Background(), s.url(database))
}

// url returns the address of a database of s.
func (s *Server) url(database string) string {
	return "postgres://postgres@/" + database + "?host=" + url.QueryEscape(s.dir) + "&port=" + strconv.Itoa(cmp.Or(s.port, 5432))
}

func run(conn *pgconn.PgConn, statements string) (string, error) {
	results, err := conn.Exec(context.Background(), statements).ReadAll()
	var lines []string
	for _, result := range results {
		for _, row := range result.Rows {
			columns := make([]string, len(row))
			for i, column := range row {
				columns[i] = string(column)
			}
			lines = append(lines, strings.Join(columns, "|"))
		}
	}
	return strings.Join(lines, "\n"), err
}
