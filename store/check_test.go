package store

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/datadir"
	"personasync/store/internal/repair"
	"personasync/store/internal/state"
)

// stocked is a store with something of everything: pending, in lease, parked, held, closed.
func stocked(t *testing.T) *bench {
	t.Helper()
	r := rules(domain.SendBoth)
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1), event("bob", "gold", true, 2))
	b.drain()
	held := event("cid", "vip", false, 2, func(e *domain.Event) { e.ComputationID, e.Flag = "aud_second", domain.FlagIn })
	parked := event("dan", "vip", true, 3, func(e *domain.Event) { e.Fault, e.Sentence = "undetermined", "no flag" })
	b.receive(event("ann", "vip", false, 3), held, parked, event("eve", "vip", true, 1, passThrough("once")))
	o := everything(noon.Add(time.Hour))
	o.MaxUsers, o.MaxEvents = 1, 1
	f, _, err := b.Take(context.Background(), o)
	must(t, err)
	if f == nil {
		t.Fatal("nothing to send")
	}
	return b
}

func TestASoundStoreHasNoFindings(t *testing.T) {
	b := stocked(t)
	at := int64(0)
	r, err := b.Check(context.Background(), func(done, total int64) {
		if done < at || done > total {
			t.Errorf("progress from %d to %d of %d", at, done, total)
		}
		at = done
	})
	must(t, err)
	if !r.OK() || r.Pages || at == 0 && !onPostgres || r.Pending == 0 || r.Held == 0 || r.Parked == 0 || r.History == 0 || r.Records == 0 || r.Users != 4 {
		t.Errorf("%+v", r)
	}
	soundness(t, b)
}

