package syncer

import (
	"maps"
	"testing"
	"time"

	"personasync/store/domain"
)

func testDiagnosis() (*diagnosis, Config) {
	return newDiagnosis(quiet()), Config{Concurrency: 2, MinBackoff: 2 * time.Second, MaxBackoff: time.Minute}
}

// answered is an answer with a code of the failure table, at noon.
func answered(code string) answer { return answer{Meaning: meanings[code], at: noon} }

func TestHowTheNextRequestIsMade(t *testing.T) {
	d, c := testDiagnosis()
	if m, at, ok := d.next(c, 1, noon); !ok || !at.IsZero() || m.force || m.probing || m.controlsFirst || m.skip != nil || m.onlyUncertain {
		t.Errorf("at first: %+v at %v, %v", m, at, ok)
	}
	if _, at, ok := d.next(c, 2, noon); ok || !at.IsZero() {
		t.Errorf("beside two others: %v at %v", ok, at)
	}
	d.allowNow(true)
	d.allowNow(false) // a reload does not end a flush
	if m, _, _ := d.next(c, 0, noon); !m.force {
		t.Error("a flush forces nothing")
	}
	d.endForce()
	if m, _, _ := d.next(c, 0, noon); m.force {
		t.Error("a flush that ended forces")
	}

	d.parkedUnproven(parkedBeforeControls - 1)
	if m, _, _ := d.next(c, 0, noon); m.controlsFirst {
		t.Error("single elements are tried too early")
	}
	d.parkedUnproven(1)
	if m, _, _ := d.next(c, 0, noon); !m.controlsFirst {
		t.Error("single elements are not tried")
	}
	d.record(c, posted{users: []string{"ann"}, started: noon}, answered(codeAccepted))
	if m, _, _ := d.next(c, 0, noon); m.controlsFirst {
		t.Error("single elements are tried although something was accepted")
	}
}

// A stop defers requests, and the next one is a probe.
func TestAStopAllowsAProbe(t *testing.T) {
	d, c := testDiagnosis()
	d.allowNow(true)
	d.record(c, posted{users: []string{"ann"}, started: noon}, answered("http_401"))
	_, at, ok := d.next(c, 0, noon)
	if ok || !d.waits(noon) || d.waits(at) {
		t.Errorf("after a stop: %v at %v", ok, at)
	}
	between(t, "a probe", at, probeEvery, probeEvery+probeJitter)
	if m, _, ok := d.next(c, 0, at); !ok || !m.probing || m.force {
		t.Errorf("the probe: %+v, %v", m, ok)
	}
	if _, _, ok := d.next(c, 1, at); ok {
		t.Error("two probes at once")
	}
	if h := d.health(); !h.Stopped || h.State != stateFailing {
		t.Errorf("health %+v", h)
	}
}

// The outbox asks about users in its write transaction. It must not wait for the diagnosis, which may be logging, so
// a mode is a copy.
func TestAModeDoesNotFollowLaterAnswers(t *testing.T) {
	d, c := testDiagnosis()
	at := noon.Add(time.Hour)
	if m, _, _ := d.next(c, 0, at); m.batchLimits != nil {
		t.Errorf("batch limits %v without a failure", m.batchLimits)
	}
	d.record(c, posted{users: []string{"ann", "bob"}, started: noon}, answered(codeLost))
	d.record(c, posted{users: []string{"cyd"}, started: noon}, answered(codeLost))
	m, _, _ := d.next(c, 0, at)
	d.record(c, posted{users: []string{"dan"}, started: noon}, answered(codeLost))
	d.record(c, posted{users: []string{"ann"}, started: noon}, answered(codeAccepted))
	if !maps.Equal(m.batchLimits, map[string]int{"ann": 2, "bob": 2, "cyd": 1}) || m.skip("ann") || !m.skip("dan") {
		t.Errorf("batch limits %v; skips ann %v, dan %v", m.batchLimits, m.skip("ann"), m.skip("dan"))
	}
	if m, _, _ := d.next(c, 0, at); !maps.Equal(m.batchLimits, map[string]int{"bob": 2, "cyd": 1, "dan": 1}) {
		t.Errorf("batch limits %v afterwards", m.batchLimits)
	}
}

// Once as many requests are uncertain as may be in flight, only their users are tried, also before their retry
// time.
func TestAnOutageTriesUncertainUsersAlone(t *testing.T) {
	d, c := testDiagnosis()
	for _, users := range [][]string{{"ann", "bob"}, {"cyd"}} {
		if m, _, _ := d.next(c, 0, noon.Add(time.Hour)); m.onlyUncertain {
			t.Error("restricted too early")
		}
		d.record(c, posted{users: users, started: noon}, answered(codeLost))
	}
	m, _, ok := d.next(c, 0, noon.Add(time.Hour))
	if !ok || !m.onlyUncertain || !m.force || m.skip("ann") || m.skip("cyd") || !m.skip("dan") {
		t.Errorf("%+v, %v", m, ok)
	}
	if m.longest != time.Minute+2*c.MinBackoff {
		t.Errorf("longest %v", m.longest)
	}
	limits := map[string]int{"ann": 2, "bob": 2, "cyd": 1}
	if !maps.Equal(m.batchLimits, limits) {
		t.Errorf("batch limits %v", m.batchLimits)
	}
	if d.onlyPayloadsMayFail() {
		t.Error("payloads are suspected after one failure")
	}
	for i := range 8 {
		if d.onlyPayloadsMayFail() {
			t.Errorf("payloads are suspected although ann has failed alone only %d times", i)
		}
		for _, u := range []string{"ann", "bob", "cyd"} {
			d.record(c, posted{users: []string{u}, started: noon}, answered(codeLost))
		}
	}
	if !d.onlyPayloadsMayFail() {
		t.Error("payloads are not suspected although each user failed alone")
	}
	d.allowUncertain(c)
	if m, _, _ := d.next(c, 0, noon.Add(time.Hour)); m.onlyUncertain {
		t.Error("no other user is admitted")
	}
	d.record(c, posted{users: []string{"ann"}, untried: true, started: noon}, answered(codeTimeout)) // a membership not tried before
	if m, _, _ := d.next(c, 0, noon.Add(time.Hour)); !m.onlyUncertain {
		t.Error("an untried membership is not counted as uncertain")
	}
	d.forgetUncertain()
	if m, _, _ := d.next(c, 0, noon.Add(time.Hour)); m.onlyUncertain || d.onlyPayloadsMayFail() {
		t.Error("restricted to uncertain users although there are none")
	}
}

