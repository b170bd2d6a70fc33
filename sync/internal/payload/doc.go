// Package payload writes what MoEngage is sent: the elements of a bulk request and the members of a Cohort Sync
// request. It also finds what MoEngage will not store unchanged although it answers 200.
//
// It knows MoEngage's documented formats and limits, and nothing of requests, answers or retries. The results
// are valid JSON in valid UTF-8, or an error: one invalid element would make MoEngage refuse a whole request.
// It does not use reflection, because a backlog is sent at tens of thousands of users a second.
package payload
