package sandbox_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"personasync/sync/sandbox"
)

// A sandbox is served like any handler. It fails on demand, as MoEngage might.
func Example() {
	moengage := sandbox.New(sandbox.Options{})
	server := httptest.NewServer(moengage)
	defer server.Close()
	post := func() {
		r, err := http.NewRequest("POST", server.URL+"/v1/customer/workspace",
			strings.NewReader(`{"type":"customer","customer_id":"ann","attributes":{"vip":true}}`))
		if err != nil {
			log.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.SetBasicAuth("workspace", "key")
		answer, err := server.Client().Do(r)
		if err != nil {
			log.Fatal(err)
		}
		answer.Body.Close()
		profile, known := moengage.User("ann")
		fmt.Printf("%d known=%t attributes=%s\n", answer.StatusCode, known, profile.Attributes)
	}

	outage, err := sandbox.ParseFault("status=503")
	if err != nil {
		log.Fatal(err)
	}
	moengage.Fail(outage)
	post()
	moengage.Heal()
	post()
	// Output:
	// 503 known=false attributes=map[]
	// 200 known=true attributes=map[vip:true]
}
