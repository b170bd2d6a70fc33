package state

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/turn"
	"personasync/store/internal/wire"
)

// State is what the writer keeps in memory beside the file. Every field can be read back from the file, and is after
// a transaction failed. Only the writer's goroutine uses it. It has a field for each key and bucket that it mirrors.
type State struct {
	Epoch         uint32        // of the store and its files
	Epochs        record.Epochs // of change ids
	Home          []byte        // where it last ran; see Arrival
	Applied       uint64        // number of the last record applied
	Rules         domain.Rules
	Ledger        Ledger
	Registry      *Registry
	jobs          []string // name of each job, and of each lane by cohortLane; 0 is the default schedule, ""
	LastLease     uint64   // number of the last lease
	Closed        uint64   // number of the newest entry of the history
	Journal       journalPosition
	Leases        map[uint64]*Lease
	InFlight      map[LeaseKey]*LeasedUser // users of the leases
	CorruptLeases []uint64                 // leases whose row is corrupt
	Salt          []byte                   // of the tombstones
	Sweeping      []*Field                 // fields whose pending exits are being held; see ExitWindow
	Deletes       Deletes

	jobNumbers map[string]uint32                       // the same by name; nil until first used
	lanes      [domain.Endpoints]map[uint32]*laneState // of the due index, by Endpoint - 1; nil until first used
	Turns      uint64                                  // turns so far; see laneState.Served
	Shares     [domain.Endpoints]turn.Shares           // by Endpoint - 1

	contradicted bool // Contradiction has logged; not on disk
}

// Init writes the first values of a new state.
func Init(kv engine.Tx) error {
	salt := make([]byte, 16)
	rand.Read(salt)
	return kv.Bucket(BucketMeta).Put(MetaSalt, salt)
}

// LoadCounted reads the state for a writer, which goes on counting. If the file is of a version that did not count
// the backlog, it is counted here from the pending index.
func LoadCounted(tx engine.Tx) (*State, error) {
	st, err := LoadState(tx)
	if err != nil || !st.Ledger.Uncounted {
		return st, err
	}
	st.Ledger.Uncounted = false
	return st, tx.Bucket(BucketRows).ForEach(func(k, frame []byte) error {
		if _, rest, ok := UserOf(k); !ok || len(rest) != 2 || binary.BigEndian.Uint16(rest) != BlockIndex {
			return nil
		}
		if h, err := DecodeIndex(k, frame); err == nil {
			st.Ledger.Backlog.Move(domain.Backlog{}, h.Backlog())
		}
		return nil
	})
}

