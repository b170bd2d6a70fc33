package store

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/wire"
)

// Buckets of state.db. FORMAT.md says what is in them.
var (
	bucketFields     = []byte("fields")
	bucketRows       = []byte("rows")
	bucketQueue      = []byte("queue")
	bucketDue        = []byte("due")
	bucketLocator    = []byte("locator")
	bucketParked     = []byte("parked")
	bucketHeld       = []byte("held")
	bucketHistory    = []byte("history")
	bucketFlights    = []byte("flights")
	bucketMessages   = []byte("messages")
	bucketTombstones = []byte("tombstones")
	bucketSent       = []byte("sent")
	bucketJobs       = boltfile.BucketJobs
	bucketMeta       = boltfile.BucketMeta
	bucketRuns       = []byte("runs")
	bucketSamples    = []byte("samples")
	bucketVerdicts   = []byte("verdicts")
	bucketDamaged    = []byte("damaged")

	stateBuckets = [][]byte{bucketFields, bucketRows, bucketQueue, bucketDue, bucketLocator, bucketParked, bucketHeld, bucketHistory,
		bucketFlights, bucketMessages, bucketTombstones, bucketSent, bucketJobs, bucketRuns, bucketSamples, bucketVerdicts, bucketDamaged}

	// lateBuckets came after the first version: a file that it wrote lacks them until it is opened.
	lateBuckets = [][]byte{bucketSamples, bucketVerdicts}

	metaApplied = []byte("applied")
	metaLedger  = []byte("ledger")
	metaRules   = []byte("rules")
	metaSalt    = []byte("salt")
	metaFlight  = []byte("flight")
	metaClosed  = []byte("closed")
)

// stateMmap is the address space reserved for state.db: room for 64 GiB before the map must grow.
const stateMmap = 64 << 30

// ledger is the two conservation laws and a few gauges, written in the same transaction as what it counts.
type ledger struct {
	events     domain.EventLedger
	changes    domain.ChangeLedger
	users      uint64
	rejected   uint64
	tombstones uint64
	damaged    uint64
	backlog    domain.Backlog
	uncounted  bool // read from a version that did not count the backlog: see countBacklog
}

// terms are the numbers of a ledger's frame; version 1 had no backlog at its end.
func (l *ledger) terms() [27]*uint64 {
	e, c := &l.events, &l.changes
	return [27]*uint64{
		&e.Accepted, &e.Transitions, &e.Unchanged, &e.Duplicate, &e.Stale, &e.Ignored, &e.Parked, &e.Discarded,
		&c.Created, &c.Delivered, &c.Superseded, &c.Cancelled, &c.Dropped, &c.Expired, &c.Forgotten, &c.Pending, &c.Held, &c.Parked,
		&e.Lost, &c.Lost,
		&l.users, &l.rejected, &l.tombstones, &l.damaged,
		&l.backlog.Users, &l.backlog.Events, &l.backlog.Members,
	}
}

const ledgerVersion byte = 2

func (l *ledger) encode() []byte {
	buf := []byte{ledgerVersion}
	for _, n := range l.terms() {
		buf = wire.AppendUint(buf, *n)
	}
	return wire.Seal(buf, 0)
}

func decodeLedger(frame []byte) (l ledger, err error) {
	version, terms := ledgerVersion, l.terms()
	known := terms[:]
	if len(frame) > 0 && frame[0] == 1 {
		version, known, l.uncounted = 1, terms[:24], true
	}
	r, err := wire.Unseal(frame, version)
	if err != nil {
		return l, fmt.Errorf("the ledger: %w", err)
	}
	for _, n := range known {
		*n = r.Uint()
	}
	return l, r.Done()
}

