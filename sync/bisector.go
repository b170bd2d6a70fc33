package syncer

import (
	"math/rand/v2"
	"slices"
	"time"

	"personasync/store/domain"
)

// A bisector delivers the elements of one lease in as many requests as needed and returns the outcomes. No other
// place splits a request that was made; poison.go only lets later leases be smaller. It is given a function that makes
// a request, and what earlier ones proved.
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
type bisector struct {
	lease *domain.Lease
	items []item              // all elements of the lease
	post  func([]item) answer // makes one request; actNotSent if none is allowed now
	known knowledge

	triedComputations map[string]bool // of elements that were tried alone
	done              bool            // make no further request
	outcomes          outcomes
}

// knowledge is what earlier requests say about the next one.
type knowledge struct {
	refusedBefore map[string]bool // users who were refused alone
	probing       bool            // the breaker is open: find out whether anything is accepted before searching
	controlsFirst bool            // several users in a row were parked: likewise
	maxAttempts   int             // 0 means unlimited
}

// outcomes are the results of a lease's elements, and what its requests proved. Elements without a result are
// Untried: they return to the outbox without spending an attempt.
type outcomes struct {
	results           []domain.UserResult // of the lease's users
	accepted          bool                // something was accepted, so a refusal concerns the data
	parkedUnproven    int                 // users parked without proof that MoEngage accepts anything
	everythingRefused *answer             // set if everything that was tried was refused: the breaker must open
}

func newBisector(lease *domain.Lease, items []item, known knowledge, post func([]item) answer) *bisector {
	return &bisector{lease: lease, items: items, post: post, known: known, outcomes: outcomes{results: make([]domain.UserResult, len(lease.Users))}}
}

// run parks the faults, delivers the other elements and returns the outcomes.
func (b *bisector) run(faults []fault) *outcomes {
	for _, f := range faults {
		*b.result(item{user: f.user, event: f.event}) = domain.Result{Verdict: domain.Parked, Reason: f.code, Sentence: f.sentence()}
	}
	b.deliver(b.items)
	return &b.outcomes
}

// deliver sends items and handles the answer.
func (b *bisector) deliver(items []item) {
	if b.done || len(items) == 0 {
		return
	}
	switch a := b.post(items); a.act {
	case actAccept:
		b.recordDelivered(items, a)
	case actSplit:
		b.split(items, a)
	case actBisect, actConfirm:
		b.search(items, a)
	default:
		b.stop(items, a)
	}
}

// split sends both halves of a request that was too large.
func (b *bisector) split(items []item, a answer) {
	if len(items) == 1 {
		b.parkIfConclusive(items[0], a)
		return
	}
	if b.known.probing && !b.outcomes.accepted {
		if !b.tryControls(items, a) {
			return
		}
		items = b.undecided(items)
	}
	half := len(items) / 2
	b.deliver(b.undecided(items[:half]))
	b.deliver(b.undecided(items[half:]))
}

// search finds one bad element in items that were refused as a whole.
func (b *bisector) search(items []item, refusal answer) {
	alone := len(items) == 1 // refused by itself, not by conclusion
	if !alone && b.concernsEverything(refusal) {
		if !b.tryControls(items, refusal) {
			return
		}
		items = b.undecided(items)
	}
	for len(items) > 1 {
		half := len(items) / 2
		left := items[:half]
		switch a := b.post(left); a.act {
		case actAccept:
			b.recordDelivered(left, a)
			items, alone = items[half:], false
		case actBisect, actConfirm:
			items, refusal, alone = left, a, true
		case actSplit:
			b.split(left, a)
			return
		default:
			b.stop(left, a)
			return
		}
	}
	for _, offender := range items {
		b.confirm(offender, refusal, alone)
	}
}

// concernsEverything reports whether a refusal probably concerns everything. Then trying single elements is cheaper
// than a search.
func (b *bisector) concernsEverything(refusal answer) bool {
	return !b.outcomes.accepted && (b.known.controlsFirst || refusal.act == actConfirm && (b.known.probing || refusal.Code == codeAccount))
}

