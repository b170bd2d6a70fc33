package syncer

import (
	"math/rand/v2"
	"slices"
	"time"

	"personasync/store/domain"
)

// trip delivers the elements of one lease in as many requests as needed and records the result of each.
// Elements without a result are Untried: they return to the outbox without spending an attempt.
//
// MoEngage refuses a whole request for one bad element and does not say which. The bisection sends the left
// half of a refused request:
//
//	refused    the right half returns to the outbox untested; the search continues in the left half
//	accepted   the left half is delivered; the bad element is in the right half, which is searched
//	           without being sent whole
//
// So finding one bad element of n takes at most ceil(log2 n) + 2 requests, including the refused one. The other
// elements are delivered by then or soon leave in full requests. A thousand elements with seven bad ones take
// 75 requests on average; plain halving takes 113.
type trip struct {
	flight  *domain.Lease
	items   []item              // all elements of the lease
	post    func([]item) answer // makes one request; actStay if none is allowed now
	halt    func(answer)        // opens the breaker, because everything is refused
	known   map[string]bool     // users who were refused alone before this trip
	blamed  map[string]bool     // computations of elements that were tried alone
	wary    bool                // the breaker is open: find out whether anything is accepted before searching
	tired   bool                // several users in a row were parked: likewise
	max     int                 // attempts; 0 means unlimited
	results []domain.DeliveryResult

	proven   bool // something was accepted on this trip, so a refusal concerns the data
	over     bool // make no further request
	unproven int  // users parked without proof that MoEngage accepts anything
}

// deliver sends items and handles the answer.
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

// reject parks changes that cannot be encoded.
func (t *trip) reject(faults []fault) {
	for _, f := range faults {
		half := item{delivery: f.delivery, event: f.event}
		*t.result(half) = domain.Result{Verdict: domain.Parked, Reason: f.code, Sentence: f.sentence()}
	}
}

// split sends both halves of a request that was too large.
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

// search finds one bad element in items that were refused as a whole.
func (t *trip) search(items []item, refusal answer) {
	alone := len(items) == 1 // refused by itself, not by conclusion
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

// unlikely reports whether a refusal probably concerns everything. Then trying single elements is cheaper than
// a search.
func (t *trip) unlikely(refusal answer) bool {
	return !t.proven && (t.tired || refusal.act == actSuspect && (t.wary || refusal.Code == codeAccount))
}

// plausible is the smallest element, in bytes, for which MoEngage itself may answer 413: its limits are 100 KB
// and 128 KB. For a smaller one the 413 comes from a proxy, whose limit may let nothing pass.
const plausible = 64 << 10

// damning reports whether the refusal of a single element is enough to park it. A documented data error is.
func (t *trip) damning(it item, refusal answer) bool {
	switch {
	case t.proven, refusal.again:
		return true
	case refusal.act == actSplit:
		return it.to-it.from >= plausible
	}
	return refusal.act == actBisect
}

// convict parks an element that was refused alone, once it is proven that the refusal concerns this element.
func (t *trip) convict(it item, refusal answer) {
	t.blame(it)
	if t.damning(it, refusal) || t.prove(t.others(it), refusal) {
		t.park(it, refusal.parkedAs(), refusal)
	}
}

// accuse parks the element that a search ended at. A documented data error is enough. Any other refusal needs
// two confirmations. If the element was found by conclusion only, it must be refused again alone, because the
// refusal may concern the request. And something else must be accepted, because it may concern everything.
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

// acquit handles an element that was not refused for its data when sent alone.
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

// controls is how many single elements are tried before concluding that everything is refused. It is more than
// one because the first may be bad itself. They are drawn at random, so that a stopped sender does not try the
// same ones for ever.
const controls = 2

// prove looks for an element that MoEngage accepts. If there is none it opens the breaker, unless the trip has
// ended for another reason or the tried elements were parked.
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

// draw picks an element that may be sent before the others. It never picks a user's event while the user's
// attributes, which come first, are in the pool. It prefers users who were never refused, and among these
// elements without a computation refused on this trip, because that may be the cause.
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

// blame records the computations of an element that was tried or refused alone.
func (t *trip) blame(it item) {
	if t.blamed == nil {
		t.blamed = make(map[string]bool)
	}
	for _, c := range t.changes(it) {
		t.blamed[c.Computation] = true
	}
}

// changes returns the changes in an element.
func (t *trip) changes(it item) []domain.Change {
	d := &t.flight.Deliveries[it.delivery]
	if it.event {
		return []domain.Change{*d.Event}
	}
	return d.Attributes
}

// open returns the items without a result.
func (t *trip) open(items []item) []item {
	return slices.DeleteFunc(slices.Clone(items), func(it item) bool { return t.result(it).Verdict != domain.Untried })
}

// others returns all elements without a result except one.
func (t *trip) others(than item) []item {
	return slices.DeleteFunc(t.open(t.items), func(it item) bool { return it == than })
}

// result returns the part of the settlement that belongs to an item.
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

// abandon ends the trip because of an answer that does not concern the data.
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

// again returns items to the outbox for another attempt after a.resume, or parks those without attempts left.
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

// exhausted reports whether this was the last attempt. Only attempts with a single user count, because in a
// larger request another user may be the cause. Attributes of one user are sent together, so the newest of them
// decides.
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

// excuse records the answer with the undecided items of a refused request, without spending an attempt.
func (t *trip) excuse(items []item, a answer) {
	for _, it := range items {
		if r := t.result(it); r.Verdict == domain.Untried {
			r.Reason, r.Sentence, r.Answer = a.Code, a.sentence(), a.kept(keepBrief)
		}
	}
}

// back reports whether any part of the lease returns to the outbox.
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
