package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/postgres/internal/roundtrip"
)

// trimRows is how many rows a Trim deletes at most beside the partitions that it drops.
const trimRows = 20_000

// partition is the name of the table of the records from p*perPartition on.
func partition(p int64) string { return fmt.Sprint("records_", p) }

// size is a partition, with its bytes on disk.
type size struct{ number, bytes int64 }

// partitions returns those that there are, in order.
func (in *Log) partitions(ctx context.Context, conn *pgconn.PgConn) (list []size, err error) {
	err = roundtrip.Send(ctx, conn, func(_ int, v [][]byte) {
		list = append(list, size{roundtrip.Integer(v[0]), roundtrip.Integer(v[1])})
	}, roundtrip.Statement{SQL: `select substr(c.relname, 9)::bigint, pg_total_relation_size(c.oid) from pg_inherits i join pg_class c on c.oid = i.inhrelid
	where i.inhparent = $1::text::regclass order by 1`, Params: [][]byte{[]byte(in.table())}, Types: []uint32{roundtrip.TypeText}})
	return list, err
}

// extend makes the partitions that will be needed next. Attaching one, unlike creating it in its place, lets appends go on.
func (in *Log) extend(ctx context.Context, t *Term) error {
	from := int64(in.Last() / perPartition)
	if in.made > from+ahead {
		return nil
	}
	err := t.fenced(ctx, func(conn *pgconn.PgConn) error {
		list, err := in.partitions(ctx, conn)
		have := map[int64]bool{}
		for _, p := range list {
			have[p.number] = true
		}
		for p := from; p <= from+ahead && err == nil; p++ {
			if !have[p] {
				name := in.db.quoted(partition(p))
				err = roundtrip.Send(ctx, conn, nil, roundtrip.Statement{SQL: "create table " + name + " (like " + in.table() + " including storage)"},
					roundtrip.Statement{SQL: fmt.Sprintf("alter table %s attach partition %s for values from (%d) to (%d)", in.table(), name, p*perPartition, (p+1)*perPartition)})
			}
		}
		return err
	})
	if err == nil {
		in.made = from + ahead + 1
	}
	return err
}

// Trim removes records up to applied: those received before now-keepFor, and whole partitions of the oldest until keepBytes
// are left. 0 keeps all. The newest row stays. It is for a log under a term. It may leave some for the next call, as all if
// somebody reads the table for long, as a dump does.
func (in *Log) Trim(applied uint64, now time.Time, keepFor time.Duration, keepBytes int64) error {
	t := in.leading()
	if t == nil {
		return ErrNotWriter
	}
	ctx, cancel := context.WithTimeout(context.Background(), roundtrip.Patience)
	defer cancel()
	err := t.fenced(ctx, func(conn *pgconn.PgConn) error {
		stays, young, err := in.bounds(ctx, conn, applied, now, keepFor)
		if err != nil {
			return err
		}
		list, err := in.partitions(ctx, conn)
		if err != nil {
			return err
		}
		total := int64(0)
		for _, p := range list {
			total += p.bytes
		}
		for _, p := range list {
			if end := (p.number + 1) * perPartition; end > stays || end > young && (keepBytes == 0 || total <= keepBytes) {
				break
			}
			if err := roundtrip.Send(ctx, conn, nil, roundtrip.Statement{SQL: "drop table " + in.db.quoted(partition(p.number))}); err != nil {
				return err
			}
			total -= p.bytes
		}
		return roundtrip.Send(ctx, conn, nil, roundtrip.Statement{
			SQL:    fmt.Sprintf("delete from %[1]s where first <= (select max(first) from (select first from %[1]s where first < $1 order by first limit %d) oldest)", in.table(), trimRows),
			Params: [][]byte{roundtrip.Number(young)}, Types: []uint32{roundtrip.TypeNumber}})
	})
	if roundtrip.Code(err) == roundtrip.StateLockTimeout {
		return nil
	}
	if err == nil {
		err = in.findOldest(ctx)
	}
	if err != nil {
		return fmt.Errorf("remove applied records of the inbox: %w", err)
	}
	return nil
}

// bounds returns the number of the first row that must stay, and of the first that is younger than keepFor, at most that.
func (in *Log) bounds(ctx context.Context, conn *pgconn.PgConn, applied uint64, now time.Time, keepFor time.Duration) (stays, young int64, err error) {
	stays = int64(in.newestRow())
	err = roundtrip.Send(ctx, conn, func(_ int, v [][]byte) { stays = min(stays, roundtrip.Integer(v[0])) }, roundtrip.Statement{
		SQL:    fmt.Sprintf("select first from %s where first > $1 - %d and last > $1 order by first limit 1", in.table(), perPartition),
		Params: [][]byte{roundtrip.Number(applied)}, Types: []uint32{roundtrip.TypeNumber}})
	if err == nil && keepFor > 0 {
		err = roundtrip.Send(ctx, conn, func(_ int, v [][]byte) { young = roundtrip.Integer(v[0]) }, roundtrip.Statement{
			SQL:    "select first from " + in.table() + " where newest >= $1 or first >= $2 order by first limit 1",
			Params: [][]byte{roundtrip.Number(now.Add(-keepFor).UnixNano()), roundtrip.Number(stays)}, Types: []uint32{roundtrip.TypeNumber, roundtrip.TypeNumber}})
	}
	return stays, young, err
}