// largeElement is the smallest element, in bytes, for which MoEngage itself may answer 413: its limits are 100 KB
// and 128 KB. For a smaller one the 413 comes from a proxy, whose limit may let nothing pass.
const largeElement = 64 << 10

// conclusive reports whether the refusal of a single element is enough to park it. A documented data error is.
func (b *bisector) conclusive(it item, refusal answer) bool {
	switch {
	case b.outcomes.accepted, refusal.refusedAgain:
		return true
	case refusal.act == actSplit:
		return it.to-it.from >= largeElement
	}
	return refusal.act == actBisect
}

// parkIfConclusive parks an element that was refused alone, once it is proven that the refusal concerns this
// element.
func (b *bisector) parkIfConclusive(it item, refusal answer) {
	b.markTried(it)
	if b.conclusive(it, refusal) || b.tryControls(b.undecidedExcept(it), refusal) {
		b.park(it, refusal.parkedAs(), refusal)
	}
}

// confirm parks the element that a search ended at. A documented data error is enough. Any other refusal needs
// two confirmations. If the element was found by conclusion only, it must be refused again alone, because the
// refusal may concern the request. And something else must be accepted, because it may concern everything.
func (b *bisector) confirm(offender item, refusal answer, alone bool) {
	if refusal.act == actConfirm && !alone {
		a := b.post([]item{offender})
		if a.act != actBisect && a.act != actConfirm {
			b.clear(offender, a)
			return
		}
		refusal = a
	}
	b.parkIfConclusive(offender, refusal)
}

// clear handles an element that was not refused for its data when sent alone.
func (b *bisector) clear(it item, a answer) {
	switch a.act {
	case actAccept:
		b.recordDelivered([]item{it}, a)
	case actSplit:
		b.parkIfConclusive(it, a)
	default:
		b.stop([]item{it}, a)
	}
}

// controls is how many single elements are tried before concluding that everything is refused. It is more than
// one because the first may be bad itself. They are drawn at random, so that a stopped sender does not try the
// same ones forever.
const controls = 2

// tryControls looks for an element that MoEngage accepts, and reports whether there is one. If there is none, the
// outcome is that everything is refused, unless the bisection has ended for another reason or the tried elements
// were parked.
func (b *bisector) tryControls(candidates []item, refusal answer) bool {
	pool, parked := slices.Clone(candidates), false
	for range controls {
		i, ok := b.draw(pool)
		if !ok {
			break
		}
		control := pool[i]
		pool = slices.Delete(pool, i, i+1)
		b.markTried(control)
		switch a := b.post([]item{control}); {
		case a.refuses() && b.conclusive(control, a):
			b.park(control, a.parkedAs(), a)
			parked = true
		case a.refuses():
			refusal = a
		default:
			b.clear(control, a)
			if b.outcomes.accepted || b.done {
				return b.outcomes.accepted
			}
		}
	}
	b.done = true
	b.keepPending(b.items, refusal)
	if !parked {
		b.outcomes.everythingRefused = &refusal
	}
	return false
}

