package move

import (
	"testing"

	"go.uber.org/goleak"

	"personasync/store/testdir"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	goleak.VerifyTestMain(m)
}
