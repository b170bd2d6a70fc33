package term

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"personasync/store/domain"
)

// ConsentText returns what a user has consented to, since when and by which statement, and the withheld changes.
func ConsentText(w *Terminal, c *domain.ConsentInfo) []byte {
	var b bytes.Buffer
	text := "no statement has come, so nothing is given"
	if c.By != "" {
		text = cmp.Or(strings.Join(c.Given, ", "), "nothing is given") + ", since " + Minute(c.Since) + " by " + c.By + " " + InBrackets(c.Event)
	}
	fmt.Fprintf(&b, "consent: %s\n", w.Beside(Plain(strings.TrimSpace(text)), len("consent: ")))
	for _, one := range c.Withheld {
		fmt.Fprintf(&b, "withheld: %s\n", w.Beside(Plain(fmt.Sprintf("%s, which asks for %s", cmp.Or(one.Trait, one.Computation), strings.Join(one.Asks, ", "))), len("withheld: ")))
	}
	return b.Bytes()
}
