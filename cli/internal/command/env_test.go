package command

import "testing"

func TestTheLastOfAVariableCounts(t *testing.T) {
	env := &Env{Environ: []string{"HOME=/a", "HOMER=/b", "HOME=/c", "EMPTY="}}
	for name, want := range map[string]string{"HOME": "/c", "HOMER": "/b", "HOM": "", "EMPTY": "", "none": ""} {
		if got := env.Getenv(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
