package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"personasync/store"
	"personasync/store/testdir"
)

// asMain makes the test binary be the program itself, so that tests can start it, and kill it, for
// real without building it twice.
const asMain = "PERSONASYNC_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" || store.IsChecking() { // the program's own child is the program, too
		os.Unsetenv(asMain)
		dieOnOrder()
		main()
		return
	}
	if os.Getenv("PERSONASYNC_TORTURE") == "" {
		testdir.InMemory()
	}
	goleak.VerifyTestMain(m)
}
