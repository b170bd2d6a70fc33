package config_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"personasync/agent/config"
)

// write creates an agent.toml in a directory of its own.
func write(text string) (path string, done func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	path = filepath.Join(dir, "agent.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		log.Fatal(err)
	}
	return path, func() { os.RemoveAll(dir) }
}

// The environment overrides the file, and the file overrides the defaults. A computation inherits missing keys
// from [defaults].
func ExampleLoad() {
	path, done := write(`
data_dir = "data"

[log]
level = "debug"

[defaults]
send = "event"

[[computation]]
key         = "vip"
enter_event = "Became VIP"
`)
	defer done()

	c, err := config.Load(path, []string{"PERSONASYNC_LOG_LEVEL=warn"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("log.level:", c.Log.Level)
	fmt.Println("ingest.listen:", c.Ingest.Listen)
	fmt.Println("data_dir is beside the file:", c.DataDir == filepath.Join(filepath.Dir(path), "data"))
	rules := c.Rules()
	vip := rules.For("vip", "aud_1")
	fmt.Println("vip enters as:", vip.EnterEvent)
	fmt.Println("vip leaves as:", vip.ExitEvent)
	// Output:
	// log.level: warn
	// ingest.listen: 127.0.0.1:8480
	// data_dir is beside the file: true
	// vip enters as: Became VIP
	// vip leaves as: Audience Exited
}

// All mistakes are reported at once, each with its key and line.
func ExampleFaults() {
	path, done := write(`[log]
level = "loud"

[retry]
max_backof = "5m"

[moengage]
concurrency = "four"
`)
	defer done()

	_, err := config.Load(path, nil)
	var faults *config.Faults
	if !errors.As(err, &faults) {
		log.Fatal(err)
	}
	for _, f := range faults.All {
		fmt.Printf("line %d: %s\n", f.Line, f.Key)
	}
	// Output:
	// line 2: log.level
	// line 5: retry.max_backof
	// line 8: moengage.concurrency
}
