package deletion

import (
	"fmt"
	"strings"

	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

// Receipt is the JSON of an erasure, which an operator can keep as a record.
type Receipt struct {
	store.ForgetReport
	OutOfReach []string `json:"out_of_reach"`
}

// NewReceipt adds to a report what the erasure does not reach.
func NewReceipt(r store.ForgetReport) Receipt {
	there := "MoEngage: the data there stays until the user is erased there too"
	if r.Deletion != nil {
		there = atMoEngage(r.Deletion)
	}
	list := []string{
		there,
		"backups: those made before hold the user, and restoring one brings them back",
		"late deliveries: ignored, and their bytes go with the next erasure or with retention.received",
	}
	if r.Engine != "" {
		list = append(list, "PostgreSQL: removed rows stay on its disk, and on those of its standbys, until a vacuum; the WAL and its archive hold the user as long as they are kept")
	}
	return Receipt{r, list}
}

// atMoEngage says how far a deletion at MoEngage is.
func atMoEngage(d *domain.Deletion) string {
	text := "MoEngage: the deletion " + d.ID + " is " + d.State + " (by " + term.Plain(d.By) + ")"
	switch d.State {
	case "pending":
		return text + "; until MoEngage accepted it, the files hold the id of the user and nothing else of them. MoEngage deletes them within 24 hours after that"
	case "held", "parked":
		return text + ": " + term.Plain(d.Sentence) + ". Until it is released or dropped, the files hold the id. `personasync user deletions` lists it"
	case "delivered":
		return text + "; MoEngage has deleted the user by " + term.Minute(d.Final)
	}
	return text
}

// Found reports whether any data of the user was erased.
func Found(r store.ForgetReport) bool {
	return r.Memberships > 0 || r.Changes > 0 || r.Journal > 0 || r.Records > 0
}

// PrintForgotten prints the receipt of a forget.
func PrintForgotten(w *term.Terminal, r store.ForgetReport) error {
	if !Found(r) {
		text := "nothing was known of this user; what happened up to now and is delivered later is ignored\n"
		if r.Deletion != nil {
			text += atMoEngage(r.Deletion) + "\n"
		}
		_, err := fmt.Fprint(w.Out, text)
		return err
	}
	files := fmt.Sprintf("; state.db had %s and has %s", domain.Bytes(r.Before), domain.Bytes(r.After))
	if r.Engine != "" {
		files = ""
	}
	_, err := fmt.Fprintf(w.Out, "forgotten: %s erased, %s withdrawn, %s of the history erased, %s blanked%s\nout of reach:\n  %s\n",
		term.Plural(r.Memberships, "value"), term.Plural(r.Changes, "change"), term.Plural(r.Journal, "line"), term.Plural(r.Records, "received record"),
		files, strings.Join(NewReceipt(r).OutOfReach, "\n  "))
	return err
}
