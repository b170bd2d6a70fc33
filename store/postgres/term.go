package postgres

// Term is the right to write, of one agent at a time.
type Term struct {
	db     *DB
	number int64 // in the table term; the fence
}
