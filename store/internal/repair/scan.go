package repair

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/apply"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/outbox"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// stateScanner takes the entries that nothing else implies out of a damaged state.db and puts them into a new one. The
// rebuilder makes the pending-index rows, the due index, the locator and the pointers of the queue.
type stateScanner struct {
	file   *boltpage.File
	epoch  uint32
	orphan bool // the page being read is not reached by the tree: entries of the tree win

	report  *Salvage
	found   scanned
	lastDay []byte // newest bucket of message ids

	stateOutput
}

// scanned is what a scan learns beside the entries that it saves.
type scanned struct {
	meta       map[string][]byte
	highest    uint64   // number of the newest record that an entry names
	newest     uint64   // number of the last entry of the history
	located    uint64   // changes that the old locator knew
	displaced  [][]byte // entries of the history whose number another entry has
	lost       bool     // entries are missing
	leasesLost bool
}

// scan reads everything that can be read of the file.
func (q *stateScanner) scan() error {
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
	return q.close()
}

// scanOrphans reads the pages in use that the tree does not reach. If the freelist is readable, they are exactly the
// pages that the tree lost. Otherwise older versions are among them, and entries of the tree win. Pages with buckets go
// first, because they name the buckets of the others.
func (q *stateScanner) scanOrphans(w *boltpage.Walk, limit uint64) {
	q.orphan, q.found.lost, q.found.leasesLost = true, true, true
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

func (q *stateScanner) scanPage(w *boltpage.Walk, id uint64, buckets bool) {
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
	return bytes.Equal(name, state.BucketMeta) || containsName(state.StateBuckets, name)
}

// takeAll saves the entries of a page, and returns how many it could.
func (q *stateScanner) takeAll(path []string, list []boltpage.Element) (saved int) {
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
			q.found.lost = true
			q.found.leasesLost = q.found.leasesLost || len(path) > 0 && path[0] == string(state.BucketLeases)
		}
	}
	return saved
}

// takeInline saves the entries of a bucket that is stored inline in its parent. The walk of the tree visits the sound ones
// itself.
func (q *stateScanner) takeInline(path []string, e *boltpage.Element) {
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
		q.found.lost = true
	}
	below := append(path[:len(path):len(path)], string(e.Key))
	if saved := q.takeAll(below, list); !sound && saved < of {
		q.report.Entries += uint64(of - saved)
	}
}

// take saves one entry, if it is whole. Its checksum shows which bucket it is of; an entry without one is known by its path
// or its shape.
func (q *stateScanner) take(path []string, k, v []byte) bool {
	bucket := ""
	if len(path) > 0 && knownBucket([]byte(path[0])) { // else the name is damaged
		bucket = path[0]
	}
	switch {
	case bucket == string(state.BucketLocator):
		q.found.located++
		return true
	case q.derived(bucket, k, v):
		return true
	case bucket == string(state.BucketMeta) || bucket == "" && isMetaKey(k):
		if _, known := q.found.meta[string(k)]; !known || !q.orphan {
			q.found.meta[string(k)] = bytes.Clone(v)
		}
		return true
	case q.takeChange(k, v), q.takeRow(k, v), q.takeConsent(k, v):
		return true
	case len(k) == 4 && bucket != string(state.BucketJobs):
		f, err := state.DecodeField(binary.BigEndian.Uint32(k), v)
		return err == nil && q.putNewer(state.BucketFields, k, v, func(old []byte) bool {
			o, err := state.DecodeField(f.Number, old)
			return err == nil && o.LastEvent.After(f.LastEvent)
		})
	case len(k) == 8 && (bucket == string(state.BucketJournal) || bucket == "") && q.takeJournal(k, v):
		return true
	case bucket == string(state.BucketDeletions), bucket == "" && len(k) == state.ReceiptKey:
		_, err := state.DecodeReceipt(k, v, record.Epochs{{First: 0, Epoch: q.epoch}})
		return err == nil && q.putNewer(state.BucketDeletions, k, v, func([]byte) bool { return q.orphan })
	case len(k) == 8 && (bucket == string(state.BucketLeases) || bucket == ""):
		if _, err := state.DecodeLease(state.Number(k), v, record.Epochs{{First: 0, Epoch: q.epoch}}); err == nil {
			return q.put(state.BucketLeases, k, v)
		}
	}
	return q.takePlain(path, bucket, k, v)
}

