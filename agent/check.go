package agent

import (
	"context"
	"fmt"
	"time"

	"personasync/agent/api"
	"personasync/agent/config"
)

// checkPatience is how long a check of the configuration waits for the agent's data.
const checkPatience = 5 * time.Second

// DataWarnings says what c, once it is in force, would do that only the agent's data can tell. There are none where it cannot
// be read.
func DataWarnings(ctx context.Context, c *config.Config, version string) []string {
	if rules := c.Rules(); c.Store.OnPostgres() && !rules.AsksConsent() {
		return nil // a database that does not answer is no reason to wait
	}
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	i, done, _, err := Open(ctx, c, version)
	if err != nil {
		return nil
	}
	defer done.Close()
	return append(workspaceWarnings(ctx, i, c), consentWarnings(ctx, i, c)...)
}

// workspaceWarnings says that an agent with c sends nothing, because another workspace was told what its data knows.
func workspaceWarnings(ctx context.Context, i api.Inspector, c *config.Config) []string {
	s, err := i.Status(ctx)
	if err != nil || c.Workspace().Admits(s.Workspace) == nil {
		return nil
	}
	return []string{fmt.Sprintf("the data was sent to the workspace %[1]s, and not to %[2]s: a reload is refused, and after a restart events are received and nothing is sent. "+
		"Correct moengage.workspace_id or base_url; or name another data_dir; or, if %[2]s takes the place of %[1]s, set moengage.replaces_workspace_id = %[1]q "+
		"(docs/connecting-moengage.md, Another workspace)", s.Workspace, c.Workspace().ID)}
}
