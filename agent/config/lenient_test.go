package config

import (
	"strings"
	"testing"
)

// A place below [moengage] had made every command fail although an agent could be asked. One below
// [[computation]], where an appended line ends up, had led to the default's data.
func TestCommandsAcceptAMisplacedPlace(t *testing.T) {
	for doc, want := range map[string]string{
		"[moengage]\ndata_dir = \"/x\"\n":                                  "/x",
		"moengage.data_dir = \"/x\"\n":                                     "/x",
		"[[computation]]\nkey = \"a\"\ndata_dir = \"/x\"\n":                "/x",
		"[stroage]\ndata_dir = \"/x\"\n":                                   "/x",
		"data-dir = \"/x\"\n":                                              "/x",
		"data_dir = \"/y\"\n[moengage]\ndata_dir = \"/x\"\n":               "/y",
		"data_dir = \"/y\"\n[[computation]]\nkey=\"a\"\ndata_dir = \"/x\"": "/y",
		"data_dir = \"/y\"\n[ingest]\nsocket = \"/s\"\n":                   "/y and /s",
		"socket = \"/s\"\ndatadir = \"/x\"\n":                              "/x and /s",
		"data_dir = \"/y\"\n[adnim]\nsocket = \"/s\"\n":                    "/y and /s",
		"admin.socket = \"/r\"\nsocket = \"/s\"\ndata_dir = \"/y\"":        "/y and /r",
		"[moengage]\ndata_dir = 5\n":                                       "",
		"[moengage]\ndata_dir = \"/x\"\n[guard]\ndata_dir = \"/z\"\n":      "",
		"data_dir = 5\n[moengage]\ndata_dir = \"/x\"\n":                    "",
	} {
		c, err := LoadPlaces(writeFile(t, "agent.toml", doc), nil)
		got := ""
		if err == nil {
			got = strings.TrimSuffix(c.DataDir+" and "+c.Admin.Socket, " and ")
		}
		if got != want {
			t.Errorf("%s leads to %q, want %q: %v", doc, got, want, err)
		}
		if err == nil && c.Refused() == nil {
			t.Errorf("%s has no fault", doc)
		}
	}
	c, err := LoadPlaces(writeFile(t, "agent.toml", "[moengage]\ndata_dir = \"/x\"\n"), []string{"PERSONASYNC_DATA_DIR=/e"})
	if err != nil || c.DataDir != "/e" {
		t.Errorf("the environment says /e: %v", err)
	}
}

// A fault elsewhere must not stop a command that only asks the agent. The faulty keys get their defaults.
func TestFaultyKeysGetTheirDefaults(t *testing.T) {
	c, err := LoadPlaces(writeFile(t, "agent.toml", lines(
		`data_dir = "/y"`, "[log]", `level = "loud"`, `format = "text"`,
		"[[computation]]", `key = "good"`,
		"[[computation]]", `key = "bad"`, `send = "all"`,
		"[[computation]]", `key = "good"`,
		"[[computation]]", `attribute = "nameless"`,
	)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != "/y" || c.Log.Level != Default().Log.Level || c.Log.Format != "text" {
		t.Errorf("data_dir %q, log %+v", c.DataDir, c.Log)
	}
	if len(c.Computations) != 1 || c.Computations[0].Key != "good" {
		t.Errorf("computations %+v", c.Computations)
	}
	if faults, ok := c.Refused().(*Faults); !ok || len(faults.All) != 4 {
		t.Errorf("refused for %v", c.Refused())
	}
}

// Lines that are not TOML are skipped, unless one of them may contain a place.
func TestInvalidLinesAreSkipped(t *testing.T) {
	for doc, want := range map[string]string{
		lines("[log]", "level = ", `[admin]`, `socket = "/s"`):          "/s",
		lines("= 1", "= 2", `admin.socket = "/s"`):                      "/s",
		lines(`admin.socket = "/s`):                                     "",
		lines("data_dir = /var/lib", `admin.socket = "/s"`):             "",
		lines("[admin", `socket = "/s"`):                                "",
		lines(strings.Repeat("= 1\n", 20) + `admin.socket = "/s"`):      "",
		lines(strings.Repeat("= 1\n", 19) + `admin.socket = "/s"`):      "/s",
		"\ufeff" + lines("[log]", "level = ", `[admin]`, `socket="/s"`): "/s",
	} {
		c, err := LoadPlaces(writeFile(t, "agent.toml", doc), nil)
		if want == "" && err == nil || want != "" && (err != nil || c.Admin.Socket != want) {
			t.Errorf("%q: %+v, %v, want %q", doc, c, err, want)
		}
	}
}

func TestRefuseReplacesTheFaults(t *testing.T) {
	c := Default()
	if c.Refused() != nil {
		t.Errorf("the default is refused for %v", c.Refused())
	}
	c.Refuse(ErrNoFile)
	if c.Refused() != ErrNoFile {
		t.Errorf("refused for %v", c.Refused())
	}
}