// derived reports whether an entry is made from others. It need not be saved, nor be whole.
func (q *stateScanner) derived(bucket string, k, v []byte) bool {
	id, rest, ok := state.UserOf(k)
	ours := ok && bytes.HasPrefix(k, state.UserKey(id))
	switch bucket {
	case string(state.BucketDue):
		return true
	case string(state.BucketQueue):
		return len(v) == 0
	case string(state.BucketRows):
		return ours && len(rest) == 2 && binary.BigEndian.Uint16(rest) == state.BlockIndex
	case "":
		if len(v) == 0 && len(k) > 9 && k[0] >= byte(domain.EndpointTransition) && k[0] <= domain.Endpoints {
			return true
		}
		return ours && (len(rest) == 14 && len(v) == 0 || len(rest) == 2 && binary.BigEndian.Uint16(rest) == state.BlockIndex) ||
			len(k) == 10 && len(v) > 5 && (v[0] == state.LocatedInRow || v[0] == state.LocatedInQueue) && len(v) < domain.MaxUserID+6 && !isFrame(v)
	}
	return false
}

func isFrame(v []byte) bool {
	_, err := wire.Unseal(v, min(v[0], state.ChangeVersion))
	return err == nil
}

// takePlain saves an entry without a checksum.
func (q *stateScanner) takePlain(path []string, bucket string, k, v []byte) bool {
	switch {
	case bucket == string(state.BucketJobs) && len(k) == 4 && len(v) < 1024:
		return q.put(state.BucketJobs, k, v)
	case bucket == string(state.BucketRuns), bucket == "" && (bytes.HasPrefix(k, []byte(query.RunOfJob)) || bytes.HasPrefix(k, []byte(query.RunOfNotices))):
		return json.Valid(v) && q.put(state.BucketRuns, k, v)
	case len(k) == 16 && apply.IsStone(v) && (bucket == string(state.BucketTombstones) || bucket == ""):
		return q.putNewer(state.BucketTombstones, k, v, func(old []byte) bool { return bytes.Compare(old, v) > 0 })
	case len(k) == 16 && len(v) == 0 && (bucket == string(state.BucketMessages) || bucket == ""):
		return q.takeMessage(path, k)
	case len(k) == 8 && (len(v) == 8 || len(v) == 12 || len(v) == 16) && (bucket == string(state.BucketSent) || bucket == ""):
		return q.put(state.BucketSent, k, v)
	case bucket == string(state.BucketSamples) && len(k) == 8:
		_, err := query.DecodeSample(v)
		return err == nil && q.put(state.BucketSamples, k, v)
	case bucket == string(state.BucketVerdicts) && len(k) == 8 && len(v) > 0 && len(v) <= state.VerdictsOf:
		return q.put(state.BucketVerdicts, k, v)
	case bucket == string(state.BucketLists):
		_, err := state.DecodeList(k, v)
		return err == nil && q.put(state.BucketLists, k, v)
	case bucket == string(state.BucketDamaged):
		return q.put(state.BucketDamaged, k, v)
	}
	return false
}

var metaKeys = [][]byte{boltfile.MetaFormat, boltfile.MetaEpoch, boltfile.MetaSeal, state.MetaApplied, state.MetaLedger, state.MetaRules, state.MetaSalt, state.MetaLastLease, state.MetaClosed, state.MetaJournal, metaSalvage, outbox.MetaNotices, state.MetaRefusals, state.MetaEpochs, state.MetaHome, state.MetaConsent, state.MetaDeletes, engine.MetaWorkspace}

func isMetaKey(k []byte) bool {
	return slices.ContainsFunc(metaKeys, func(m []byte) bool { return bytes.Equal(m, k) })
}

// takeMessage saves a message id under its day, or under the newest day if its own is lost. Then it is kept for longer than
// promised, never shorter.
func (q *stateScanner) takeMessage(path []string, k []byte) bool {
	today := state.NumberKey(uint64(q.report.At.Unix()) / uint64(state.Day/time.Second))
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
	ids, err := q.tx.Bucket(state.BucketMessages).MakeInner(own)
	return err == nil && q.tally(ids.Put(bytes.Clone(k), nil))
}