// TestACheckFindsWhatIsWrong does one wrong thing at a time, and wants it named.
func TestACheckFindsWhatIsWrong(t *testing.T) {
	onFiles(t)
	first := func(b engine.Bucket) (k, v []byte) { return b.Cursor().First() }
	for _, tc := range []struct {
		name string
		harm func(tx engine.Tx) error
		want string // code, and a piece of the message
	}{
		{"a bit of a row", func(tx engine.Tx) error {
			k, v := first(tx.Bucket(state.BucketRows))
			bad := append([]byte(nil), v...)
			bad[len(bad)/2] ^= 1
			return tx.Bucket(state.BucketRows).Put(k, bad)
		}, "frame: rows"},
		{"a parked change that is gone", func(tx engine.Tx) error {
			k, _ := first(tx.Bucket(state.BucketParked))
			return tx.Bucket(state.BucketParked).Delete(k)
		}, "pointer: change"},
		{"a held change that nobody points at", func(tx engine.Tx) error {
			k, v := first(tx.Bucket(state.BucketHeld))
			ch, err := state.DecodeChange(v, state.EpochsIn(tx))
			ch.ID.Slot++
			return firstError(err, tx.Bucket(state.BucketHeld).Put(state.IDKey(ch.ID), ch.Encode(nil)), tx.Bucket(state.BucketHeld).Delete(k))
		}, "is not among the held"},
		{"a parked change that nobody points at", func(tx engine.Tx) error {
			k, _ := first(tx.Bucket(state.BucketParked))
			return tx.Bucket(state.BucketQueue).Delete(state.QueueKey(state.UserKey("dan"), state.LaneParked, state.IDFromKey(k, state.EpochsIn(tx))))
		}, "pointer: 1 changes are parked, 0 are pointed at"},
		{"an id that the locator does not know", func(tx engine.Tx) error {
			k, _ := first(tx.Bucket(state.BucketLocator))
			return tx.Bucket(state.BucketLocator).Delete(k)
		}, "the locator knows"},
		{"an event that is gone from its queue", func(tx engine.Tx) error {
			c := tx.Bucket(state.BucketQueue).Cursor()
			k, v := c.First()
			for ; len(v) == 0; k, v = c.Next() {
			}
			return tx.Bucket(state.BucketQueue).Delete(k)
		}, "1 changes are pending in lane 2147483648, the index says 2"},
		{"a pending index that is gone", func(tx engine.Tx) error {
			return tx.Bucket(state.BucketRows).Delete(state.RowKey(state.UserKey("ann"), state.BlockIndex))
		}, "who has no pending index"},
		{"a due entry that is gone", func(tx engine.Tx) error {
			k, _ := first(tx.Bucket(state.BucketDue))
			return tx.Bucket(state.BucketDue).Delete(k)
		}, "due: pending index"},
		{"a due entry too many", func(tx engine.Tx) error {
			return tx.Bucket(state.BucketDue).Put(state.DueKey(domain.EndpointTransition, 0, 1, state.UserKey("nobody")), nil)
		}, "due: the due index has"},
		{"a ledger that lost count", func(tx engine.Tx) error {
			l, err := state.DecodeLedger(tx.Bucket(state.BucketMeta).Get(state.MetaLedger))
			l.Changes.Pending++
			l.Changes.Created++
			l.Users--
			return firstError(err, tx.Bucket(state.BucketMeta).Put(state.MetaLedger, l.Encode()))
		}, "ledger: users"},
		{"a law that is broken", func(tx engine.Tx) error {
			l, err := state.DecodeLedger(tx.Bucket(state.BucketMeta).Get(state.MetaLedger))
			l.Events.Accepted++
			return firstError(err, tx.Bucket(state.BucketMeta).Put(state.MetaLedger, l.Encode()))
		}, "ledger: 8 events"},
		{"a computation's members", func(tx engine.Tx) error {
			k, v := first(tx.Bucket(state.BucketFields))
			f, err := state.DecodeField(0, v)
			f.Members += 7
			return firstError(err, tx.Bucket(state.BucketFields).Put(k, f.Encode(nil)))
		}, "members: \"vip\" has"},
		{"a position behind which records are missing", func(tx engine.Tx) error {
			return nil
		}, "inbox"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := stocked(t)
			if tc.want == "inbox" {
				b.spoilFirstRecord()
			}
			must(t, b.db.Update(tc.harm))
			r, err := b.Check(context.Background(), nil)
			must(t, err)
			var found []string
			for _, f := range r.Findings {
				found = append(found, f.Code+": "+f.Message)
			}
			if all := strings.Join(found, "\n"); !strings.Contains(all, tc.want) {
				t.Errorf("want %q, found:\n%s", tc.want, all)
			}
		})
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestACheckFollowsThePagesOfAStoppedStore(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendNone))
	for i := range 40 {
		b.receive(mixedEvents(uint64(i), 20)...)
	}
	must(t, b.Close())
	path := filepath.Join(b.dir, datadir.StateFile)
	file, err := os.ReadFile(path)
	must(t, err)
	const page = 4096
	found := 0
	for at := 4 * page; at+page <= len(file) && found == 0; at += page {
		bad := append([]byte(nil), file...)
		bad[at+8] ^= 0x10 // the kind of page
		must(t, os.WriteFile(path, bad, 0o600))
		r, err := repair.Check(context.Background(), b.dir, nil)
		must(t, err)
		if found = int(r.Faults); found > 0 && (r.Findings[0].Code != "pages" || !structural(r)) {
			t.Errorf("%+v", r.Findings)
		}
	}
	if found == 0 {
		t.Error("no damaged page was found")
	}
}

// spoilFirstRecord changes a byte of the first record, wherever the file of the inbox has it.
func (b *bench) spoilFirstRecord() {
	b.Helper()
	records, err := b.records.Read(1, 1)
	must(b, err)
	path, frame := b.inbox.Segments()[0].Path(), records[0].Frame
	body, err := os.ReadFile(path)
	must(b, err)
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(b, err)
	defer file.Close()
	hits := 0
	for from := 0; ; hits++ {
		at := bytes.Index(body[from:], frame)
		if at < 0 {
			break
		}
		from += at + len(frame)
		middle := from - len(frame)/2
		_, err := file.WriteAt([]byte{body[middle] ^ 1}, int64(middle))
		must(b, err)
	}
	if hits == 0 {
		b.Fatal("the record is not in the file")
	}
}
