package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"personasync/store/postgres/pgtest"
)

// TestScriptsWithPostgres runs the scripts in testdata/postgres, each with the address of a database of its own in url.txt.
func TestScriptsWithPostgres(t *testing.T) {
	t.Parallel()
	pgtest.URL(t) // skips t without PostgreSQL
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "postgres"),
		Setup: func(env *testscript.Env) error {
			if err := os.WriteFile(filepath.Join(env.WorkDir, "url.txt"), []byte(pgtest.URL(t)+"\n"), 0o600); err != nil {
				return err
			}
			return setupScript(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "ready": scriptReady, "until": scriptUntil, "repeat": scriptRepeat, "post": scriptPost,
		},
	})
}
