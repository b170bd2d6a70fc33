package ingest

import "personasync/store/domain"

// PathWebhook is the path that Segment's webhook destinations post to.
const PathWebhook = "/segment/webhook"

// Requests are counted under these routes.
const (
	RouteWebhook  = "webhook"
	RouteTracking = "tracking"
	RouteOther    = "other" // any other path, so that paths invented by clients share one label
	RouteUnread   = domain.RouteUnread
)

// Routes lists the routes.
var Routes = [...]string{RouteWebhook, RouteTracking, RouteOther}

// routeIndex returns the index in Routes of a path's route. known means that the path takes events.
func routeIndex(path string, known bool) int {
	switch {
	case known && path == PathWebhook:
		return 0
	case known:
		return 1
	}
	return 2
}

func routeName(path string, known bool) string { return Routes[routeIndex(path, known)] }
