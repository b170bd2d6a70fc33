package state

import (
	"encoding/hex"
	"testing"

	"personasync/store/domain"
)

// TestWhatIsOnDiskOfConsentStaysReadable: these bytes were written by the first version that knew consent, and are read for
// ever.
func TestWhatIsOnDiskOfConsentStaysReadable(t *testing.T) {
	read := func(text string) []byte {
		t.Helper()
		frame, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return frame
	}
	key := RowKey(UserKey("ann"), BlockConsent)
	c, err := DecodeConsent(key, read("411204030101094d61726b6574696e67842a687c"))
	if err != nil || len(c.Given) != 1 || c.Given[0] != "Marketing" || c.Time != 9 || c.Since != 7 || c.Seq != 3 || !c.Updated {
		t.Errorf("the consent is read as %+v, %v", c, err)
	}
	row, err := DecodeBlock(annsRow, read("0383010474727565040000013f0104747275650400000150ebc1a2"), epochs)
	if err != nil || len(row.Entries) != 2 || !row.Entries[0].Withheld || row.Entries[0].Column != 3 || !row.Entries[0].Newest().IsIn() || row.Entries[1].Withheld || row.Entries[1].Column != 63 {
		t.Errorf("the row is read as %+v, %v", row, err)
	}
	f, err := DecodeField(9, read("040101730376697000076175645f76697005000000000000000000000000000002ae7dfee5"))
	if err != nil || f.Withheld != 2 || f.Key != "vip" || f.Members != 5 {
		t.Errorf("the field is read as %+v, %v", f, err)
	}
	l, err := DecodeLedger(read("03000000000000000004000000000000000000000000000000000000044cebb04d"))
	if err != nil || l.Changes.Withheld != 4 || l.Changes.Created != 4 || !l.Changes.Balances() {
		t.Errorf("the ledger is read as %+v, %v", l, err)
	}
}

// TestWithoutConsentAnOlderProgramReadsTheState: the versions of rows, fields and ledgers change only with something
// withheld.
func TestWithoutConsentAnOlderProgramReadsTheState(t *testing.T) {
	b := &block{Entries: []*Entry{{Column: 3, Kept: [3]*domain.Assertion{{Value: domain.JSONTrue, Time: 2, Since: 2, Seq: 1}}}}}
	for name, frame := range map[string][]byte{"row": b.encode(nil, annsRow), "field": (&Field{Number: 9, Key: "vip"}).Encode(nil), "ledger": (&Ledger{Users: 1}).Encode()} {
		if want := map[string]byte{"row": 2, "field": 3, "ledger": 2}[name]; frame[0] != want {
			t.Errorf("the %s has version %d, want %d", name, frame[0], want)
		}
	}
}
