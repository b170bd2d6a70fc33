package pgtest

import "testing"

func TestEachTestHasADatabase(t *testing.T) {
	if a, b := URL(t), URL(t); a == b {
		t.Errorf("two times %s", a)
	}
}

func TestThePairSurvivesTheLossOfItsPrimary(t *testing.T) {
	p := NewPair(t)
	p.Primary.SQL(t, "create table kept (n int)")
	p.Primary.SQL(t, "insert into kept values (7)")
	if state := p.Primary.SQL(t, "select sync_state from pg_stat_replication"); state != "sync" {
		t.Errorf("the standby is %q", state)
	}
	p.Primary.Kill(t)
	p.Standby.Promote(t)
	if got := p.Standby.SQL(t, "insert into kept values (8); select sum(n) from kept"); got != "15" {
		t.Errorf("the standby has %q", got)
	}
	p.Primary.Start(t)
	p.Primary.Stop(t)
}
