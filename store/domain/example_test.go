package domain_test

import (
	"fmt"

	"personasync/store/domain"
)

// The diff is pure: it needs the previous assertion and the next one, and neither clock nor disk.
func ExampleCompare() {
	names := map[domain.Comparison]string{
		domain.CompareChanged: "changed", domain.CompareUnchanged: "unchanged", domain.CompareDuplicate: "duplicate", domain.CompareStale: "stale",
	}
	enter := domain.Assertion{Value: domain.JSONTrue, Time: 10}
	exit := domain.Assertion{Value: domain.JSONFalse, Time: 20}

	fmt.Println(names[domain.Compare(nil, enter, true)])    // never seen, says in
	fmt.Println(names[domain.Compare(&enter, enter, true)]) // a redelivery
	fmt.Println(names[domain.Compare(&enter, exit, true)])  // in, says out
	fmt.Println(names[domain.Compare(&exit, enter, true)])  // late news
	// Output:
	// changed
	// duplicate
	// changed
	// stale
}

func ExampleAttributeName() {
	fmt.Println(domain.AttributeName("high_value_shoppers"))
	fmt.Println(domain.AttributeName("status"))              // reserved by MoEngage
	fmt.Println(domain.AttributeName("moe_wa_subscription")) // MoEngage's own, and updatable
	// Output:
	// high_value_shoppers
	// segment_status
	// moe_wa_subscription
}

func ExampleSameValue() {
	fmt.Println(domain.SameValue([]byte(`[450, "é"]`), []byte(`[4.5e2,"\u00e9"]`)))
	// Output: true
}
