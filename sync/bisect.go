package syncer

import (
	"math/rand/v2"
	"slices"
	"time"

	"personasync/store/domain"
)

// trip brings the elements of one flight to MoEngage in as many requests as that takes, and notes what
// became of each. What a trip does not mark stays Untried: it waits again, and no attempt is spent.
//
// MoEngage answers a request with one bad element by refusing all of it, without saying which. The
// search halves what was refused and sends the left half:
//
//	refused    the right half returns to the outbox untested, and the left half is searched
//	accepted   the left half is delivered, and the right half is known to be bad: it is searched
//	           without being sent whole
//
// So one offender of n elements costs at most ceil(log2 n) + 2 requests, the refused one included, and
// the elements beside it are delivered by then or soon leave in company. Over a thousand elements with
// seven offenders that makes 75 requests on average, where plain halving takes 113.
type trip struct {
	flight  *domain.Lease
	items   []item              // all elements of the flight
	post    func([]item) answer // makes one request; actStay when it may not be made now
	halt    func(answer)        // stops the road, because everything is refused
	known   map[string]bool     // users who were refused by themselves before this trip
	blamed  map[string]bool     // computations of elements that were tried by themselves
	wary    bool                // the road is stopped: ask whether anything is accepted before searching
	tired   bool                // users were parked in a row: likewise
	max     int                 // attempts; 0: for ever
	results []domain.DeliveryResult

	proven   bool // something was accepted on this trip, so a refusal is about the data
	over     bool // no further request on this trip
	unproven int  // users parked although nothing says that MoEngage takes anything
}

// deliver sends items and deals with the answer.
func (t *trip) deliver(items []item) {
	if t.over || len(items) == 0 {
		return
	}
	switch a := t.post(items); a.act {
	case actTake:
		t.take(items, a)
	case actSplit:
		t.split(items, a)
	case actBisect, actSuspect:
		t.search(items, a)
	default:
		t.abandon(items, a)
	}
}

// reject parks what could not become an element.
func (t *trip) reject(faults []fault) {
	for _, f := range faults {
		half := item{delivery: f.delivery, event: f.event}
		*t.result(half) = domain.Result{Verdict: domain.Parked, Reason: f.code, Sentence: f.sentence()}
	}
}

// split sends both halves of what was too large as a whole.
func (t *trip) split(items []item, a answer) {
	if len(items) == 1 {
		t.convict(items[0], a)
		return
	}
	if t.wary && !t.proven {
		if !t.prove(items, a) {
			return
		}
		items = t.open(items)
	}
	half := len(items) / 2
	t.deliver(t.open(items[:half]))
	t.deliver(t.open(items[half:]))
}

// search finds one offender among items, which were refused as a whole.
func (t *trip) search(items []item, refusal answer) {
	alone := len(items) == 1 // the item that is left was refused by itself, not by conclusion
	if !alone && t.unlikely(refusal) {
		if !t.prove(items, refusal) {
			return
		}
		items = t.open(items)
	}
	for len(items) > 1 {
		half := len(items) / 2
		left := items[:half]
		switch a := t.post(left); a.act {
		case actTake:
			t.take(left, a)
			items, alone = items[half:], false
		case actBisect, actSuspect:
			items, refusal, alone = left, a, true
		case actSplit:
			t.split(left, a)
			return
		default:
			t.abandon(left, a)
			return
		}
	}
	for _, offender := range items {
		t.accuse(offender, refusal, alone)
	}
}

// unlikely reports whether a refusal is most likely about everything. Asking whether any single
// element is accepted tells that more cheaply than a search.
func (t *trip) unlikely(refusal answer) bool {
	return !t.proven && (t.tired || refusal.act == actSuspect && (t.wary || refusal.Code == codeAccount))
}

// plausible is the least size of an element whose 413 is MoEngage's: its limits are 100 KB and 128 KB. Of
// a smaller one it is a proxy's on the way, which may have a limit that nothing passes.
const plausible = 64 << 10

// damning reports whether a refusal of one element alone is enough to park it. A documented data error is.
func (t *trip) damning(it item, refusal answer) bool {
	switch {
	case t.proven, refusal.again:
		return true
	case refusal.act == actSplit:
		return it.to-it.from >= plausible
	}
	return refusal.act == actBisect
}

// convict parks an element that was refused by itself, once that is known to be about it.
func (t *trip) convict(it item, refusal answer) {
	t.blame(it)
	if t.damning(it, refusal) || t.prove(t.others(it), refusal) {
		t.park(it, refusal.parkedAs(), refusal)
	}
}

// accuse parks the offender that a search ended at. A documented data error is enough for that. Any
// other refusal must be repeated with the offender alone, if it was only concluded so far, since it
// may have been about the request; and something else must have been accepted, since it may be about
// everything.
func (t *trip) accuse(offender item, refusal answer, alone bool) {
	if refusal.act == actSuspect && !alone {
		a := t.post([]item{offender})
		if a.act != actBisect && a.act != actSuspect {
			t.acquit(offender, a)
			return
		}
		refusal = a
	}
	t.convict(offender, refusal)
}

// acquit deals with an element that, by itself, was not refused for its data.
func (t *trip) acquit(it item, a answer) {
	switch a.act {
	case actTake:
		t.take([]item{it}, a)
	case actSplit:
		t.convict(it, a)
	default:
		t.abandon([]item{it}, a)
	}
}

// controls is how many single elements are tried before everything is taken to be refused. More than
// one, because the first may be an offender itself; they are drawn by lot, so that a stopped road does
// not ask the same ones for ever.
const controls = 2

