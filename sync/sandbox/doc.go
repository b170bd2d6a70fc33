// Package sandbox is a stand-in for MoEngage: an http.Handler that checks requests as the documented
// API does, keeps the profiles and events it was sent, and misbehaves on order.
//
// It knows the wire by MoEngage's documents and imports nothing of the sender's, so that each checks
// the other. A [Sandbox] is served like any handler and looked into either in process or over HTTP.
//
// # What it answers
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
// The first three take the workspace as ?app_id= too. Another path is 404, another method 405. A
// request is checked in this order: Content-Type, credentials, size, JSON, schema, limits. The bodies
// of refusals are MoEngage's own words. As with MoEngage, 200 means queued and not stored: what the
// documents say is dropped in silence is dropped in silence, and recorded as a [Violation].
//
// Where the documents leave a choice: a bulk request over 102,400 bytes is refused and one over
// 100,000 recorded (both readings of 100 KB), the others at 131,072 and 128,000; a refused request
// costs nothing of the limits; single and bulk requests share them; one customer element is one
// user and one action is one event; events without current_time happened on receipt. How long after
// its 200 MoEngage knows a user is not documented either: at once, or after [Options.Delay], until
// when a cohort passes the user over and reading back does not find what was sent.
//
// # Looking into it
//
//	GET  /sandbox/users/{id}      Profile; 404 with a JSON body when unknown
//	GET  /sandbox/requests        []Request, newest last; ?limit=N for the last N (100 unless given)
//	GET  /sandbox/violations      []Violation, newest last; ?limit=N likewise
//	GET  /sandbox/stats           Stats
//	POST /sandbox/fail            starts the fault in ?spec= or in the body
//	POST /sandbox/lose            forgets what was accepted of ?user=, or its ?attribute= alone
//	POST /sandbox/heal            ends all faults and lets go of hanging requests
//
// These need no credentials, and no fault touches them.
//
// # Faults
//
// A fault is written as words separated by commas, see [ParseFault]:
//
//	status=503,for=10s            503 for ten seconds
//	status=429,retry_after=3      429 with Retry-After and x-ratelimit-reset
//	status=503,count=5            five times
//	status=400,type=Blacklisted   one of MoEngage's documented errors
//	status=200,error=AttributeError   200 that says "fail"
//	reset                         breaks the connection, nothing is stored
//	reset,when=after              stores, then breaks the connection
//	hang,for=5s                   answers nothing until then, and breaks the connection
//	slow=2s                       answers two seconds late
//	drip=2s                       takes two seconds over the body, a few bytes at a time
//	body=html, truncate           stores, then answers with a page or with half a body
//	redirect=URL                  307
//	user=ID                       refuses every request that holds this user
//	on=cohortsync, every=3, first=10, at=7   which requests are hit
//
// # Caveats
//
// Memory is bounded unless [Options.KeepAll] is set: the last 10,000 requests and violations, the
// newest million profiles and the newest million events stay, and [Stats] counts what was forgotten.
// A request that hangs keeps its handler alive until its fault ends, its client goes or Heal is
// called: call Heal before shutting a server down.
package sandbox
