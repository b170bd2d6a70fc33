package pgtest

import (
	"fmt"
	"sync/atomic"
	"testing"
)

var schemas atomic.Int64

// Schema returns the address of a database that the tests of this process share, and the name of a schema that t alone
// uses. It costs a tenth of a database. The schema is dropped when t ends.
func Schema(t testing.TB) (url, schema string) {
	t.Helper()
	need(t)
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	schema = fmt.Sprint("s", schemas.Add(1))
	t.Cleanup(func() { s.SQL(t, "set client_min_messages = error; drop schema if exists "+schema+" cascade") })
	return s.URL() + "&pool_max_conns=4", schema
}

// Need skips t where PostgreSQL is not installed, or fails it where it must be.
func Need(t testing.TB) { t.Helper(); need(t) }
