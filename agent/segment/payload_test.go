package segment

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"personasync/store/domain"
)

// manifest lists real bodies of Engage and of SDKs, with the expected reading of each.
type manifest struct {
	Files []struct {
		File      string
		Bytes     int
		Transport string
		Path      string
		Expect    struct {
			Kind            string
			Key             string
			Membership      *bool
			FinalMembership *bool `json:"final_membership"`
			Value           json.RawMessage
			UserID          string
			Events          *int
			Unique          int
			Code            string
			Rejected        bool
		}
	}
}

func payload(tb testing.TB, name string) []byte {
	tb.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "payloads", name))
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func readManifest(tb testing.TB) manifest {
	tb.Helper()
	var m manifest
	if err := json.Unmarshal(payload(tb, "MANIFEST.json"), &m); err != nil {
		tb.Fatal(err)
	}
	if len(m.Files) == 0 {
		tb.Fatal("the manifest names no file")
	}
	return m
}

func TestEveryPayloadIsReadAsTheManifestSays(t *testing.T) {
	for _, f := range readManifest(t).Files {
		if f.Transport == "tracking-api" {
			continue
		}
		t.Run(f.File, func(t *testing.T) {
			body := payload(t, f.File)
			if len(body) != f.Bytes {
				t.Fatalf("%d bytes, the manifest says %d", len(body), f.Bytes)
			}
			items, array, err := Split(body)
			if err != nil {
				t.Fatal(err)
			}
			want := f.Expect
			if want.Events != nil && len(items) != *want.Events {
				t.Errorf("%d events, want %d", len(items), *want.Events)
			}
			messages := map[string]bool{}
			var newest *domain.Event
			for _, item := range items {
				e := Read(item, Reading{Received: received, Verified: true})
				compareWithReference(t, item)
				if e.Fault != "" && e.Call != domain.CallDelete {
					t.Errorf("fault %s: %s", e.Fault, e.Sentence)
				}
				messages[e.MessageID] = true
				if newest == nil || e.Time.After(newest.Time) {
					newest = e
				}
			}
			if want.Unique != 0 && len(messages) != want.Unique {
				t.Errorf("%d different messageIds, want %d", len(messages), want.Unique)
			}
			if m := want.FinalMembership; m != nil && newest.Flag != flagOf(*m) {
				t.Errorf("the newest event says %v", newest.Flag)
			}
			if array {
				return
			}
			checkExpectation(t, newest, want.Kind, want.Key, want.UserID)
			if want.Membership != nil && newest.Flag != flagOf(*want.Membership) {
				t.Errorf("flag %v, want membership %t", newest.Flag, *want.Membership)
			}
			if want.Value != nil {
				got := string(newest.Bytes(newest.Columns[0].Value))
				if diff := cmp.Diff(decode(want.Value), decode([]byte(got))); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func checkExpectation(t *testing.T, e *domain.Event, kind, key, user string) {
	t.Helper()
	kinds := map[string]domain.Class{
		"audience": domain.ClassAudience, "account-audience": domain.ClassAudience,
		"trait": domain.ClassTrait, "journey_step": domain.ClassJourneyStep, "other": domain.ClassNone,
	}
	switch class, ok := kinds[kind]; {
	case kind == "delete":
		if e.Call != domain.CallDelete {
			t.Errorf("call %v", e.Call)
		}
	case ok && e.Class != class:
		t.Errorf("class %v, want %v", e.Class, class)
	}
	if key != "" && e.Key != key {
		t.Errorf("key %q, want %q", e.Key, key)
	}
	if user != "" && e.User.ID != user {
		t.Errorf("user %q, want %q", e.User.ID, user)
	}
}

func flagOf(in bool) domain.Flag {
	if in {
		return domain.FlagIn
	}
	return domain.FlagOut
}

func TestThePayloadsOfSDKsAreRead(t *testing.T) {
	for _, f := range readManifest(t).Files {
		if f.Transport != "tracking-api" {
			continue
		}
		t.Run(f.File, func(t *testing.T) {
			body := payload(t, f.File)
			b, err := ParseBatch(body)
			if err == errNoBatch {
				key, err := WriteKey(body)
				if err != nil {
					t.Fatal(err)
				}
				b = &Batch{WriteKey: key, Items: []Item{{Raw: body, Size: len(body)}}}
			} else if err != nil {
				t.Fatal(err)
			}
			if n := f.Expect.Events; n != nil && len(b.Items) != *n {
				t.Errorf("%d events, want %d", len(b.Items), *n)
			}
			refused := f.Expect.Code != "" || f.Expect.Rejected || f.File == "api-neg-event-over-32kb.json"
			for _, item := range b.Items {
				e := Read(item.Raw, Reading{Route: RouteTracking, Received: received, Size: item.Size, Call: callOf(filepath.Base(f.Path))})
				if Refuses(e.Fault) != refused || (e.Fault != "") != refused {
					t.Errorf("fault %q", e.Fault)
				}
				if f.Expect.Code != "" && e.Fault != f.Expect.Code {
					t.Errorf("code %q, want %q", e.Fault, f.Expect.Code)
				}
			}
		})
	}
}
