package state

import (
	"encoding/hex"
	"testing"

	"personasync/store/domain"
)

// TestWhatIsOnDiskOfARolloutStaysReadable: these bytes were written by the first version that knew rollouts, and are read
// for ever.
func TestWhatIsOnDiskOfARolloutStaysReadable(t *testing.T) {
	frame, err := hex.DecodeString("050101730376697000076175645f7669700500000400000000000000000000000203440e0ad2")
	if err != nil {
		t.Fatal(err)
	}
	f, err := DecodeField(9, frame)
	if err != nil || f.Rollout != 3 || f.Held != 4 || f.Withheld != 2 || f.Key != "vip" || f.Members != 5 {
		t.Errorf("the field is read as %+v, %v", f, err)
	}
	if frame, err = hex.DecodeString("0149915e0d7d4b402e81b637d8fcd2c6da382a34ae"); err != nil {
		t.Fatal(err)
	}
	list, err := DecodeList([]byte("pilot"), frame)
	if err != nil || list.Len() != 2 || !list.Has("ann") || !list.Has("bob") || list.Has("cid") {
		t.Errorf("the list is read as %x, %v", list, err)
	}
	if _, err := DecodeList([]byte("other"), frame); err == nil {
		t.Error("a list is read under another name")
	}
	held := &Field{Number: 9, Key: "vip", Class: domain.ClassAudience, Withheld: 1}
	if frame := held.Encode(nil); frame[0] != 4 {
		t.Errorf("without a rollout the field has version %d, want 4", frame[0])
	}
}
