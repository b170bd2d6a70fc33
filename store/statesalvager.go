package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/wire"
)

// stateSalvager takes entries out of a damaged state.db and puts them into a new one: whatever cannot be made
// anew. Heads, due index, locator and the pointers of the queue are left to the rebuilder.
type stateSalvager struct {
	file   *boltpage.File
	epoch  uint32
	report *Salvage

	db      *bolt.DB
	tx      *bolt.Tx
	written int
	err     error // the first write that failed: a full disk must not pass for lost entries

	meta        map[string][]byte
	orphan      bool     // what is being read is out of the tree: what is in it wins
	highest     uint64   // number of the newest record that left a trace
	newest      uint64   // number of the last entry of the history
	position    uint64   // what is taken for applied
	located     uint64   // changes that the old locator knew
	displaced   [][]byte // entries of the history whose number is another's
	lastDay     []byte   // newest bucket of message ids
	lost        bool     // entries are missing
	flightsLost bool
}

// salvageChunk is how many entries one transaction of the salvage writes.
const salvageChunk = 20000

// dig reads everything that can be read of the file.
func (q *stateSalvager) scan() error {
	m, ok := q.file.Newest()
	torn := !ok
	limit := q.file.Pages()
	w := boltpage.Walk{Seen: boltpage.NewSet(limit)}
	if ok {
		w = boltpage.Walk{File: q.file, Meta: m, Fault: func(error) {}, Leaf: func(_ uint64, path []string, list []boltpage.Element) { q.takeAll(path, list) }}
		w.Run()
		torn, limit = w.Unreachable > 0, min(limit, m.Pages)
	}
	if torn {
		q.scanOrphans(&w, limit)
	}
	return errors.Join(q.err, q.commit())
}

// scanOrphans reads the pages that are in use and out of the tree's reach. While the list of free pages
// is known these are exactly what the tree lost; else older versions are among them, and what the
// tree still had wins. Pages that hold buckets go first: they say what the others are.
func (q *stateSalvager) scanOrphans(w *boltpage.Walk, limit uint64) {
	q.orphan, q.lost, q.flightsLost = true, true, true
	for id := limit; id < w.Meta.Pages; id++ {
		if w.Free == nil || !w.Free.Has(id) {
			q.report.Pages++ // cut off
		}
	}
	for _, buckets := range []bool{true, false} {
		for id := uint64(2); id < limit; id++ {
			if !w.Seen.Has(id) && (w.Free == nil || !w.Free.Has(id)) {
				q.scanPage(w, id, buckets)
			}
		}
	}
}

func (q *stateSalvager) scanPage(w *boltpage.Walk, id uint64, buckets bool) {
	g, err := q.file.Read(id)
	if g == nil {
		q.report.Pages++
		return
	}
	if g.IsStructure() {
		return
	}
	list, layout := g.Elements()
	of := len(list)
	if layout != nil {
		list, of = g.Remains()
	}
	if slices.ContainsFunc(list, func(e boltpage.Element) bool { return e.IsBucket() && knownBucket(e.Key) }) != buckets {
		return
	}
	saved := q.takeAll(nil, list)
	switch {
	case saved == 0 && of > 0 || !g.IsLeaf():
		q.report.Pages++
	case saved < of:
		q.report.Entries += uint64(of - saved)
	}
	w.Seen.Add(id)
	if layout == nil && err == nil {
		w.Seen.AddPage(g)
	}
	for i := range list {
		if root, _, ok := list[i].Bucket(); ok && root != 0 && w.File != nil && knownBucket(list[i].Key) && !w.Seen.Has(root) {
			w.Visit(root, []string{string(list[i].Key)}, nil, nil, 0)
		}
	}
}

func knownBucket(name []byte) bool {
	return bytes.Equal(name, bucketMeta) || containsName(stateBuckets, name)
}

// takeAll saves the entries of a page, and returns how many it could.
func (q *stateSalvager) takeAll(path []string, list []boltpage.Element) (saved int) {
	for i := range list {
		e := &list[i]
		switch {
		case e.IsBucket():
			saved++
			q.takeInline(path, e)
		case q.take(path, e.Key, e.Value):
			saved++
		case !q.orphan:
			q.report.Entries++
			q.lost = true
			q.flightsLost = q.flightsLost || len(path) > 0 && path[0] == string(bucketFlights)
		}
	}
	return saved
}