// LoadState reads the state from a transaction. The backlog may be uncounted; see Ledger.
func LoadState(tx engine.Tx) (*State, error) {
	meta := tx.Bucket(BucketMeta)
	if err := tx.Check(); err != nil {
		return nil, err
	}
	st := &State{Epoch: binary.BigEndian.Uint32(meta.Get(engine.MetaEpoch)), Epochs: EpochsIn(tx), jobs: []string{""}}
	st.Salt = append(st.Salt, meta.Get(MetaSalt)...)
	st.Home = append(st.Home, meta.Get(MetaHome)...)
	st.Applied = Number(meta.Get(MetaApplied))
	st.LastLease = Number(meta.Get(MetaLastLease))
	st.Closed = Number(meta.Get(MetaClosed))
	st.Journal = readPosition(meta.Get(MetaJournal))
	if err := st.loadLeases(tx); err != nil {
		return nil, err
	}
	if frame := meta.Get(MetaLedger); frame != nil {
		l, err := DecodeLedger(frame)
		if err != nil {
			return nil, err
		}
		st.Ledger = l
	}
	st.Deletes = readDeletes(meta.Get(MetaDeletes))
	if text := meta.Get(MetaRules); text != nil {
		if err := json.Unmarshal(text, &st.Rules); err != nil {
			return nil, fmt.Errorf("read the rules: %w", err)
		}
		st.Rules.Lists = ReadLists(tx)
	}
	err := tx.Bucket(BucketJobs).ForEach(func(_, name []byte) error {
		st.jobs = append(st.jobs, string(name))
		return nil
	})
	if err != nil {
		return nil, err
	}
	var fields []*Field
	err = tx.Bucket(BucketFields).ForEach(func(k, frame []byte) error {
		f, err := DecodeField(binary.BigEndian.Uint32(k), frame)
		if err == nil && int(f.Number) != len(fields) { // rows refer to them by number
			err = wire.ErrDamaged
		}
		fields = append(fields, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the computations: %w", err)
	}
	for _, f := range fields {
		if f.Exits.Swept != nil {
			st.Sweeping = append(st.Sweeping, f)
		}
	}
	st.Registry = newRegistry(fields, &st.Rules)
	return st, nil
}

// EpochsIn reads the epochs of the record numbers in a file, the oldest first.
func EpochsIn(tx engine.Tx) record.Epochs {
	meta := tx.Bucket(BucketMeta)
	list := record.Epochs{{First: 0, Epoch: binary.BigEndian.Uint32(meta.Get(engine.MetaEpoch))}}
	for v := meta.Get(MetaEpochs); len(v) >= 12; v = v[12:] {
		list = append(list, record.EpochFrom{First: binary.BigEndian.Uint64(v), Epoch: binary.BigEndian.Uint32(v[8:])})
	}
	return list
}

// loadLeases reads every lease. A corrupt one is listed in CorruptLeases, and its users can be leased again.
func (st *State) loadLeases(tx engine.Tx) error {
	st.Leases, st.InFlight, st.CorruptLeases = make(map[uint64]*Lease), make(map[LeaseKey]*LeasedUser), nil
	return tx.Bucket(BucketLeases).ForEach(func(k, frame []byte) error {
		if f, err := DecodeLease(Number(k), frame, st.Epochs); err == nil {
			st.AddLease(f)
		} else {
			st.CorruptLeases = append(st.CorruptLeases, Number(k))
		}
		return nil
	})
}

// AddLease enters a lease and marks its users as in-flight on its endpoint.
func (st *State) AddLease(f *Lease) {
	st.Leases[f.Number] = f
	for i := range f.List {
		st.InFlight[LeaseKey{f.Endpoint, f.List[i].User}] = &f.List[i]
	}
}

// EndLease removes a lease, so that its users can be leased again.
func (st *State) EndLease(f *Lease) {
	delete(st.Leases, f.Number)
	for i := range f.List {
		delete(st.InFlight, LeaseKey{f.Endpoint, f.List[i].User})
	}
}

// IsInFlight reports whether a change that is kept in a membership row is in a request.
func (st *State) IsInFlight(endpoint domain.Endpoint, user string, id domain.ID) bool {
	p := st.InFlight[LeaseKey{endpoint, user}]
	return p != nil && slices.ContainsFunc(p.Attributes, func(c LeasedChange) bool { return c.ID == id })
}

// UnderWay reports whether a change, of a row or of the queue, is in a request.
func (st *State) UnderWay(endpoint domain.Endpoint, user string, id domain.ID) bool {
	p := st.InFlight[LeaseKey{endpoint, user}]
	return st.IsInFlight(endpoint, user, id) || p != nil && p.Queued.ID == id
}

// laneState is the knowledge in memory of one lane of the due index, so that Take does not read every lane. It
// exists from the first Take on.
type laneState struct {
	First  uint32    // no entry is due before this second; NotYet: no entry is due
	Last   uint32    // no entry is due after this second, except at NotYet
	Gone   bool      // the entry at First was removed; the next reader looks it up
	Served [2]uint64 // number of the last turn of the lane: for fresh changes, for all
}

// Note takes over the first key of a lane as a reader found it. k may belong to another lane, or be nil.
func (l *laneState) Note(endpoint domain.Endpoint, number uint32, k []byte) {
	l.First, l.Gone = NotYet, false
	if len(k) > 9 && domain.Endpoint(k[0]) == endpoint {
		if lane, second, _ := DueParts(k); lane == number {
			l.First = second
		}
	}
}

// journalPosition is the end of the journal, and the bytes of its keys and values.
type journalPosition struct{ Last, Bytes uint64 }

// encode and readPosition are the value of MetaJournal.
func (p journalPosition) encode() []byte {
	return binary.BigEndian.AppendUint64(NumberKey(p.Last), p.Bytes)
}

func readPosition(v []byte) (p journalPosition) {
	if len(v) == 16 {
		p.Last, p.Bytes = Number(v[:8]), Number(v[8:])
	}
	return p
}
