package agent

import (
	"log/slog"
	"sync/atomic"
	"time"

	"personasync/agent/backup"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/agent/metrics"
	"personasync/agent/notify"
	"personasync/agent/page"
	"personasync/agent/sending"
	"personasync/agent/verify"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// inForce is the configuration that the agent runs on.
type inForce struct {
	config  atomic.Pointer[config.Config]
	refused atomic.Pointer[condition.RefusedReload] // why a newer one was refused; nil: it was not
}

// parts are what a running agent is made of. All of it may be used concurrently; it is complete before anything runs.
type parts struct {
	inForce
	log     *slog.Logger
	started time.Time

	store     *store.Store
	readiness *readiness
	ingest    *ingest.Handler
	senders   *sending.Senders
	verifier  *verify.Verifier
	keeper    *backup.Keeper
	scheduler *scheduler.Scheduler
	recorder  *page.Recorder
	metrics   *metrics.Metrics
	notify    *notify.Notifier // made once there is a status

	elsewhere    error         // why nothing may be sent: the files belong to another workspace of MoEngage; nil: all may
	linesDropped func() uint64 // of the log
}

// senderConfig is what the sender of an endpoint needs of c. Its requests are counted and recorded.
func (p *parts) senderConfig(c *config.Config, endpoint domain.Endpoint) syncer.Config {
	s := sending.Config(c, endpoint)
	s.Observe = func(r syncer.Report) {
		p.metrics.Post(r)
		p.recorder.Answered(r)
	}
	s.Accepted, s.Allowed = p.metrics.Accepted, p.store.MaySend
	s.Off = s.Off || p.elsewhere != nil
	return s
}
