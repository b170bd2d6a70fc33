package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"personasync/store"
)

// TestADamagedFileIsSalvagedByTheNextStart kills an agent, hits the middle of its state.db as a disk
// does in a power failure, and starts it again: it checks the files in a child, saves what it can,
// keeps the damaged file, says what is gone, and works.
func TestADamagedFileIsSalvagedByTheNextStart(t *testing.T) {
	w := newWorld(t)
	w.start()
	p := newPosters(1, 50)[0]
	for range 300 {
		w.post(p.next())
	}
	w.drained()
	w.kill()

	state := filepath.Join(w.dir, "data", "state.db")
	body, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	page := os.Getpagesize()
	for at := 2 * page; at < len(body); at += 5 * page { // every fifth page, but for the heads
		for i := range 300 {
			body[at+i] = byte(rnd.Uint32())
		}
	}
	damaged := bytes.Clone(body)
	if err := os.WriteFile(state, body, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, "data", "running")); err != nil { // another boot, as far as anybody knows
		t.Fatal(err)
	}

	w.start()
	w.post(p.next())
	after := w.drained()
	after.balance(t)
	text, err := w.command("status", "--json", "--config", w.config).Output()
	if err != nil {
		t.Fatal(err)
	}
	var said struct{ Salvages []store.Salvage }
	if err := json.Unmarshal(text, &said); err != nil {
		t.Fatal(err)
	}
	if len(said.Salvages) != 1 || said.Salvages[0].Whole() || said.Salvages[0].File != "state.db" {
		t.Fatalf("status says %s", text)
	}
	kept, err := os.ReadFile(filepath.Join(w.dir, "data", said.Salvages[0].KeptAs))
	if err != nil || !bytes.Equal(kept, damaged) {
		t.Errorf("the damaged file is not kept as it was: %v", err)
	}
	log, err := os.ReadFile(w.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"in_child=true", "salvaged"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if strings.Contains(string(log), "the process that was to check the files did not") {
		t.Error("the child did not do its work")
	}
	if out, err := w.command("status", "--config", w.config).CombinedOutput(); err != nil || !strings.Contains(string(out), "was damaged and made anew") {
		t.Errorf("status: %v\n%s", err, out)
	}
	w.kill()
	w.start() // and the next start is like any other
	w.drained()
}
