package verify

import (
	"math"

	"personasync/agent/api"
	"personasync/store"
)

// normal95 is the quantile of the normal distribution that leaves 2.5 % on either side.
const normal95 = 1.959963984540054

func agreement(v *store.Verification) *api.Agreement {
	if v.Compared == 0 {
		return nil
	}
	n := float64(v.Compared)
	share := float64(v.Agree) / n
	a := &api.Agreement{Share: share, Low: share, High: share, Level: 0.95}
	if v.Compared == v.Told {
		a.Level = 1
		return a
	}
	const z = normal95
	middle := (share + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(share*(1-share)/n+z*z/(4*n*n))
	a.Low, a.High = max(middle-half, 0), min(middle+half, 1)
	return a
}
