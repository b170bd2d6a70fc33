package repair

import (
	"fmt"
	"slices"

	"personasync/store/domain"
)

// Finding is one fault.
type Finding struct {
	File    string `json:"file"`
	Code    string `json:"code"` // open, pages, frame, ledger, pointer, due, members, inbox, record, copy
	Message string `json:"message"`
}

// CheckReport counts what a check read, and lists its findings. Its JSON is the output of `db check --json`, so its many
// fields are those of one table.
type CheckReport struct {
	Pages    bool      `json:"pages"`            // the pages were read as bbolt links them, as long as no agent writes
	Bytes    int64     `json:"bytes"`            // 0 in PostgreSQL
	Engine   string    `json:"engine,omitempty"` // postgres; absent with files
	Rows     uint64    `json:"rows"`
	Users    uint64    `json:"users"`
	Pending  uint64    `json:"pending"`
	Held     uint64    `json:"held"`
	Parked   uint64    `json:"parked"`
	History  uint64    `json:"history"`
	Journal  uint64    `json:"journal"` // transitions in it
	Queued   uint64    `json:"queued"`
	Due      uint64    `json:"due"`
	Records  uint64    `json:"records"`  // in the inbox
	Damaged  uint64    `json:"damaged"`  // frames set aside earlier
	Grew     int64     `json:"grew"`     // bytes on disk that state.db grew by meanwhile, while an agent writes
	Faults   uint64    `json:"faults"`   // all of them
	Findings []Finding `json:"findings"` // the first MaxFindings

	// DamagedFiles are those that a salvage would rebuild. A record with a wrong checksum is no reason: it is
	// parked when it is applied, and harms no other.
	DamagedFiles []string `json:"damaged_files"`

	File string // the file that is being read
}

// MaxFindings limits the list, not the count: a badly damaged disk has millions.
const MaxFindings = 100

// OK reports whether the check found no fault.
func (r *CheckReport) OK() bool { return r.Faults == 0 }

// findCopy is the code of a file whose records other files have too. It is not damaged.
const findCopy = "copy"

// OnlyCopies reports whether the only faults are copies among the files.
func (r *CheckReport) OnlyCopies() bool {
	return r.Faults == uint64(len(r.Findings)) && !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Code != findCopy })
}

// Find adds a fault of the file r.File. It counts the file as damaged, unless code is that of a single record.
func (r *CheckReport) Find(code, format string, args ...any) {
	if r.Faults++; len(r.Findings) < MaxFindings {
		for i, arg := range args {
			if key, ok := arg.([]byte); ok { // a damaged page may have a key of megabytes
				args[i] = key[:min(len(key), domain.MaxUserID+32)]
			}
		}
		r.Findings = append(r.Findings, Finding{r.File, code, fmt.Sprintf(format, args...)})
	}
	if code != "record" && !slices.Contains(r.DamagedFiles, r.File) {
		r.DamagedFiles = append(r.DamagedFiles, r.File)
	}
}
