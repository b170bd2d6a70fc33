package condition

// sections are the sections of the runbook, by condition. Each is named for its alert.
var sections = map[string]string{
	NotRunning: "down", Unreadable: "scrapeerrors", "socket_missing": "socketmissing", SocketLost: "socketlost",
	"data_moved": "datamoved", "not_ready": "notready", "intake_refused": "doorrefuses", "intake_ignored": "intakeignored",
	"intake_deferred": "refusesevents", "no_event_yet": "noeventyet", "nothing_received": "nothingreceived",
	"computation_silent": "computationsilent", "moengage_refusing": "moengagerefuses", "moengage_failing": "moengagefailing",
	NoWriter: "nowriter", OtherWorkspace: "otherworkspace", "no_standby": "nostandby", "old_transaction": "oldtransaction",
	"lag": "lag", "behind": "behind", "disk": "disklow", "ledger": "ledger", "damage": "damage", "config_refused": "configrefused",
	"key_conflict": "keyconflict", "held": "held", "parked": "parked", "deletions": "deletions", "verify_differs": "verifydiffers",
	"verify_impossible": "verifyimpossible", "job_failed": "jobfailed", "runs_missed": "missedruns", "clock": "clock",
	"log_dropped": "logdropped", "paused": "paused", BackupDue: "backup", NotifyFailing: "notifyfailing",
}

// Runbook is the section of the runbook about a condition.
func Runbook(name, severity string) string {
	section := sections[name]
	if name == "disk" && severity != Critical {
		section = "diskfills"
	}
	return "docs/operating.md#personasync" + section
}
