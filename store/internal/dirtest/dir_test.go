package dirtest

import (
	"testing"

	"go.uber.org/goleak"

	"personasync/store/domain"
	"personasync/store/internal/statetest"
	"personasync/store/internal/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestADirectoryIsThatOfAStoppedAgent(t *testing.T) {
	d := New(t, domain.SendBoth)
	d.Receive(statetest.Enter("ann", "vip", 1), statetest.Enter("bob", "vip", 2))
	if st := d.Load(); st.Applied != 1 || st.Ledger.Users != 0 || d.Last() != 3 {
		t.Errorf("received is not applied: %+v, last %d", st, d.Last())
	}
	d.Rotate()
	d.Apply()
	c := d.Clone(t)
	c.Receive(statetest.Enter("cid", "vip", 3))
	c.Apply()
	if one, other := d.Load(), c.Load(); one.Applied != 3 || one.Ledger.Users != 2 || other.Ledger.Users != 3 || one.Rules.Defaults.Send != domain.SendBoth {
		t.Errorf("%+v\n%+v", one.Ledger, other.Ledger)
	}
	if paths, _, err := wal.Files(d.Path); err != nil || len(paths) != 2 {
		t.Errorf("%v, %v", paths, err)
	}
}
