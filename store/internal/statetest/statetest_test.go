package statetest

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/testdir"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	goleak.VerifyTestMain(m)
}

// join makes a user a member of the only audience.
func join(user string) func(*state.Tx) {
	return func(tx *state.Tx) {
		f := tx.FieldOf(0)
		if f == nil {
			f = tx.NewField(&state.Field{Key: "vip", Class: domain.ClassAudience})
		}
		u := tx.User(user)
		tx.Entry(u, f.Number).Keep(state.KeptOne, &domain.Assertion{Value: domain.JSONTrue, Time: 1, Since: 1, Seq: 1})
		tx.Write(u, f.Number)
	}
}

func isIn(d *DB, user string) (in bool) {
	d.Read(func(tx *state.Tx) { in = tx.Entry(tx.User(user), 0).Newest().IsIn() })
	return in
}

func TestATransactionIsThereAfterAReopen(t *testing.T) {
	d := New(t, Rules(domain.SendBoth))
	d.Do(join("ann"))
	d.Reopen()
	if !isIn(d, "ann") || isIn(d, "bob") || d.State.Ledger.Users != 1 || d.State.Rules.Defaults.Send != domain.SendBoth || d.State.Epoch != Epoch {
		t.Errorf("the state is %+v", d.State)
	}
	d.Balance()
}

func TestAFailedTransactionLeavesTheStateOfTheFile(t *testing.T) {
	d, refused := New(t, Rules(domain.SendBoth)), errors.New("refused")
	err := d.Try(func(tx *state.Tx) {
		join("ann")(tx)
		tx.Log.Warn("almost")
		tx.Err = refused
	})
	if !errors.Is(err, refused) || isIn(d, "ann") || d.State.Registry.Size() != 0 {
		t.Errorf("it ended with %v, and there are %d fields", err, d.State.Registry.Size())
	}
	if !strings.Contains(d.Logged(), "almost") || d.Logged() != "" {
		t.Error("the log is not what was logged")
	}
}

func TestAnEventPointsIntoItsBytes(t *testing.T) {
	e := Trait("ann", "row", 1, "a", "1.50", "b", `"x"`)
	for i, want := range []string{"1.50", `"x"`} {
		if got := string(e.Bytes(e.Columns[i].Value)); got != want {
			t.Errorf("column %d has %s", i, got)
		}
	}
	if got := string(e.Bytes(Enter("ann", "vip", 1).Object)); got == "" || string(e.Properties()) != `{"a":1.50,"b":"x"}` {
		t.Errorf("the object is %s", e.Properties())
	}
	if e := Exit("ann", "vip", 3, AsTrack("Left")); e.Flag != domain.FlagOut || e.Call != domain.CallTrack || e.Name != "Left" || string(e.Properties()) != `{"vip":false}` {
		t.Errorf("%+v", e)
	}
}
