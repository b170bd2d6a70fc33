package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/logging"
	"personasync/sync/sandbox"
)

func sandboxCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "sandbox",
		Usage: "run a stand-in for MoEngage that validates requests",
		Description: "Validates requests as MoEngage documents them, keeps users and requests in memory, and fails as\n" +
			"told. See them with GET /sandbox/users/ID and GET /sandbox/requests. Set moengage.base_url of an\n" +
			"agent to its address.\n\n" +
			"Example: personasync sandbox --latency 50ms --fail status=503,for=10s --fail reset,count=3",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "listen", Value: "127.0.0.1:8490", Usage: "listen on `ADDRESS`"},
			&urfave.DurationFlag{Name: "latency", Usage: "delay each answer by `DURATION`"},
			&urfave.DurationFlag{Name: "delay", Usage: "make users and events visible `DURATION` after accepting them"},
			&urfave.StringSliceFlag{Name: "fail", Usage: "fail as `SPEC` says, for example status=429,retry_after=3; may be repeated"},
			&urfave.IntFlag{Name: "users-per-minute", Usage: "answer 429 above `N`; 0: MoEngage's limit"},
			&urfave.IntFlag{Name: "events-per-minute", Usage: "answer 429 above `N`; 0: MoEngage's limit"},
			&urfave.IntFlag{Name: "cohorts-per-minute", Usage: "answer 429 above `N` requests of Cohort Sync; 0: MoEngage's limit"},
			&urfave.StringFlag{Name: "workspace-id", Usage: "accept only this workspace `ID`"},
			&urfave.StringFlag{Name: "api-key", Usage: "accept only this `KEY`"},
			&urfave.BoolFlag{Name: "strict", Usage: "refuse a whole bulk request for one bad element, instead of dropping that element silently; MoEngage documents both", DisableDefaultText: true},
		},
		Action: env.Action(runSandbox),
	}
}

func runSandbox(env *command.Env, c *urfave.Context) error {
	options := sandbox.Options{
		WorkspaceID: c.String("workspace-id"), APIKey: c.String("api-key"),
		Latency: c.Duration("latency"), Delay: c.Duration("delay"),
		UsersPerMinute: c.Int("users-per-minute"), EventsPerMinute: c.Int("events-per-minute"), CohortsPerMinute: c.Int("cohorts-per-minute"),
		Strict: c.Bool("strict"),
		Log:    logging.NewLogger(env.Err, "auto", slog.LevelInfo, env.ErrPaint.On),
	}
	for _, spec := range c.StringSlice("fail") {
		fault, err := sandbox.ParseFault(spec)
		if err != nil {
			return exit.Usage("--fail %s: %w", spec, err)
		}
		options.Faults = append(options.Faults, fault)
	}
	l, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if _, err := fmt.Fprintf(env.Out, "MoEngage sandbox on http://%s: set moengage.base_url to it\n", l.Addr()); err != nil {
		return errors.Join(err, l.Close())
	}
	return serveUntil(c.Context, l, sandbox.New(options))
}

// serveUntil serves h on l until ctx is done.
func serveUntil(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		err := server.Close()
		<-failed
		return err
	}
}
