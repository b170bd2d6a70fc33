package term

import (
	"fmt"
	"strings"

	"personasync/store/domain"
)

// Portion is one term of a ledger.
type Portion struct {
	Name string
	N    uint64
}

// EventTerms lists the outcomes of accepted events.
func EventTerms(l domain.EventLedger) []Portion {
	return []Portion{{"transitions", l.Transitions}, {"unchanged", l.Unchanged}, {"duplicate", l.Duplicate},
		{"stale", l.Stale}, {"ignored", l.Ignored}, {"parked", l.Parked}, {"discarded", l.Discarded}, {"lost", l.Lost}}
}

// ChangeTerms lists the states of created changes.
func ChangeTerms(l domain.ChangeLedger) []Portion {
	return []Portion{{"delivered", l.Delivered}, {"superseded", l.Superseded}, {"cancelled", l.Cancelled}, {"dropped", l.Dropped},
		{"expired", l.Expired}, {"withheld", l.Withheld}, {"forgotten", l.Forgotten}, {"pending", l.Pending}, {"held", l.Held}, {"parked", l.Parked}, {"lost", l.Lost}}
}

// Balance is the difference between a ledger's total and the sum of its terms.
func Balance(total uint64, terms []Portion) int64 {
	sum := uint64(0)
	for _, t := range terms {
		sum += t.N
	}
	return int64(total - sum)
}

// LedgerText returns a ledger as a sum within 80 columns, without zero terms.
func LedgerText(w *Terminal, title, whole string, total uint64, terms []Portion) string {
	var parts []string
	for _, t := range terms {
		if t.N > 0 {
			parts = append(parts, Count(t.N)+" "+t.Name)
		}
	}
	if len(parts) == 0 {
		parts = []string{"nothing"}
	}
	verdict := w.Paint.Green("balances")
	if off := Balance(total, terms); off != 0 {
		verdict = w.Paint.Red(fmt.Sprintf("DOES NOT BALANCE, by %d: please report it", off))
	}
	return fmt.Sprintf("%-12s%s\n", title, w.Beside(fmt.Sprintf("%s %s = %s: %s", Count(total), whole, strings.Join(parts, " + "), verdict), 12))
}