// takeChange saves a change in the bucket of its state. The rebuilder decides which of two versions of a change is the
// newer.
func (q *stateScanner) takeChange(k, v []byte) bool {
	frame := v
	if _, rest, ok := state.UserOf(k); ok && len(rest) == 14 && len(v) > 5 {
		_, _, frame = state.ParseQueueValue(v)
	}
	ch, err := state.DecodeChange(frame, record.Epochs{{First: 0, Epoch: q.epoch}})
	if err != nil || !q.begin() {
		return false
	}
	q.found.highest = max(q.found.highest, ch.ID.Seq)
	switch ch.State {
	case domain.StatePending:
		value := binary.BigEndian.AppendUint32(nil, outbox.Second(ch.Received))
		value = append(append(value, record.BoolByte(ch.Attempts > 0)), frame...)
		return q.put(state.BucketQueue, state.QueueKey(state.UserKey(ch.User), ch.Lane, ch.ID), value)
	case domain.StateHeld:
		return q.put(state.BucketHeld, state.IDKey(ch.ID), frame)
	case domain.StateParked:
		return q.put(state.BucketParked, state.IDKey(ch.ID), frame)
	}
	n := state.Number(k)
	if old := q.tx.Bucket(state.BucketHistory).Get(k); n == 0 || n > 1<<60 || old != nil && !q.orphan {
		q.found.displaced = append(q.found.displaced, bytes.Clone(frame))
		return true
	} else if old != nil {
		return true
	}
	q.found.newest = max(q.found.newest, n)
	return q.put(state.BucketHistory, k, frame)
}

// takeJournal saves a chunk of the journal. Of two versions, the one with more entries is the newer; of equal ones, that of
// the tree.
func (q *stateScanner) takeJournal(k, v []byte) bool {
	entries, err := state.JournalChunk(k, v)
	if err != nil {
		return false
	}
	for i := range entries {
		q.found.highest = max(q.found.highest, entries[i].Seq)
	}
	return q.putNewer(state.BucketJournal, k, v, func(old []byte) bool {
		was, err := state.JournalChunk(k, old)
		return err == nil && (len(was) > len(entries) || q.orphan && len(was) == len(entries))
	})
}

// takeRow saves a row. Of two versions, the one that names the newer record is the newer.
func (q *stateScanner) takeRow(k, v []byte) bool {
	newest, ok := q.newestIn(k, v)
	if !ok {
		return false
	}
	q.found.highest = max(q.found.highest, newest)
	return q.putNewer(state.BucketRows, k, v, func(old []byte) bool {
		n, _ := q.newestIn(k, old)
		return n > newest
	})
}

// takeConsent saves the consent of a user. Of two versions, the one with the newer statement is the newer.
func (q *stateScanner) takeConsent(k, v []byte) bool {
	id, rest, ok := state.UserOf(k)
	if !ok || !bytes.Equal(rest, []byte{state.BlockConsent >> 8, state.BlockConsent & 0xFF}) || !bytes.HasPrefix(k, state.UserKey(id)) {
		return false
	}
	c, err := state.DecodeConsent(k, v)
	if err != nil {
		return false
	}
	q.found.highest = max(q.found.highest, c.Seq)
	return q.putNewer(state.BucketRows, k, v, func(old []byte) bool {
		o, err := state.DecodeConsent(k, old)
		return err == nil && o.Time > c.Time
	})
}

// newestIn returns the number of the newest record that a row names.
func (q *stateScanner) newestIn(k, v []byte) (newest uint64, ok bool) {
	id, rest, ok := state.UserOf(k)
	if !ok || len(rest) != 2 || !bytes.HasPrefix(k, state.UserKey(id)) {
		return 0, false
	}
	row, err := state.DecodeBlock(k, v, record.Epochs{{First: 0, Epoch: q.epoch}})
	if err != nil {
		return 0, false
	}
	for _, e := range row.Entries {
		newest = max(newest, e.Waiting.ID.Seq, e.InFlight.ID.Seq)
		for _, s := range e.Kept {
			if s != nil {
				newest = max(newest, s.Seq)
			}
		}
	}
	return newest, true
}

// putNewer puts an entry unless a newer one is there.
func (q *stateScanner) putNewer(bucket, k, v []byte, better func(old []byte) bool) bool {
	if !q.begin() {
		return false
	}
	if old := q.tx.Bucket(bucket).Get(k); old != nil && (better(old) || q.orphan && bytes.Equal(old, v)) {
		return true
	}
	return q.put(bucket, k, v)
}
