package api_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/host"
)

// agent answers questions in place of a running agent. What it does not implement must not be asked.
type agent struct{ api.Inspector }

func (agent) Status(context.Context) (condition.Status, error) {
	return condition.Status{Ready: true, Pending: 3}, nil
}

// A test of a program that asks an agent can serve the socket itself.
func ExampleServer() {
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "admin.sock")
	l, err := host.ListenSocket(socket)
	if err != nil {
		fmt.Println(err)
		return
	}
	side := &api.Server{
		Inspect: agent{}, Running: (*api.Client)(nil), // no test flushes here
		Version: "1.0", Log: slog.New(slog.DiscardHandler),
		Unready: func() string { return "" },
	}
	server := &http.Server{Handler: side.Socket(), ReadHeaderTimeout: time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	client, err := api.Dial(context.Background(), socket, "1.0")
	if err != nil {
		fmt.Println(err)
		return
	}
	status, err := client.Status(context.Background())
	fmt.Println(status.Ready, status.Pending, err)
	_ = client.Close()
	_ = server.Close()
	<-served
	// Output: true 3 <nil>
}