// state is what apply keeps in memory beside the file: all of it can be read back, and is when a
// transaction fails. Only the writer's goroutine touches it.
type state struct {
	epoch         uint32 // of the store, and of its files
	epochs        epochs // of change ids
	home          []byte // where it last ran: see homeOf
	applied       uint64 // number of the last record applied
	rules         domain.Rules
	ledger        ledger
	registry      *registry
	jobs          []string // name of each job, and of each lane by cohortLane; 0 is the default schedule, ""
	lastLease     uint64   // number of the last lease
	closed        uint64   // number of the last entry of the history
	leases        map[uint64]*lease
	inFlight      map[leaseKey]*leasedDelivery // everybody on a lease
	corruptLeases []uint64                     // flights whose row is damaged
	salt          []byte                       // of the tombstones
	sweeping      []*field                     // whose waiting exits are being held: see massexit.go

	jobNumbers map[string]uint32        // the same by name; nil until asked for
	lanes      [2]map[uint32]*laneState // of the due index, by Endpoint - 1; nil until asked for
	turns      uint64                   // how many there were, to find whose is next
	shares     [2]shares                // by Endpoint - 1

	contradicted bool // damage showed, and was told of; not on disk
}

// job returns the name of the job whose schedule a lane waits for. A lane whose job the rules do not
// know any more waits for the default schedule, so that a change of config strands nothing.
func (st *state) job(lane uint32) string {
	n := laneJob(lane)
	if int64(n) >= int64(len(st.jobs)) {
		return ""
	}
	name := jobOfLane(st.jobs[n])
	known := st.rules.Defaults.Job == name || slices.ContainsFunc(st.rules.Sections, func(s domain.Section) bool { return s.Policy.Job == name })
	if !known {
		return ""
	}
	return name
}

// initState writes what a new state.db needs.
func initState(db *bolt.DB, epoch uint32) error {
	if err := boltfile.Init(db, epoch, stateBuckets...); err != nil {
		return err
	}
	return db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta.Get(metaSalt) != nil {
			return nil
		}
		salt := make([]byte, 16)
		rand.Read(salt)
		if err := meta.Put(metaSalt, salt); err != nil {
			return err
		}
		return boltfile.Seal(tx)
	})
}

// loadCounted is loadState for whoever goes on counting: the backlog, where the file does not have it,
// is counted from the heads.
func loadCounted(tx *bolt.Tx) (*state, error) {
	st, err := loadState(tx)
	if err != nil || !st.ledger.uncounted {
		return st, err
	}
	st.ledger.uncounted = false
	return st, tx.Bucket(bucketRows).ForEach(func(k, frame []byte) error {
		if _, rest, ok := userOf(k); !ok || len(rest) != 2 || binary.BigEndian.Uint16(rest) != blockHead {
			return nil
		}
		if h, err := decodeHead(k, frame); err == nil {
			st.ledger.backlog.Move(domain.Backlog{}, h.backlog())
		}
		return nil
	})
}

func loadState(tx *bolt.Tx) (*state, error) {
	meta := tx.Bucket(bucketMeta)
	if err := boltfile.Check(tx); err != nil {
		return nil, err
	}
	st := &state{epoch: binary.BigEndian.Uint32(meta.Get(boltfile.MetaEpoch)), epochs: epochsIn(tx), jobs: []string{""}}
	st.salt = append(st.salt, meta.Get(metaSalt)...)
	st.home = append(st.home, meta.Get(metaHome)...)
	st.applied = number(meta.Get(metaApplied))
	st.lastLease = number(meta.Get(metaFlight))
	st.closed = number(meta.Get(metaClosed))
	if err := st.loadLeases(tx); err != nil {
		return nil, err
	}
	if frame := meta.Get(metaLedger); frame != nil {
		l, err := decodeLedger(frame)
		if err != nil {
			return nil, err
		}
		st.ledger = l
	}
	if text := meta.Get(metaRules); text != nil {
		if err := json.Unmarshal(text, &st.rules); err != nil {
			return nil, fmt.Errorf("the rules: %w", err)
		}
	}
	err := tx.Bucket(bucketJobs).ForEach(func(_, name []byte) error {
		st.jobs = append(st.jobs, string(name))
		return nil
	})
	if err != nil {
		return nil, err
	}
	var fields []*field
	err = tx.Bucket(bucketFields).ForEach(func(k, frame []byte) error {
		f, err := decodeField(binary.BigEndian.Uint32(k), frame)
		if err == nil && int(f.number) != len(fields) { // rows speak of them by number
			err = wire.ErrDamaged
		}
		fields = append(fields, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the computations: %w", err)
	}
	for _, f := range fields {
		if f.watch.swept != nil {
			st.sweeping = append(st.sweeping, f)
		}
	}
	st.registry = newRegistry(fields, &st.rules)
	return st, nil
}

func number(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
