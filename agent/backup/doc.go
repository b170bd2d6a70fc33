// Package backup makes the scheduled backups of a running agent, and proves each before it counts.
//
// A [Keeper] has one job of the scheduler. A run of it writes a backup under a hidden name, restores it into a scratch
// folder beside it, checks the result, and only then gives the file its name and removes the oldest ones beyond those that
// are kept:
//
//	DIR/.personasync-EPOCH.unproven           while it is written and proven
//	DIR/.personasync-EPOCH.scratch/           the restored data, while it is checked
//	DIR/personasync-EPOCH-20260314T023000Z.tar   a good backup
//
// So a file with the last name is whole and was restored once, wherever a run was interrupted. The next run removes what
// the interrupted one left. EPOCH names the store: backups of other data in the same folder are never touched.
package backup
