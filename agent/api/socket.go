package api

import (
	"context"
	"net"
	"net/http"

	"personasync/agent/api/internal/socket"
)

// The errors of both sides of the socket.
var (
	ErrNotRunning = socket.ErrNotRunning // no process listens at the socket
	ErrFrozen     = socket.ErrFrozen     // the agent has its socket and does not answer
	ErrUsage      = socket.ErrUsage      // a request is wrong in itself
	ErrPaused     = socket.ErrPaused     // an order to send is refused during a pause
	ErrUnreadable = socket.ErrUnreadable // MoEngage tells nothing of a computation, so that it cannot be verified
)

// Problem is an error as it crosses the socket.
type Problem = socket.Problem

// Question reads a request and answers it. The answer crosses the socket as JSON, an error as a problem.
type Question = socket.Question

// WriteProblem answers with p and an HTTP status.
func WriteProblem(w http.ResponseWriter, status int, p Problem) { socket.WriteProblem(w, status, p) }

// ProcessAt returns the process that listens at the socket at path, also if it does not answer; 0 without one.
func ProcessAt(ctx context.Context, path string) int { return socket.ProcessAt(ctx, path) }

// WithPeer adds the process at the other end of a connection to its context. Where the kernel does not say, orders are
// logged without one.
func WithPeer(ctx context.Context, c net.Conn) context.Context { return socket.WithPeer(ctx, c) }
