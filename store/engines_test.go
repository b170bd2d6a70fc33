package store

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/postgres"
	"personasync/store/postgres/pgtest"
)

// engineEnv names the environment variable that puts the stores of these tests into PostgreSQL.
const engineEnv = "PERSONASYNC_TEST_ENGINE"

var (
	onPostgres = os.Getenv(engineEnv) == "postgres"

	// inFull is the form of `make store-in-full`: costly tests run on PostgreSQL as well, and more random days.
	inFull = os.Getenv("PERSONASYNC_IN_FULL") != "" || os.Getenv("PERSONASYNC_TORTURE") != ""
)

// onFiles skips a test of what only a store in files has.
func onFiles(t testing.TB) {
	t.Helper()
	if onPostgres {
		t.Skip("it is about files")
	}
}

// costly leaves a test on PostgreSQL to the long form: it takes more than half a second of processor there, for a reason
// that lies above the engine. What it asks of the engine the tests that are left ask, too.
func costly(t testing.TB, why string) {
	t.Helper()
	if onPostgres && !inFull {
		t.Skip("make store-in-full runs it on PostgreSQL: " + why)
	}
}

// Why a test is costly.
const (
	manySeeds  = "it has many random days"
	manyStores = "it has a store for each of many cases"
	manyUsers  = "it has thousands of users"
	manyEvents = "it has hundreds of transactions"
)

// For the tests outside of this package.
var (
	OnFiles = onFiles
	Seeds   = seeds
)

// openStore opens the store of b on the engine under test.
func (b *bench) openStore(o Options) (*Store, error) {
	if !onPostgres && !b.postgres {
		return Open(b.dir, o)
	}
	if b.shared == nil {
		var err error
		c := SharedConfig{Replicated: "no", Log: o.Log, Host: "test", TTL: 30 * time.Second} // a busy machine renews it late
		c.URL, c.Schema = pgtest.Schema(b, func(url, schema string) {
			b.newStore(SharedConfig{URL: url, Schema: schema, Replicated: "no", Log: o.Log})
		})
		if b.shared, err = Connect(context.Background(), c); err != nil {
			return nil, err
		}
		b.Cleanup(b.shared.Close)
	}
	s, err := b.shared.Open(context.Background(), b.dir, o)
	if err == nil && !s.Role().Writer { // the term before was not given up in time
		<-s.RoleEnded()
		must(b, s.Close())
		s, err = b.shared.Open(context.Background(), b.dir, o)
	}
	return s, err
}

// newStore makes the tables of a store that nobody has opened yet.
func (b *bench) newStore(c SharedConfig) {
	b.Helper()
	db, err := postgres.Connect(context.Background(), c)
	must(b, err)
	defer db.Close()
	term, err := db.Acquire(context.Background())
	must(b, err)
	must(b, db.Create(context.Background(), term, rand.Uint32()|1, state.StateBuckets, state.Init))
	records, err := db.Log(1, term)
	must(b, err)
	records.Stop()
	records.CloseFiles()
	must(b, term.Release(context.Background()))
}

// TestBothEnginesKeepTheSameBytes: the same records, and what is taken and settled of them, come to the same keys and values.
func TestBothEnginesKeepTheSameBytes(t *testing.T) {
	onFiles(t)
	events := ofAllKinds()
	inFiles, inTables := open(t, rules(domain.SendBoth)), &bench{TB: t, dir: t.TempDir(), postgres: true}
	inTables.reopen(rules(domain.SendBoth))
	t.Cleanup(func() { inTables.Store.Close() })
	for _, b := range []*bench{inFiles, inTables} {
		b.receive(events...)
		b.settle(b.take(), domain.Parked)
		b.settle(b.take(), domain.Delivered)
		if err := b.Retry(t.Context(), noon.Add(2*time.Hour), b.ids(domain.StateParked)); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := dump(t, inFiles), dump(t, inTables); a != b {
		t.Errorf("the engines differ:\n%s", firstDifference(a, b))
	}
}

// readOnly opens the stopped store of b to be read.
func (b *bench) readOnly() *View {
	b.Helper()
	v, err := OpenReadOnly(b.dir)
	if onPostgres {
		var other *Shared
		if other, err = Connect(context.Background(), b.shared.db.Config); err == nil {
			v, err = other.OpenReadOnly(context.Background())
		}
	}
	must(b, err)
	return v
}

// shards are patterns of which each test has one. Tests on PostgreSQL mostly wait for answers, so they run side by side.
var shards = []string{"^TestA[A-M]", "^TestA[N-Z]", "^Test(A[^A-Z]|[B-S])", "^Test[T-Z]"}

// TestOnPostgres runs the other tests of this package again in processes of their own, whose stores are in PostgreSQL: those
// that are about files skip there, and in the ordinary form also those that are costly.
func TestOnPostgres(t *testing.T) {
	if onPostgres {
		t.Skip("this is such a process")
	}
	if testing.Short() {
		t.Skip("it takes as long as all the others")
	}
	cluster := pgtest.Cluster(t)
	seeds, enough := "1", int64(170)
	if inFull {
		seeds, enough = "2", 220
	}
	var passed atomic.Int64
	t.Run("in", func(t *testing.T) {
		for _, shard := range shards {
			t.Run(shard, func(t *testing.T) {
				t.Parallel()
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.timeout=10m", "-test.run="+shard)
				cmd.Env = append([]string{"PERSONASYNC_SEEDS=" + seeds}, append(os.Environ(), engineEnv+"=postgres", cluster)...)
				out, err := cmd.CombinedOutput()
				passed.Add(int64(len(regexp.MustCompile(`(?m)^--- PASS`).FindAll(out, -1))))
				if err != nil {
					t.Fatalf("%v\n%s", err, failures(out))
				}
			})
		}
	})
	if passed.Load() < enough {
		t.Errorf("only %d tests ran on PostgreSQL, and %d should", passed.Load(), enough)
	}
	t.Log(passed.Load(), "tests passed on PostgreSQL")
}

// failures leaves out of the output of a verbose run what passed or was skipped.
func failures(out []byte) []byte {
	quiet := regexp.MustCompile(`(?m)^\s*(=== .*|--- (PASS|SKIP): .*|\S+_test.go:\d+: (it is about files|make store-in-full .*))\n`)
	return quiet.ReplaceAll(out, nil)
}
