package upkeep

import (
	"fmt"

	"personasync/agent/condition"
	"personasync/cli/internal/term"
	"personasync/store/domain"
)

// BackupText returns the last good backup, and its faults.
func BackupText(w *term.Terminal, b *condition.Backup) string {
	text := "none yet in " + term.Plain(b.Dir)
	if b.File != "" {
		text = fmt.Sprintf("%s, %s old, %s, restored and checked", term.Plain(b.File), term.Ago(b.AgeS), domain.Bytes(b.Bytes))
	}
	switch {
	case b.FailedAt != "":
		text += "; " + w.Paint.Red("the last run failed") + " at " + term.Minute(b.FailedAt)
	case b.Overdue:
		text += "; " + w.Paint.Yellow("overdue")
	}
	if b.Running {
		text += "; one is under way"
	}
	return text
}
