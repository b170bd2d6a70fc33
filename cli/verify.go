package cli

import (
	"cmp"
	"errors"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/cli/internal/verification"
)

func audienceVerifyCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "verify",
		Usage:     "read users back from MoEngage and compare them with the sent values",
		ArgsUsage: "KEY",
		Description: "MoEngage's 200 means that it queued a change, not that it applied it. This command reads a random\n" +
			"sample of users back, and prints the share whose values equal the sent ones. It reads 20 users a\n" +
			"request and 1,000 a minute, MoEngage's limit for the workspace, so --all takes 17 hours for a\n" +
			"million users. Users with pending changes are left out. KEY may be a trait or an id. --repair queues\n" +
			"the differences again. Only attributes can be read back.\n\n" +
			"Example: personasync audience verify high_value_shoppers --sample 2000 --repair",
		Flags: []urfave.Flag{
			&urfave.IntFlag{Name: "sample", Usage: "read back `N` users (default: verify.sample of the configuration)", DefaultText: "1000"},
			&urfave.BoolFlag{Name: "all", Usage: "read back every user that was sent", DisableDefaultText: true},
			&urfave.BoolFlag{Name: "repair", Usage: "queue the differences again", DisableDefaultText: true},
			&urfave.DurationFlag{Name: "settle", Value: api.DefaultSettle, Usage: "leave out users with a change sent less than `D` ago"},
			command.LimitFlag("differences"), command.WideFlag(), command.JSONFlag(),
		},
		Action: env.Action(audienceVerify, "the KEY of an audience or trait"),
	}
}

func audienceVerify(env *command.Env, c *urfave.Context) error {
	shown, err := command.Limit(c)
	if err != nil {
		return err
	}
	places, err := env.LoadPlaces(c)
	if err != nil {
		return err
	}
	o, err := verifyOrder(c, places.Verify.Sample)
	if err != nil {
		return err
	}
	return askReader(env, c, func(client *api.Client) error {
		bar := env.Progress()
		bar.Unit = verification.Users
		r, err := client.Verify(c.Context, o, bar.Tell)
		if bar.End(); err != nil {
			return command.UnknownKey(env, c, err, o.Key)
		}
		if c.Bool("json") {
			return term.PrintJSON(env.Out, r)
		}
		return verification.Print(env.Terminal, r, o, shown, c.Bool("wide"))
	})
}

// askReader asks the running agent, which reads users back from MoEngage.
func askReader(env *command.Env, c *urfave.Context, ask func(*api.Client) error) (err error) {
	client, err := env.Dial(c, "it is the agent that asks MoEngage, within limits that all verifications share; start it with `personasync run`")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	env.Remark("%s", client.Where())
	return ask(client)
}

func verifyOrder(c *urfave.Context, sample int) (o api.VerifyOrder, err error) {
	o = api.VerifyOrder{Key: c.Args().First(), Sample: sample, Repair: c.Bool("repair"), Settle: c.Duration("settle")}
	switch {
	case c.IsSet("sample") && c.Bool("all"):
		return o, exit.Usage("--sample and --all do not go together")
	case c.IsSet("sample") && c.Int("sample") < 1:
		return o, exit.Usage("--sample is at least 1, not %d", c.Int("sample"))
	case o.Settle < 0:
		return o, exit.Usage("--settle is a duration such as 1m, not %s", o.Settle)
	case c.IsSet("sample"):
		o.Sample = c.Int("sample")
	case c.Bool("all"):
		o.Sample = 0
	}
	return o, nil
}

func userVerifyCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "verify",
		Usage:     "read one user back from MoEngage and compare with the sent values",
		ArgsUsage: "ID",
		Description: "Shows each attribute that was sent, and what MoEngage holds. Exits with 1 if a value differs or is\n" +
			"missing, or if none can be compared yet, and with 3 if nothing is known of the user or nothing was\n" +
			"sent. Events, cohorts and attributes that others write cannot be seen: MoEngage returns values of\n" +
			"attributes alone. Changes nothing: `personasync audience reconcile KEY` or `audience verify --repair`\n" +
			"send again. Put -- before an id that begins with a dash.\n\n" +
			"Example: personasync user verify usr_48213",
		Flags: []urfave.Flag{
			&urfave.DurationFlag{Name: "settle", Value: api.DefaultSettle, Usage: "do not judge a computation with a change sent less than `D` ago"},
			command.WideFlag(), command.JSONFlag(),
		},
		Action: env.Action(userVerify, "the ID of a user"),
	}
}

func userVerify(env *command.Env, c *urfave.Context) error {
	id, settle := c.Args().First(), c.Duration("settle")
	if settle < 0 {
		return exit.Usage("--settle is a duration such as 1m, not %s", settle)
	}
	return askReader(env, c, func(client *api.Client) error {
		u, err := findUser(c.Context, client, id)
		if err != nil {
			return err
		}
		r, err := client.VerifyUser(c.Context, u.User, settle)
		switch {
		case err != nil:
			return err
		case c.Bool("json"):
			err = term.PrintJSON(env.Out, r)
		default:
			err = verification.PrintUser(env.Terminal, r, c.Bool("wide"))
		}
		return cmp.Or(err, verification.Judge(r))
	})
}
