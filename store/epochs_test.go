package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// idsOf lists the ids of the changes of a user that b knows, pending or closed.
func (b *bench) idsOf(user string) (ids []string) {
	b.Helper()
	info, err := b.User(user)
	must(b, err)
	for _, list := range [][]domain.UserChange{info.Pending, info.History} {
		for _, c := range list {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

func (b *bench) oneID(user string) string {
	b.Helper()
	ids := b.idsOf(user)
	if len(ids) != 1 {
		b.Fatalf("%s has the changes %q", user, ids)
	}
	return ids[0]
}

// copyBack has the folder of b hold what it held when it was copied to from.
func copyBack(t *testing.T, from, to string) {
	t.Helper()
	must(t, errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))))
}

// TestAFolderThatIsCopiedBackReusesNoChangeID: it went on counting where the copy was made, and gave the ids of
// changes that had left to others. Those of before keep their ids.
func TestAFolderThatIsCopiedBackReusesNoChangeID(t *testing.T) {
	onFiles(t)
	for name, back := range map[string]func(t *testing.T, from, dir string){
		"a copy in its place": copyBack,
		"its bytes over it, as cp without -p does": func(t *testing.T, from, dir string) {
			for _, path := range []string{datadir.StateFile, "inbox-00000001.db", datadir.RunFile} {
				body, err := os.ReadFile(filepath.Join(from, path))
				must(t, errors.Join(err, os.WriteFile(filepath.Join(dir, path), body, 0o600)))
			}
		},
		"its bytes over it, after a kill": func(t *testing.T, from, dir string) {
			for _, path := range []string{datadir.StateFile, "inbox-00000001.db"} {
				body, err := os.ReadFile(filepath.Join(from, path))
				must(t, errors.Join(err, os.WriteFile(filepath.Join(dir, path), body, 0o600)))
			}
			w, err := datadir.OpenShutdownMarker(dir)
			must(t, err)
			must(t, errors.Join(w.Begin(false), w.Opened(), w.Close()))
		},
		"a copy over it, with the times of the original": func(t *testing.T, from, dir string) {
			for _, path := range []string{datadir.StateFile, "inbox-00000001.db", datadir.RunFile} {
				body, err := os.ReadFile(filepath.Join(from, path))
				must(t, err)
				info, err := os.Stat(filepath.Join(from, path))
				must(t, err)
				must(t, errors.Join(os.WriteFile(filepath.Join(dir, path), body, 0o600), os.Chtimes(filepath.Join(dir, path), info.ModTime(), info.ModTime().Add(-time.Hour)))) // made an hour ago
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{TB: t, dir: filepath.Join(t.TempDir(), "data")}
			b.reopen(rules(domain.SendEvent))
			t.Cleanup(func() { b.Store.Close() })
			b.receive(event("ann", "vip", true, 1))
			ann := b.oneID("ann")
			must(t, b.Store.Close())
			copied := filepath.Join(t.TempDir(), "copy")
			must(t, os.CopyFS(copied, os.DirFS(b.dir)))
			seen := map[string]string{}
			for _, user := range []string{"bob", "cid", "dan"} {
				b.Store = nil
				b.reopen(rules(domain.SendEvent))
				b.receive(event(user, "vip", true, 2))
				id := b.oneID(user)
				if other := seen[id]; other != "" {
					t.Errorf("%s and %s have a change %s", user, other, id)
				}
				seen[id] = user
				if got := b.oneID("ann"); got != ann {
					t.Errorf("the change of before is called %s, and was %s", got, ann)
				}
				for _, id := range []string{ann, id} {
					parsed, err := domain.ParseID(id)
					must(t, err)
					if _, _, err := b.Change(parsed); err != nil {
						t.Errorf("change %s: %v", id, err)
					}
				}
				b.drain()
				recount(t, b)
				must(t, b.Store.Close())
				back(t, copied, b.dir)
			}
			b.Store = nil
			b.reopen(rules(domain.SendEvent))
		})
	}
}

// TestAMachineThatWentBackToASnapshotReusesNoChangeID: the files have the inode that they had; the machine has
// started since.
func TestAMachineThatWentBackToASnapshotReusesNoChangeID(t *testing.T) {
	b := open(t, rules(domain.SendEvent))
	b.receive(event("ann", "vip", true, 1))
	ann := b.oneID("ann")
	must(t, b.writer.Do(t.Context(), func(x *state.Tx) error {
		home := append([]byte("another run of the machine"), x.State.Home[len(x.State.Home)-16:]...)
		x.Put(x.Bucket(state.BucketMeta), state.MetaHome, home)
		return nil
	}, nil))
	b.reopen(rules(domain.SendEvent))
	b.receive(event("bob", "vip", true, 1))
	if bob := b.oneID("bob"); b.oneID("ann") != ann || strings.HasPrefix(bob, ann[:9]) {
		t.Errorf("the ids are %s and %s, and were %s", b.oneID("ann"), bob, ann)
	}
}

