package scheduler

import (
	"testing"
	_ "time/tzdata" // the tests name zones; the binary embeds its own copy

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
