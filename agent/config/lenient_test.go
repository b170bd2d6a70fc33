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
