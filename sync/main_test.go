package syncer

import (
	"flag"
	"testing"

	"personasync/store/testdir"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	_ = flag.Set("test.parallel", "16") // the parallel tests of this package wait
	goleak.VerifyTestMain(m)
}
