package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
	"personasync/store/postgres/internal/roundtrip"
)

// rowLeast is about how many bytes a row of one event has at least. So a read looks at no more rows than it may need.
const rowLeast = 512

// Read implements engine.Log. It returns nothing behind Last, even if another agent has appended more: who has read all
// of it looks for Next.
func (in *Log) Read(from uint64, maxBytes int) (records []engine.Record, err error) {
	last := in.Last()
	if from > last {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), roundtrip.Patience)
	defer cancel()
	weight := 0
	damaged := error(nil)
	err = in.db.ask(ctx, func(_ int, v [][]byte) {
		frames := wire.Frames{Rest: append([]byte(nil), v[1]...)}
		for seq := uint64(roundtrip.Integer(v[0])); weight < maxBytes && seq <= last && frames.Next(); seq++ {
			if seq >= from {
				records = append(records, engine.Record{Seq: seq, Frame: frames.Frame})
				weight += record.InboxRecords.Weigh(frames.Frame)
			}
		}
		damaged = errors.Join(damaged, frames.Err)
	}, roundtrip.Statement{
		SQL: fmt.Sprintf(`select first, chunk from (
	select first, chunk, sum(octet_length(chunk)) over (order by first rows unbounded preceding) - octet_length(chunk) before from %[1]s
	where first > $1 - %[2]d and first >= coalesce((select first from %[1]s where first <= $1 and first > $1 - %[2]d order by first desc limit 1), $1)
	order by first limit $2) r where before < $2 * %[3]d order by first`, in.table(), perPartition, rowLeast),
		Params: [][]byte{roundtrip.Number(from), roundtrip.Number(maxBytes/rowLeast + 2)}, Types: []uint32{roundtrip.TypeNumber, roundtrip.TypeNumber}})
	if err = errors.Join(err, damaged); err == nil && len(records) == 0 {
		err = in.recede(ctx, from)
	}
	if err != nil {
		return nil, fmt.Errorf("read the inbox: %w", err)
	}
	return records, nil
}

// recede is called when records that were seen are not there. They are lost if the server came back without its last
// commits, and other records will have their numbers.
func (in *Log) recede(ctx context.Context, from uint64) error {
	row, last := uint64(0), uint64(0)
	err := in.db.ask(ctx, func(_ int, v [][]byte) { row, last = uint64(roundtrip.Integer(v[0])), uint64(roundtrip.Integer(v[1])) },
		roundtrip.Statement{SQL: "select first, last from " + in.table() + " order by first desc limit 1"})
	if err != nil || last >= from {
		return err
	}
	in.mu.Lock()
	in.row, in.last = row, last
	in.mu.Unlock()
	return fmt.Errorf("record %d was there and is no more: PostgreSQL lost commits that it had confirmed, and the last record is number %d", from, last)
}

// Rewrite has edit change the frames of each row of now, which are all applied, and returns how many it did. It is for a
// log under a term. The old bytes stay in the table until the vacuum at the end, and in the write-ahead log, standbys and
// backups of the server for as long as those keep them. A row whose frames are damaged is passed over.
func (in *Log) Rewrite(ctx context.Context, edit func(frames [][]byte) (edited uint64, err error)) (edited uint64, err error) {
	t := in.leading()
	if t == nil {
		return 0, ErrNotWriter
	}
	touched := map[int64]bool{}
	for next, end := uint64(0), in.Last(); ; {
		first, chunk := uint64(0), []byte(nil)
		err := in.db.ask(ctx, func(_ int, v [][]byte) { first, chunk = uint64(roundtrip.Integer(v[0])), append(chunk, v[1]...) }, roundtrip.Statement{
			SQL:    "select first, chunk from " + in.table() + " where first >= $1 and first <= $2 order by first limit 1",
			Params: [][]byte{roundtrip.Number(next), roundtrip.Number(end)}, Types: []uint32{roundtrip.TypeNumber, roundtrip.TypeNumber}})
		if err != nil || first == 0 {
			return edited, errors.Join(err, in.vacuum(ctx, touched))
		}
		next = first + 1
		frames, whole := wire.SplitFrames(chunk)
		if !whole {
			continue
		}
		n, err := edit(frames)
		if err == nil && n > 0 {
			touched[int64(first/perPartition)] = true
			err = t.fenced(ctx, func(conn *pgconn.PgConn) error {
				return roundtrip.Send(ctx, conn, nil, roundtrip.Statement{SQL: "update " + in.table() + " set chunk = $2 where first = $1",
					Params: [][]byte{roundtrip.Number(first), wire.JoinFrames(frames)}, Types: []uint32{roundtrip.TypeNumber, roundtrip.TypeBytea}})
			})
		}
		if err != nil {
			return edited, err
		}
		edited += n
	}
}

// vacuum removes what updates left behind in partitions.
func (in *Log) vacuum(ctx context.Context, partitions map[int64]bool) (err error) {
	for p := range partitions {
		if failed := in.db.ask(ctx, nil, roundtrip.Statement{SQL: "vacuum " + in.db.quoted(partition(p))}); roundtrip.Code(failed) != roundtrip.StateUndefined { // dropped meanwhile
			err = errors.Join(err, failed)
		}
	}
	return err
}