// prove looks for an element that MoEngage accepts. Without one it stops the road, unless the trip is
// over for another reason, or parked what it tried.
func (t *trip) prove(candidates []item, refusal answer) bool {
	pool, parked := slices.Clone(candidates), false
	for range controls {
		i, ok := t.draw(pool)
		if !ok {
			break
		}
		control := pool[i]
		pool = slices.Delete(pool, i, i+1)
		t.blame(control)
		switch a := t.post([]item{control}); {
		case a.refuses() && t.damning(control, a):
			t.park(control, a.parkedAs(), a)
			parked = true
		case a.refuses():
			refusal = a
		default:
			t.acquit(control, a)
			if t.proven || t.over {
				return t.proven
			}
		}
	}
	t.over = true
	t.excuse(t.items, refusal)
	if !parked {
		t.halt(refusal)
	}
	return false
}

// draw picks an element that may go before the others: not a user's event while the same user's
// attributes, which come first, are in the pool. One of a user who was never refused is worth more, and
// most if no computation that was refused on this trip is in it: it may be that one's doing.
func (t *trip) draw(pool []item) (index int, ok bool) {
	var ranks [3][]int
	for i, it := range pool {
		if it.event && i > 0 && pool[i-1].delivery == it.delivery {
			continue
		}
		rank := 0
		switch {
		case t.known[t.flight.Deliveries[it.delivery].User]:
			rank = 2
		case slices.ContainsFunc(t.changes(it), func(c domain.Change) bool { return t.blamed[c.Computation] }):
			rank = 1
		}
		ranks[rank] = append(ranks[rank], i)
	}
	for _, eligible := range ranks {
		if len(eligible) > 0 {
			return eligible[rand.IntN(len(eligible))], true
		}
	}
	return 0, false
}

// blame notes what an element is about that is tried by itself, or was refused by itself.
func (t *trip) blame(it item) {
	if t.blamed == nil {
		t.blamed = make(map[string]bool)
	}
	for _, c := range t.changes(it) {
		t.blamed[c.Computation] = true
	}
}

// changes are what an element says.
func (t *trip) changes(it item) []domain.Change {
	d := &t.flight.Deliveries[it.delivery]
	if it.event {
		return []domain.Change{*d.Event}
	}
	return d.Attributes
}

// open returns those of items whose fate is not decided yet.
func (t *trip) open(items []item) []item {
	return slices.DeleteFunc(slices.Clone(items), func(it item) bool { return t.result(it).Verdict != domain.Untried })
}

// others returns every open element of the flight but one.
func (t *trip) others(than item) []item {
	return slices.DeleteFunc(t.open(t.items), func(it item) bool { return it == than })
}

// result is the half of a settlement that an item stands for.
func (t *trip) result(it item) *domain.Result {
	if it.event {
		return &t.results[it.delivery].Event
	}
	return &t.results[it.delivery].Attributes
}

func (t *trip) take(items []item, a answer) {
	t.proven = true
	for _, it := range items {
		*t.result(it) = domain.Result{Verdict: domain.Delivered, Answer: a.kept(0)}
	}
}

func (t *trip) park(it item, code string, a answer) {
	if !t.proven && !a.again {
		t.unproven++
	}
	*t.result(it) = domain.Result{Verdict: domain.Parked, Reason: code, Sentence: a.sentence(), Answer: a.kept(keepBody)}
}

// abandon ends the trip because of something that is no judgement of the data.
func (t *trip) abandon(items []item, a answer) {
	t.over = true
	switch a.act {
	case actRetry:
		t.again(items, a, domain.Refused)
	case actUnsure:
		t.again(items, a, domain.Uncertain)
	case actStop:
		t.excuse(items, a)
	}
}

// again sends items back for another attempt, once the road has resumed, or parks those that have had
// all of theirs.
func (t *trip) again(items []item, a answer, v domain.Verdict) {
	for _, it := range items {
		r := domain.Result{Verdict: v, RetryAt: a.resume, Alone: a.alone > 0, Reason: a.Code, Sentence: a.sentence(), Answer: a.kept(keepBrief)}
		if t.exhausted(it, a) {
			r.Verdict, r.RetryAt, r.Reason = domain.Parked, time.Time{}, codeAttempts
			r.Sentence = rows[codeAttempts].Means + " The last answer: " + a.sentence()
		}
		*t.result(it) = r
	}
}

// exhausted reports whether this was the last attempt. Only those count that a user made alone: in
// company the failure may be another's. Attributes of one user share their fate, so the youngest of
// them decides.
func (t *trip) exhausted(it item, a answer) bool {
	if t.max <= 0 || a.alone == 0 {
		return false
	}
	d := t.flight.Deliveries[it.delivery]
	if it.event {
		return d.Event.Alone+1 >= t.max
	}
	youngest := slices.MinFunc(d.Attributes, func(a, b domain.Change) int { return a.Alone - b.Alone })
	return youngest.Alone+1 >= t.max
}

// excuse says beside what is undecided of a refused request why it waits, without an attempt being
// spent.
func (t *trip) excuse(items []item, a answer) {
	for _, it := range items {
		if r := t.result(it); r.Verdict == domain.Untried {
			r.Reason, r.Sentence, r.Answer = a.Code, a.sentence(), a.kept(keepBrief)
		}
	}
}

// back reports whether anything of the flight goes back to wait in the outbox.
func (t *trip) back() bool {
	for i, d := range t.flight.Deliveries {
		if len(d.Attributes) > 0 && !final(t.results[i].Attributes.Verdict) {
			return true
		}
		if d.Event != nil && !final(t.results[i].Event.Verdict) {
			return true
		}
	}
	return false
}

func final(v domain.Verdict) bool { return v == domain.Delivered || v == domain.Parked }
