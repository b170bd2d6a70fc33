package ingest

// complain logs an answer that is worth it: what was not taken, by route and code, with no secret, body or
// user. The path of a route that is not ours is the sender's to make, so that it is left out. Whoever
// knocks must not fill the disk: the log of the process folds lines that repeat.
func (d *Handler) complain(route string, known bool, a answer) {
	if a.code == "" || a.code == "unready" {
		return
	}
	if !known {
		route = RouteOther
	}
	attrs := []any{"route", route, "status", a.status, "code", a.code}
	if a.cause != nil {
		d.log.Error("events could not be written; the sender was asked to try again", append(attrs, "error", a.cause)...)
		return
	}
	d.log.Warn("request not taken", append(attrs, "reason", a.message)...)
}
