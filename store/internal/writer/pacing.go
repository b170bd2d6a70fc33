package writer

import "time"

// Pacing. Apply and acknowledgements share a host's processors and its disk. A burst is acknowledged as fast as the
// inbox can, and applied afterwards. Under a sustained load apply gets a larger share the longer it is behind. In this
// order: its rests shrink, its rests end and its portions grow, and if that is not enough the inbox commits less often.

const (
	// portionLeast and portionMost limit how much of the inbox one transaction applies; see pacing.
	portionLeast = 1 << 20
	portionMost  = 8 << 20

	// restFactor is how many times as long as a batch took apply rests after it, while events are being acknowledged.
	// The next batch gathers more records for the pages it writes. The factor falls to zero as the time that the oldest
	// record has waited grows to patience. So under a sustained load that apply can bear, a record waits about that long,
	// and memory holds what arrives in that time.
	restFactor = 19
	minRest    = 20 * time.Millisecond
	maxRest    = 4 * time.Second
	patience   = 4 * time.Second

	// widest limits the time from one commit of the inbox to the next, and so the delay that it adds to an acknowledgement. It is
	// well below the seconds after which senders give up.
	widest = 500 * time.Millisecond

	// tooLong is the wait of a record that shows that shorter rests were not enough. It is well above patience, where
	// the wait settles if they are, so that one slow commit does not count.
	tooLong = 7500 * time.Millisecond

	// burst is for how long records may wait tooLong before apply stops resting and takes large portions. After as long
	// again acknowledgements are slowed down.
	burst = 24 * time.Second
)

// pace learns of a batch: whether anything came meanwhile, and how far apply is.
func (w *Writer) pace(alone bool) {
	was := w.apply.pacing.apart
	w.apply.pacing.adapt(time.Now(), progress{
		alone: alone, lag: w.lag(), waited: w.waited(), commits: w.inbox.Commits(),
	})
	w.inbox.SetCommitInterval(w.apply.pacing.apart)
	switch is := w.apply.pacing.apart; {
	case was == 0 && is > 0:
		w.log.Warn("events come faster than they can be applied, and have for long: acknowledgements are given a little later, in larger groups", "unapplied", w.lag())
	case was > 0 && is == 0:
		w.log.Info("events are acknowledged as fast as they come again", "unapplied", w.lag())
	}
}

// restAfter is how long apply rests after a batch that took so long, while so many events arrived.
func (w *Writer) restAfter(took time.Duration, arrived int64) time.Duration {
	switch {
	case w.apply.unreadable:
		return writeRetry
	case arrived <= 0 && w.lag() > 0:
		return 0 // nobody is waiting for the disk
	case arrived <= 0:
		return minRest
	}
	return w.apply.pacing.rest(took, w.waited())
}

// waited is how long the newest record that is applied had to wait, and so about how long the oldest one
// that is not has waited by now.
func (w *Writer) waited() time.Duration { return max(time.Since(w.apply.reached), 0) }

// pacing is how much apply takes at once, and how far apart commits of the inbox are to be.
//
// A large portion writes fewer pages a record; but every commit of the inbox waits for what the state has
// under way on the same disk, so a small one keeps the slowest answers quick. With a million records to
// apply and 64 connections, 8 MiB applied 36,000 a second at a p99 of 32 ms, 1 MiB 18,000 at 8 ms; with
// nothing to apply the p99 was 6 ms. So it is large while nobody posts, and once a load has lasted that apply
// does not keep up with.
//
// If more comes all the same, commits of the inbox are spaced out: each then gathers more, for the same
// pages and the same wait for the disk, and a sender that waits for each answer sends fewer. Nobody is
// refused for it, nothing is reckoned in advance, and at worst an acknowledgement takes widest longer.
// Senders that do not wait for one another's answers are not slowed down. They cost less, and their excess is bounded by
// the disk.
type pacing struct {
	alone bool
	late  time.Time     // when this load first had records wait tooLong; zero when it did not
	lasts bool          // it has had them wait for longer than a burst
	apart time.Duration // from the beginning of one commit to that of the next, at least

	since time.Time // of the last look at whether the lag grows
	then  progress  // at since
}

// progress is what pacing is told after a batch.
type progress struct {
	alone   bool          // nothing came meanwhile
	lag     uint64        // records not applied
	waited  time.Duration // see Writer.waited
	commits uint64        // of the inbox, ever
}

func (p *pacing) portion() int {
	if p.alone || p.lasts {
		return portionMost
	}
	return portionLeast
}

// rest is how long apply rests after a batch that took so long, whose newest record waited so long.
func (p *pacing) rest(took, waited time.Duration) time.Duration {
	if p.lasts && waited >= patience {
		return 0
	}
	factor := restFactor * (1 - waited.Seconds()/patience.Seconds())
	return min(max(time.Duration(factor*float64(took)), minRest), maxRest)
}

// adapt learns of a batch.
func (p *pacing) adapt(now time.Time, m progress) {
	p.alone = m.alone
	late := m.waited >= tooLong
	switch {
	case m.alone, m.waited < patience/2: // the load is over, or another
		p.apart, p.late = 0, time.Time{}
	case late && p.late.IsZero():
		p.late = now
	}
	lasted := time.Duration(0)
	if !p.late.IsZero() {
		lasted = now.Sub(p.late)
	}
	p.lasts = lasted >= burst
	took := now.Sub(p.since)
	if took < tooLong {
		return
	}
	switch {
	case late && lasted >= 2*burst && m.lag >= p.then.lag: // and resting less has had its time
		p.widen(took, m.commits-p.then.commits)
	case !late && m.lag <= p.then.lag:
		if p.apart = p.apart * 4 / 5; p.apart < time.Millisecond { // as long as a commit takes
			p.apart = 0
		}
	}
	p.since, p.then = now, m
}

// widen has half as much time again between commits as there was.
func (p *pacing) widen(took time.Duration, commits uint64) {
	was := p.apart
	if commits > 0 {
		was = max(was, took/time.Duration(commits))
	}
	p.apart = min(was*3/2, widest)
}
