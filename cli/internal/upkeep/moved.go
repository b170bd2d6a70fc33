package upkeep

import (
	"fmt"
	"strconv"

	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

// PrintMoved prints what a move did, and what is to be done next.
func PrintMoved(w *term.Terminal, r *store.MoveReport, isDatabase bool, schema string) error {
	var rows [][]string
	for _, p := range r.Parts {
		rows = append(rows, []string{p.Name, strconv.FormatInt(p.Entries, 10), domain.Bytes(p.Bytes), p.Sum[:16]})
	}
	t := w.NewTable(false, term.Column{Title: "PART"}, term.Column{Title: "ENTRIES", Right: true}, term.Column{Title: "BYTES", Right: true}, term.Column{Title: "SHA-256"})
	if err := t.Print(rows); err != nil {
		return err
	}
	fmt.Fprintf(w.Out, "moved from %s to %s, in %s; both have the same\n", term.Plain(r.From), term.Plain(r.To), Roughly(r.Took))
	write := fmt.Sprintf("data_dir = %q, and [store] engine = \"bbolt\" without a url", r.To)
	if isDatabase {
		write = fmt.Sprintf("[store] engine = \"postgres\", schema = %q, and url_file or the credential store_url (`personasync secret set store_url`)", schema)
	}
	w.Remark("now write into agent.toml: %s; then start the agent", write)
	if r.Previous != "" {
		w.Remark("the files that were there before are kept in %s: remove them when all is well (rm -r %s)", r.Previous, term.Argument(r.Previous))
	}
	w.Remark("the old data stays at %s, and no agent opens it: remove it when all is well; it has user ids, and `user forget` does not reach it", term.Plain(r.From))
	return nil
}
