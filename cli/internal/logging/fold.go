package logging

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// foldFor is how long repeats of a line are counted before the last of them is written.
	foldFor = time.Minute

	// maxKinds limits the kinds of lines that are distinguished. Further lines are distinguished by their message
	// alone.
	maxKinds = 512
)

// folder keeps a repeated fault from flooding the log. The first line of a kind is written. Further ones within
// foldFor are counted, and the last of them is written with the count. Warnings and errors are always folded. An
// information is folded while a fault of the same part repeats, because it says that the fault is over. The lines of
// an operator's order are always written.
type folder struct {
	mu    sync.Mutex
	kinds map[string]*kind
	seq   uint64 // of the repeat that was folded last
}

// kind is a line and its repeats.
type kind struct {
	origin string // attributes of the logger, such as the part
	fault  bool
	begun  time.Time
	folded int
	last   slog.Record
	seq    uint64 // of last, because two may have one time
	write  func(slog.Record)
}

// admits reports whether r is written now. If not, write writes it later.
func (f *folder) admits(origin string, r slog.Record, write func(slog.Record)) bool {
	if r.Level < slog.LevelInfo {
		return true
	}
	name, ordered := kindOf(&r)
	if ordered {
		return true
	}
	name = origin + " " + name
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kinds == nil {
		f.kinds = map[string]*kind{}
	}
	if _, known := f.kinds[name]; !known && len(f.kinds) >= maxKinds {
		name = origin + " " + r.Message
	}
	k := f.kinds[name]
	if k == nil {
		f.kinds[name] = &kind{origin: origin, fault: r.Level >= slog.LevelWarn, begun: time.Now()}
		return true
	}
	if !k.fault && !f.repeats(origin) {
		return true
	}
	f.seq++
	k.folded, k.last, k.seq, k.write = k.folded+1, r.Clone(), f.seq, write
	return false
}

// repeats reports whether a fault of origin is being folded.
func (f *folder) repeats(origin string) bool {
	for _, k := range f.kinds {
		if k.fault && k.folded > 0 && k.origin == origin {
			return true
		}
	}
	return false
}

// flush writes all folded lines once one of them is due. They are written in the order in which they happened last,
// so that the last line is the present state.
func (f *folder) flush(now time.Time, all bool) {
	f.mu.Lock()
	var folded []kind
	for _, k := range f.kinds {
		all = all || k.folded > 0 && now.Sub(k.begun) >= foldFor
	}
	for name, k := range f.kinds {
		switch {
		case k.folded > 0 && all:
			folded = append(folded, *k)
			k.begun, k.folded = now, 0
		case k.folded == 0 && now.Sub(k.begun) >= foldFor:
			delete(f.kinds, name)
		}
	}
	f.mu.Unlock()
	slices.SortFunc(folded, func(a, b kind) int { return cmp.Compare(a.seq, b.seq) })
	for _, k := range folded {
		k.last.AddAttrs(slog.Int("repeated", k.folded))
		k.write(k.last)
	}
}

// kindOf returns a name for the kind of a record, without the parts that differ from one time to the next: numbers,
// times, durations, and a reason, which may quote a sender. ordered marks a line about an operator's order, which
// names their user id.
func kindOf(r *slog.Record) (name string, ordered bool) {
	var b strings.Builder
	fmt.Fprint(&b, r.Level, " ", r.Message)
	r.Attrs(func(a slog.Attr) bool {
		ordered = ordered || a.Key == "uid" || a.Key == "reload"
		switch v := a.Value.Resolve(); {
		case a.Key == "reason":
		case slices.Contains(telling, v.Kind()):
			fmt.Fprint(&b, " ", a.Key, "=", withoutNumbers(v.String()))
		}
		return true
	})
	return b.String(), ordered
}

// telling are the kinds of values that distinguish one fault from another.
var telling = []slog.Kind{slog.KindString, slog.KindBool, slog.KindAny}

// withoutNumbers replaces each group of digits by one #.
func withoutNumbers(text string) string {
	var b strings.Builder
	digits := false
	for _, c := range []byte(text[:min(len(text), 300)]) {
		if was := digits; c >= '0' && c <= '9' {
			if digits = true; was {
				continue
			}
			c = '#'
		} else {
			digits = false
		}
		b.WriteByte(c)
	}
	return b.String()
}