// draw picks an element that may be sent before the others. It never picks a user's event while the user's
// attributes, which come first, are in the pool. It prefers users who were never refused, and among these
// elements without a computation that was refused in this lease, because that may be the cause.
func (b *bisector) draw(pool []item) (index int, ok bool) {
	var ranks [3][]int
	for i, it := range pool {
		if it.event && i > 0 && pool[i-1].user == it.user {
			continue
		}
		rank := 0
		switch {
		case b.known.refusedBefore[b.lease.Users[it.user].User]:
			rank = 2
		case slices.ContainsFunc(b.changes(it), func(c domain.Change) bool { return b.triedComputations[c.Computation] }):
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

// markTried records the computations of an element that was tried or refused alone.
func (b *bisector) markTried(it item) {
	if b.triedComputations == nil {
		b.triedComputations = make(map[string]bool)
	}
	for _, c := range b.changes(it) {
		b.triedComputations[c.Computation] = true
	}
}

// changes returns the changes in an element.
func (b *bisector) changes(it item) []domain.Change {
	d := &b.lease.Users[it.user]
	if it.event {
		return []domain.Change{*d.Event}
	}
	return d.Attributes
}

// undecided returns the items without a result.
func (b *bisector) undecided(items []item) []item {
	return slices.DeleteFunc(slices.Clone(items), func(it item) bool { return b.result(it).Verdict != domain.Untried })
}

// undecidedExcept returns all elements without a result except one.
func (b *bisector) undecidedExcept(one item) []item {
	return slices.DeleteFunc(b.undecided(b.items), func(it item) bool { return it == one })
}

// result returns the part of the settlement that belongs to an item.
func (b *bisector) result(it item) *domain.Result {
	if it.event {
		return &b.outcomes.results[it.user].Event
	}
	return &b.outcomes.results[it.user].Attributes
}

func (b *bisector) recordDelivered(items []item, a answer) {
	b.outcomes.accepted = true
	for _, it := range items {
		r := domain.Result{Verdict: domain.Delivered, Answer: a.kept(0)}
		if a.Code != codeAccepted {
			r.Reason = a.Code
		}
		*b.result(it) = r
	}
}

func (b *bisector) park(it item, code string, a answer) {
	if !b.outcomes.accepted && !a.refusedAgain {
		b.outcomes.parkedUnproven++
	}
	*b.result(it) = domain.Result{Verdict: domain.Parked, Reason: code, Sentence: a.sentence(), Answer: a.kept(keepBody)}
}

// stop ends the bisection because of an answer that does not concern the data.
func (b *bisector) stop(items []item, a answer) {
	b.done = true
	switch a.act {
	case actRetry:
		b.retryLater(items, a, domain.Refused)
	case actUncertain:
		b.retryLater(items, a, domain.Uncertain)
	case actStop:
		b.keepPending(items, a)
	}
}

// retryLater returns items to the outbox for another attempt after a.resume, or parks those without attempts left.
func (b *bisector) retryLater(items []item, a answer, v domain.Verdict) {
	for _, it := range items {
		r := domain.Result{Verdict: v, RetryAt: a.resume, Alone: a.failedAlone > 0, Reason: a.Code, Sentence: a.sentence(), Answer: a.kept(keepBrief)}
		if b.attemptsExhausted(it, a) {
			r.Verdict, r.RetryAt, r.Reason = domain.Parked, time.Time{}, codeAttempts
			r.Sentence = meanings[codeAttempts].Means + " The last answer: " + a.sentence()
		}
		*b.result(it) = r
	}
}

// attemptsExhausted reports whether this was the last attempt. Only attempts with a single user count, because in a
// larger request another user may be the cause. Attributes of one user are sent together, so the newest of them
// decides.
func (b *bisector) attemptsExhausted(it item, a answer) bool {
	if b.known.maxAttempts <= 0 || a.failedAlone == 0 {
		return false
	}
	d := b.lease.Users[it.user]
	if it.event {
		return d.Event.Alone+1 >= b.known.maxAttempts
	}
	youngest := slices.MinFunc(d.Attributes, func(x, y domain.Change) int { return x.Alone - y.Alone })
	return youngest.Alone+1 >= b.known.maxAttempts
}

// keepPending records the answer with the undecided items of a refused request, without spending an attempt.
func (b *bisector) keepPending(items []item, a answer) {
	for _, it := range items {
		if r := b.result(it); r.Verdict == domain.Untried {
			r.Reason, r.Sentence, r.Answer = a.Code, a.sentence(), a.kept(keepBrief)
		}
	}
}

// returned reports whether any part of the lease returns to the outbox.
func (o *outcomes) returned(lease *domain.Lease) bool {
	for i, d := range lease.Users {
		if len(d.Attributes) > 0 && !final(o.results[i].Attributes.Verdict) {
			return true
		}
		if d.Event != nil && !final(o.results[i].Event.Verdict) {
			return true
		}
	}
	return false
}

// parked returns how many changes were parked, and the reason of the last.
func (o *outcomes) parked() (n int, reason string) {
	for _, r := range o.results {
		for _, element := range [...]domain.Result{r.Attributes, r.Event} {
			if element.Verdict == domain.Parked {
				n, reason = n+1, element.Reason
			}
		}
	}
	return n, reason
}

func final(v domain.Verdict) bool { return v == domain.Delivered || v == domain.Parked }