// takeInline saves the entries of a bucket that is stored within its parent. The walk of the tree
// comes to the sound ones by itself.
func (q *stateSalvager) takeInline(path []string, e *boltpage.Element) {
	root, _, ok := e.Bucket()
	if !ok || root != 0 {
		return
	}
	g, err := e.Inline()
	if g == nil {
		return
	}
	list, layout := g.Elements()
	sound := err == nil && layout == nil
	if sound && !q.orphan {
		return
	}
	of := len(list)
	if !sound {
		list, of = g.Remains()
		q.lost = true
	}
	below := append(path[:len(path):len(path)], string(e.Key))
	if saved := q.takeAll(below, list); !sound && saved < of {
		q.report.Entries += uint64(of - saved)
	}
}

// take saves one entry, if it is whole. What has a checksum says by itself what it is; of the rest
// the path says it, or the shape.
func (q *stateSalvager) take(path []string, k, v []byte) bool {
	bucket := ""
	if len(path) > 0 && knownBucket([]byte(path[0])) { // else its name was hit
		bucket = path[0]
	}
	switch {
	case bucket == string(bucketLocator):
		q.located++
		return true
	case q.derived(bucket, k, v):
		return true
	case bucket == string(bucketMeta) || bucket == "" && isMetaKey(k):
		if _, known := q.meta[string(k)]; !known || !q.orphan {
			q.meta[string(k)] = bytes.Clone(v)
		}
		return true
	case q.takeChange(k, v), q.takeRow(k, v):
		return true
	case len(k) == 4 && bucket != string(bucketJobs):
		f, err := decodeField(binary.BigEndian.Uint32(k), v)
		return err == nil && q.putNewer(bucketFields, k, v, func(old []byte) bool {
			o, err := decodeField(f.number, old)
			return err == nil && o.lastEvent.After(f.lastEvent)
		})
	case len(k) == 8 && (bucket == string(bucketFlights) || bucket == ""):
		if _, err := decodeLease(number(k), v, epochs{{0, q.epoch}}); err == nil {
			return q.put(bucketFlights, k, v)
		}
	}
	return q.takePlain(path, bucket, k, v)
}

// derived reports whether an entry is made anew from others: it need not be saved, nor be whole.
func (q *stateSalvager) derived(bucket string, k, v []byte) bool {
	id, rest, ok := userOf(k)
	ours := ok && bytes.HasPrefix(k, userKey(id))
	switch bucket {
	case string(bucketDue):
		return true
	case string(bucketQueue):
		return len(v) == 0
	case string(bucketRows):
		return ours && len(rest) == 2 && binary.BigEndian.Uint16(rest) == blockHead
	case "":
		if len(v) == 0 && len(k) > 9 && (domain.Endpoint(k[0]) == domain.EndpointTransition || domain.Endpoint(k[0]) == domain.EndpointCohort) {
			return true
		}
		return ours && (len(rest) == 14 && len(v) == 0 || len(rest) == 2 && binary.BigEndian.Uint16(rest) == blockHead) ||
			len(k) == 10 && len(v) > 5 && (v[0] == locatedInRow || v[0] == locatedInQueue) && len(v) < domain.MaxUserID+6 && !isFrame(v)
	}
	return false
}

func isFrame(v []byte) bool {
	_, err := wire.Unseal(v, min(v[0], changeVersion))
	return err == nil
}

// takePlain saves what has no checksum.
func (q *stateSalvager) takePlain(path []string, bucket string, k, v []byte) bool {
	switch {
	case bucket == string(bucketJobs) && len(k) == 4 && len(v) < 1024:
		return q.put(bucketJobs, k, v)
	case bucket == string(bucketRuns), bucket == "" && bytes.HasPrefix(k, []byte("job:")):
		return json.Valid(v) && q.put(bucketRuns, k, v)
	case len(k) == 16 && isStone(v) && (bucket == string(bucketTombstones) || bucket == ""):
		return q.putNewer(bucketTombstones, k, v, func(old []byte) bool { return bytes.Compare(old, v) > 0 })
	case len(k) == 16 && len(v) == 0 && (bucket == string(bucketMessages) || bucket == ""):
		return q.takeMessage(path, k)
	case len(k) == 8 && (len(v) == 8 || len(v) == 12) && (bucket == string(bucketSent) || bucket == ""):
		return q.put(bucketSent, k, v)
	case bucket == string(bucketSamples) && len(k) == 8:
		_, err := decodeSample(v)
		return err == nil && q.put(bucketSamples, k, v)
	case bucket == string(bucketVerdicts) && len(k) == 8 && len(v) > 0 && len(v) <= verdictsOf:
		return q.put(bucketVerdicts, k, v)
	case bucket == string(bucketDamaged):
		return q.put(bucketDamaged, k, v)
	}
	return false
}

var metaKeys = [][]byte{boltfile.MetaFormat, boltfile.MetaEpoch, boltfile.MetaSeal, metaApplied, metaLedger, metaRules, metaSalt, metaFlight, metaClosed, metaSalvage, metaNotices, metaRefusals, metaEpochs, metaHome}