// Users who were refused alone wait for the probe, and the others do not.
func TestAfterARefusalOfEverythingOthersGoFirst(t *testing.T) {
	d, c := testDiagnosis()
	lease := &domain.Lease{Users: []domain.UserChanges{{User: "ann"}, {User: "bob"}}}
	if known, fresh := d.refusedBefore(lease); len(known) != 0 || !fresh {
		t.Errorf("refused before: %v, %v", known, fresh)
	}
	refusal := answered(codeUnexplained)
	if a := d.record(c, posted{users: []string{"ann"}, started: noon}, refusal); a.refusedAgain {
		t.Error("a first refusal is a repeat")
	}
	d.record(c, posted{users: []string{"bob", "cyd"}, started: noon}, refusal) // says nothing of either
	if known, fresh := d.refusedBefore(lease); len(known) != 1 || !known["ann"] || !fresh {
		t.Errorf("refused before: %v, %v", known, fresh)
	}
	d.everythingRefused(c, refusal, false, noon)
	if !d.waits(noon) || d.waits(noon.Add(c.MinBackoff)) {
		t.Error("the pause is not the shortest")
	}
	between(t, "the probe", d.probeAt(), probeEvery, probeEvery+probeJitter)
	m, _, ok := d.next(c, 0, noon.Add(c.MinBackoff))
	if !ok || m.skip == nil || !m.skip("ann") || m.skip("bob") || m.onlyUncertain {
		t.Errorf("%+v, %v", m, ok)
	}
	if m, _, _ := d.next(c, 0, d.probeAt()); m.skip != nil {
		t.Error("somebody is excluded from the probe")
	}
	d.record(c, posted{users: []string{"bob"}, started: noon}, refusal)
	if _, fresh := d.refusedBefore(lease); fresh {
		t.Error("all were refused, and some count as fresh")
	}
}

// The data of other users does not matter where everything was refused: a proxy's 413, or a refusal of the probe.
func TestARefusalByAProxyDoesNotCloseTheBreaker(t *testing.T) {
	for _, tt := range []struct {
		name, code      string
		probing, search bool
		closes          bool
	}{
		{"a data error", codeData, false, false, true},
		{"a data error of a probe after a stop", codeData, true, false, true},
		{"a data error of a probe after a search", codeData, true, true, false},
		{"too large", "http_413", false, false, true},
		{"too large, of a probe", "http_413", true, false, false},
	} {
		d, c := testDiagnosis()
		if tt.search {
			d.everythingRefused(c, answered(codeData), true, noon)
		} else {
			d.record(c, posted{users: []string{"ann"}, started: noon}, answered("http_401"))
		}
		d.record(c, posted{users: []string{"ann", "bob"}, probing: tt.probing, started: noon}, answered(tt.code))
		if got := d.health().State == stateOK; got != tt.closes {
			t.Errorf("%s: closes the breaker: %v", tt.name, got)
		}
	}
}

// A failure of users who failed before, while others were accepted, is their own: the breaker stays closed, and
// only they wait.
func TestAFailureOfPoisonedUsersIsTheirOwn(t *testing.T) {
	d, c := testDiagnosis()
	at := func(after time.Duration, code string, users ...string) answer {
		a := answered(code)
		a.at = noon.Add(after)
		return d.record(c, posted{users: users, started: a.at}, a)
	}
	if a := at(0, "http_500", "ann"); d.health().State != stateFailing || a.failedAlone != 1 || !a.resume.Equal(d.breaker.resume) {
		t.Errorf("a first failure: %+v, health %+v", a, d.health())
	}
	if a := at(time.Second, "http_500", "ann"); a.failedAlone != 2 || !a.resume.Equal(d.breaker.resume.Add(time.Second)) {
		t.Errorf("a repeated failure goes behind others: %+v, breaker %v", a, d.breaker.resume)
	}
	at(2*time.Second, codeAccepted, "bob")
	a := at(3*time.Second, "http_500", "ann")
	if d.health().State != stateOK || d.waits(noon.Add(3*time.Second)) {
		t.Errorf("ann's failure opened the breaker: %+v", d.health())
	}
	between(t, "ann's retry", a.resume, 3*time.Second, 3*time.Second+longestBackoff(c.MinBackoff, c.MaxBackoff, 3)+time.Millisecond)

	// A 429 is never the payload's fault.
	at(4*time.Second, codeAccepted, "bob")
	if at(5*time.Second, "http_429", "ann"); d.health().State != stateFailing {
		t.Error("a 429 was taken for the payload's fault")
	}
}