// TestFilesThatStayedOrWereMovedKeepTheirEpoch: nothing is new about them.
func TestFilesThatStayedOrWereMovedKeepTheirEpoch(t *testing.T) {
	onFiles(t)
	b := &bench{TB: t, dir: filepath.Join(t.TempDir(), "data")}
	b.reopen(rules(domain.SendEvent))
	t.Cleanup(func() { b.Store.Close() })
	b.receive(event("ann", "vip", true, 1))
	ann := b.oneID("ann")
	b.reopen(rules(domain.SendEvent))
	must(t, b.Store.Close())
	must(t, os.Rename(b.dir, b.dir+".moved"))
	b.dir, b.Store = b.dir+".moved", nil
	b.reopen(rules(domain.SendEvent))
	b.receive(event("bob", "vip", true, 1))
	if bob := b.oneID("bob"); !strings.HasPrefix(bob, ann[:9]) {
		t.Errorf("after %s comes %s", ann, bob)
	}
	must(t, b.look(func(tx engine.Tx) error {
		if n := len(state.EpochsIn(tx)); n != 1 {
			t.Errorf("it has %d epochs", n)
		}
		return nil
	}))
}

// crash leaves the files of a store at rest as a kill does.
func (s *Store) crash(t *testing.T) {
	t.Helper()
	s.inbox.Close()
	must(t, errors.Join(s.db.Close(), s.marker.Close(), s.place.Close()))
}

// TestAKillRightAfterTheStartReusesNoChangeID: the new epoch of files that were copied back was written by the first
// transaction. A record that had been acknowledged before it was applied by the next start, under the epoch of before.
func TestAKillRightAfterTheStartReusesNoChangeID(t *testing.T) {
	onFiles(t)
	b := &bench{TB: t, dir: filepath.Join(t.TempDir(), "data")}
	b.reopen(rules(domain.SendEvent))
	t.Cleanup(func() { b.Store.Close() })
	b.receive(event("ann", "vip", true, 1))
	must(t, b.Store.Close())
	copied := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(copied, os.DirFS(b.dir)))
	b.Store = nil
	b.reopen(rules(domain.SendEvent))
	b.receive(event("bob", "vip", true, 2))
	left := b.oneID("bob")
	must(t, b.Store.Close())
	copyBack(t, copied, b.dir)

	s, err := openAtRest(b.dir, Options{Log: query.Discard})
	must(t, err)
	must(t, s.Append(t.Context(), event("cid", "vip", true, 3)))
	s.crash(t)
	b.Store = nil
	b.reopen(rules(domain.SendEvent))
	must(t, b.Applied(t.Context()))
	if got := b.oneID("cid"); got == left {
		t.Errorf("the change that left as %s is bob's, and cid has one of that id", left)
	}
	b.receive(event("dan", "vip", true, 4))
	if ids := []string{left, b.oneID("ann"), b.oneID("cid"), b.oneID("dan")}; len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 4 {
		t.Errorf("the ids are %q", ids)
	}
	recount(t, b)
}

// TestNothingIsTakenBeforeANewEpochIsNoted: on a disk that is too full for it a start goes on, and what it took would
// have the ids of before.
func TestNothingIsTakenBeforeANewEpochIsNoted(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendEvent))
	b.receive(event("ann", "vip", true, 1))
	must(t, b.Store.Close())
	s, err := openAtRest(b.dir, Options{Log: query.Discard})
	must(t, err)
	s.writer.Arrive(&state.Arrival{Home: make([]byte, 8<<20), First: s.records.Next(), Epoch: 7}) // for which the file must grow
	s.db.DB().MaxSize = 1
	must(t, s.writer.Recover())
	s.db.DB().MaxSize = 0
	bob := record.AppendEvent(nil, event("bob", "vip", true, 1))
	if err := s.records.Append(t.Context(), bob); !errors.Is(err, domain.ErrFull) {
		t.Errorf("an event is answered with %v", err)
	}
	must(t, s.writer.Write(false))
	must(t, s.records.Append(t.Context(), bob))
	s.crash(t)
	b.Store = nil
	b.reopen(rules(domain.SendEvent))
	must(t, b.Applied(t.Context()))
	if id := b.oneID("bob"); !strings.HasPrefix(id, "00000007-") {
		t.Errorf("its change is %s", id)
	}
}
