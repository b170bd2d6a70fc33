package store

import (
	"testing"

	"personasync/store/domain"
)

func TestANumberSpelledInAnotherWayIsNoNews(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	for minute, value := range []string{"450", "450.0", "4.5e2", "[1,450]", "[1, 450.0]", "450.00"} {
		b.receive(trait("ann", "spent", minute, "spent", value))
		b.drain()
	}
	b.wantSaid("ann.spent=450 ann!Trait Computed ann.spent=[1,450] ann!Trait Computed ann.spent=450.00 ann!Trait Computed")
	if e := b.balance().Events; e.Transitions != 3 || e.Unchanged != 3 {
		t.Errorf("%+v", e)
	}
	b.receive(trait("bob", "spent", 0, "spent", "450"), trait("bob", "spent", 0, "spent", "450.0"))
	if e := b.balance().Events; e.Duplicate != 1 {
		t.Errorf("%+v", e)
	}
}

func TestTheNetDifferenceIsOneOfValues(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(trait("ann", "spent", 0, "spent", "450"))
	b.drain()
	b.receive(trait("ann", "spent", 1, "spent", "451"), trait("ann", "spent", 2, "spent", "450.0"))
	b.drain()
	b.wantSaid("ann.spent=450")
}

// TestAnArraySpelledInAnotherWayIsNotSentAgain: of a value too long to keep twice a digest of its bytes was kept, so
// that another spelling of what MoEngage knows was sent to it again.
func TestAnArraySpelledInAnotherWayIsNotSentAgain(t *testing.T) {
	costly(t, manyStores)
	for name, values := range map[string][3]string{
		"blanks":             {`["shoes","hats","gloves"]`, `["shoes"]`, `[ "shoes", "hats",   "gloves" ]`},
		"shorter than kept":  {`[ 1, 2, 3, 4, 5, 6 ]`, `[1]`, `[1,2,3,4,5,6]`},
		"longer than kept":   {`[1,2,3,4,5,6]`, `[1]`, `[ 1, 2, 3, 4, 5, 6 ]`},
		"numbers inside":     {`["shoes","hats",450]`, `[1]`, `["shoes","hats",4.50e2]`},
		"escapes":            {`["caf\u00e9 au lait","hats"]`, `[1]`, `["café au lait","\u0068ats"]`},
		"order of members":   {`{"first":1,"second":{"b":2,"a":[3.0]}}`, `1`, `{"second":{"a":[3],"b":2},"first":1}`},
		"a text":             {`"Straße der Nationen 12\/14"`, `1`, `"Stra\u00dfe der Nationen 12/14"`},
		"a number of digits": {`0.12345678901234567890`, `1`, `12345678901234567890e-20`},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, rules(domain.SendAttribute))
			b.receive(trait("ann", "spent", 0, "spent", values[0]))
			b.drain()
			b.receive(trait("ann", "spent", 1, "spent", values[1]), trait("ann", "spent", 2, "spent", values[2]))
			b.drain()
			b.wantSaid("ann.spent=" + values[0])
			b.balance()
		})
	}
}