func isMetaKey(k []byte) bool {
	return slices.ContainsFunc(metaKeys, func(m []byte) bool { return bytes.Equal(m, k) })
}

// takeMessage remembers a message id under its day, or under the newest when the day is lost: longer
// than promised, never shorter.
func (q *stateSalvager) takeMessage(path []string, k []byte) bool {
	today := numberKey(uint64(q.report.At.Unix()) / uint64(day/time.Second))
	own := q.lastDay
	if len(path) == 2 && len(path[1]) == 8 && path[1] <= string(today) {
		if own = []byte(path[1]); path[1] > string(q.lastDay) {
			q.lastDay = own
		}
	}
	if own == nil {
		own = today
	}
	if !q.begin() {
		return false
	}
	ids, err := q.tx.Bucket(bucketMessages).CreateBucketIfNotExists(own)
	return err == nil && q.tally(ids.Put(bytes.Clone(k), nil))
}

// takeChange saves a change under the state that it says it is in. Which of two versions of one is the
// newer, the rebuilder decides.
func (q *stateSalvager) takeChange(k, v []byte) bool {
	frame := v
	if _, rest, ok := userOf(k); ok && len(rest) == 14 && len(v) > 5 {
		_, _, frame = parseQueueValue(v)
	}
	ch, err := decodeChange(frame, epochs{{0, q.epoch}})
	if err != nil || !q.begin() {
		return false
	}
	q.highest = max(q.highest, ch.ID.Seq)
	switch ch.State {
	case domain.StatePending:
		value := binary.BigEndian.AppendUint32(nil, second(ch.Received))
		value = append(append(value, boolByte(ch.Attempts > 0)), frame...)
		return q.put(bucketQueue, queueKey(userKey(ch.User), ch.lane, ch.ID), value)
	case domain.StateHeld:
		return q.put(bucketHeld, idKey(ch.ID), frame)
	case domain.StateParked:
		return q.put(bucketParked, idKey(ch.ID), frame)
	}
	n := number(k)
	if old := q.tx.Bucket(bucketHistory).Get(k); n == 0 || n > 1<<60 || old != nil && !q.orphan {
		q.displaced = append(q.displaced, bytes.Clone(frame))
		return true
	} else if old != nil {
		return true
	}
	q.newest = max(q.newest, n)
	return q.put(bucketHistory, k, frame)
}

// takeRow saves a row. Of two versions the one that knows of the newer record is the newer.
func (q *stateSalvager) takeRow(k, v []byte) bool {
	newest, ok := q.newestIn(k, v)
	if !ok {
		return false
	}
	q.highest = max(q.highest, newest)
	return q.putNewer(bucketRows, k, v, func(old []byte) bool {
		n, _ := q.newestIn(k, old)
		return n > newest
	})
}

// newestIn returns the number of the newest record that a row speaks of.
func (q *stateSalvager) newestIn(k, v []byte) (newest uint64, ok bool) {
	id, rest, ok := userOf(k)
	if !ok || len(rest) != 2 || !bytes.HasPrefix(k, userKey(id)) {
		return 0, false
	}
	row, err := decodeBlock(k, v, epochs{{0, q.epoch}})
	if err != nil {
		return 0, false
	}
	for _, e := range row.entries {
		newest = max(newest, e.waiting.id.Seq, e.inFlight.id.Seq)
		for _, s := range e.kept {
			if s != nil {
				newest = max(newest, s.Seq)
			}
		}
	}
	return newest, true
}

// putNewer puts an entry unless a better one is there.
func (q *stateSalvager) putNewer(bucket, k, v []byte, better func(old []byte) bool) bool {
	if !q.begin() {
		return false
	}
	if old := q.tx.Bucket(bucket).Get(k); old != nil && (better(old) || q.orphan && bytes.Equal(old, v)) {
		return true
	}
	return q.put(bucket, k, v)
}

func (q *stateSalvager) put(bucket, k, v []byte) bool {
	return q.begin() && q.tally(q.tx.Bucket(bucket).Put(bytes.Clone(k), bytes.Clone(v)))
}

func (q *stateSalvager) begin() bool {
	if q.tx == nil {
		tx, err := q.db.Begin(true)
		if err != nil {
			q.err = err
			return false
		}
		q.tx = tx
	}
	return true
}

func (q *stateSalvager) tally(err error) bool {
	if q.written++; err == nil && q.written%salvageChunk == 0 {
		err = q.commit()
	}
	if q.err == nil {
		q.err = err
	}
	return err == nil
}

func (q *stateSalvager) commit() error {
	if q.tx == nil {
		return nil
	}
	err := q.tx.Commit()
	q.tx = nil
	return err
}
