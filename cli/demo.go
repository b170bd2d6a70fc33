package cli

import urfave "github.com/urfave/cli/v2"

func (sh *shell) demoCommand() *urfave.Command {
	return &urfave.Command{Name: "demo"}
}
