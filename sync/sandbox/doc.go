// Package sandbox is a stand-in for MoEngage. It is an http.Handler that checks requests as the documented API
// does, stores profiles and events, and misbehaves on demand.
//
// It implements MoEngage's documents and imports nothing of the sender, so that each checks the other. A
// [Sandbox] is served like any handler. Its state can be read in process or over HTTP.
//
// # Endpoints
//
//	POST /v1/transition/{workspace}          bulk: customers, events, devices
//	POST /v1/customer/{workspace}            one customer
//	POST /v1/event/{workspace}               one event, with one or more actions
//	POST /v1/integrations/cohortsync         members of a custom segment
//	POST /v1/customers/export?app_id=        read back, 20 users a request
//	POST /v1/integrations/authentication     test of the credentials
//	POST /v1/integrations/segment?appId=     one call of Segment's own MoEngage destination; GET .../auth
//	POST /v1/device/{workspace}              one device
//	POST /v1/customer/delete?app_id=         deletes a user, 24 hours later
//	POST /v1/customer/merge?app_id=          merges pairs of users, 50 a request
//
// The first three also accept the workspace as ?app_id=. Another path is answered with 404, another method with
// 405. Checks run in this order: Content-Type, credentials, size, JSON, schema, limits. Refusals have
// MoEngage's own wording. As with MoEngage, 200 means queued, not stored. Data that MoEngage drops silently is
// dropped silently and recorded as a [Violation].
//
// The documents leave some choices open. They are made as follows:
//
//   - A bulk request over 102,400 bytes is refused and one over 100,000 is recorded: both readings of 100 KB.
//     For other endpoints the sizes are 131,072 and 128,000.
//   - A refused request costs nothing of the limits. Single and bulk requests share them. One customer element
//     is one user, and one action is one event.
//   - An event without current_time happened at its receipt.
//   - MoEngage does not document how long after its 200 it knows a user. Here it is at once, or after
//     [Options.Delay]. Until then a cohort skips the user, and reading back does not find the data.
//
// # Inspection
//
//	GET  /sandbox/users/{id}      Profile; 404 with a JSON body when unknown
//	GET  /sandbox/requests        []Request, newest last; ?limit=N for the last N (default 100)
//	GET  /sandbox/violations      []Violation, newest last; ?limit=N likewise
//	GET  /sandbox/stats           Stats
//	POST /sandbox/fail            starts the fault in ?spec= or in the body
//	POST /sandbox/lose            forgets the accepted ?user=, or only its ?attribute=
//	POST /sandbox/heal            ends all faults and releases hanging requests
//
// These need no credentials, and faults do not affect them.
//
// # Faults
//
// A fault is written as words separated by commas, see [ParseFault]:
//
//	status=503,for=10s            503 for ten seconds
//	status=429,retry_after=3      429 with Retry-After and x-ratelimit-reset
//	status=503,count=5            five times
//	status=400,type=Blacklisted   one of MoEngage's documented errors
//	status=200,error=AttributeError   200 with status "fail"
//	reset                         breaks the connection, nothing is stored
//	reset,when=after              stores, then breaks the connection
//	hang,for=5s                   does not answer until then, and breaks the connection
//	slow=2s                       answers two seconds late
//	drip=2s                       takes two seconds for the body, a few bytes at a time
//	body=html, truncate           stores, then answers with a page or with half a body
//	redirect=URL                  307
//	user=ID                       refuses every request with this user
//	on=cohortsync, every=3, first=10, at=7   which requests are affected
//
// # Limits
//
// Memory is bounded unless [Options.KeepAll] is set. The sandbox keeps the last 10,000 requests and violations,
// the newest million profiles and the newest million events; [Stats] counts the rest. A hanging request
// occupies its handler until its fault ends, its client is gone or Heal is called. Call Heal before shutting a
// server down.
package sandbox
