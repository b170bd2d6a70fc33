package rawjson

import (
	"testing"

	"personasync/store/testdir"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	goleak.VerifyTestMain(m)
}
