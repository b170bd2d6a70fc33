package memberlist_test

import (
	"fmt"
	"log"
	"strings"

	"personasync/agent/memberlist"
)

// The id column is found by its title. A line without an id is skipped and reported.
func ExampleList() {
	list := memberlist.List{
		Name:    "vip.csv",
		Input:   strings.NewReader("email,user_id\nann@example.com,ann\nbob@example.com,\ncid@example.com,cid\n"),
		Skipped: func(line int, _ string) { fmt.Println("line", line, "is left out") },
	}
	for user, err := range list.Users() {
		if err != nil {
			log.Fatal(err) // it names the line
		}
		fmt.Println(user)
	}
	fmt.Println("column:", list.Read.Column)
	// Output:
	// ann
	// line 3 is left out
	// cid
	// column: user_id
}
