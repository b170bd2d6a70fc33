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
	p.Return(t)
	if state := p.Primary.SQL(t, "set synchronous_commit = remote_apply; insert into kept values (9); select sync_state from pg_stat_replication"); state != "sync" {
		t.Errorf("the one that returned is %q", state)
	}
	if got := p.Standby.SQL(t, "select sum(n) from kept"); got != "24" {
		t.Errorf("the one that returned has %q", got)
	}
	p.Standby.Stop(t)
	p.Standby.Start(t)
	p.Primary.Freeze(t)
	p.Standby.Promote(t)
	p.Primary.Thaw(t)
	if got := p.Primary.SQL(t, "select sum(n) from kept"); got != "24" {
		t.Errorf("the one that stood still has %q", got)
	}
}
