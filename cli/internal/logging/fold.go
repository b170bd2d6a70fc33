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

	// maxKinds bounds the kinds of lines that are told apart; beyond, the message alone counts.
	maxKinds = 512
)

// folder keeps a fault that comes and goes from flooding the log. The first line of a kind is written.
// Further ones within foldFor are counted, and the last of them is written with the count. A warning or
// an error is folded always; an information is while a fault of the same part repeats, because it says
// that the fault is over. What an operator ordered is written each time.
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
	seq    uint64 // of last: two may bear one time
	write  func(slog.Record)
}

// admits reports whether r is to be written now. write is what writes it later.
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

// flush writes what was folded once any of it is due: all of it, in the order in which it happened last,
// so that the last line is how things stand.
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

// kindOf names what a record says, without what differs from one time to the next: numbers, times,
// durations, and a reason, which may quote what a stranger sent. ordered says that a person asked for it:
// it names their user id.
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

// telling are the kinds of values that tell one fault from another.
var telling = []slog.Kind{slog.KindString, slog.KindBool, slog.KindAny}

// withoutNumbers puts one # in place of the digits that stand together.
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
