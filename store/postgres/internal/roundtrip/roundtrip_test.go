package roundtrip

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/domain"
)

// TestARefusalOfTheServerSaysWhatToDo: the firewall is not the reason.
func TestARefusalOfTheServerSaysWhatToDo(t *testing.T) {
	for state, want := range map[string]string{
		StateWrongPassword: "pg_hba.conf", StateNoLogin: "pg_hba.conf", StateNoDatabase: "CREATE DATABASE", StateTooMany: "raise max_connections",
		StateNoRight: "GRANT ALL ON SCHEMA", StateReadOnly: "name every server of the cluster",
	} {
		if err := Explain(&pgconn.PgError{Code: state, Message: "refused"}); !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "firewall") {
			t.Errorf("%s: %v", state, err)
		}
	}
}

// TestWhatWaitingCures: an agent that is started waits for it, and ends with anything else.
func TestWhatWaitingCures(t *testing.T) {
	for state, want := range map[string]bool{
		"08006": true, StateDiskFull: true, StateNoMemory: true, StateTooMany: true, StateStarting: true, StateStopping: true, StateReadOnly: true, StateLockTimeout: true, "57014": true,
		StateWrongPassword: false, StateNoLogin: false, StateNoDatabase: false, StateNoRight: false, StateUndefined: false, "0A000": false,
	} {
		if got := Passes(Explain(&pgconn.PgError{Code: state})); got != want {
			t.Errorf("%s: %v", state, got)
		}
	}
	for err, want := range map[error]bool{
		&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}: false,
		errors.New("server refused TLS connection"):                          false,
		errors.New("the store is damaged"):                                   false,
		&net.DNSError{Err: "no such host", IsNotFound: true}:                 true,
		context.DeadlineExceeded:                                             true,
		io.ErrUnexpectedEOF:                                                  true,
	} {
		if got := Passes(Explain(err)); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// TestTheAdviceFitsTheCause: a full disk was called that of the agent, and a server without TLS got the firewall's advice.
func TestTheAdviceFitsTheCause(t *testing.T) {
	for want, err := range map[string]error{
		"make room on the disk of PostgreSQL":     Translate(&pgconn.PgError{Code: StateDiskFull, Message: "could not extend file"}),
		"PostgreSQL has no memory left":           Explain(&pgconn.PgError{Code: StateNoMemory}),
		"raise max_connections":                   Explain(&pgconn.PgError{Code: StateTooMany}),
		"have an administrator set ssl = on":      Explain(errors.New("server refused TLS connection")),
		"add &sslrootcert":                        Explain(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}),
		"that this machine can resolve it":        Explain(&net.DNSError{Err: "no such host"}),
		"takes connections when that is over":     Explain(&pgconn.PgError{Code: StateStarting}),
		"a firewall lets this machine through":    Explain(context.DeadlineExceeded),
		"look into the log of PostgreSQL":         Explain(fmt.Errorf("failed to write startup message: %w", &net.OpError{Op: "write", Err: syscall.ECONNRESET})),
		"start the primary, or promote a standby": Explain(ErrReadOnlyServer),
	} {
		if !strings.Contains(err.Error(), want) || strings.Contains(want, "firewall") != strings.Contains(err.Error(), "firewall") || strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := Translate(&pgconn.PgError{Code: StateDiskFull}); !errors.Is(err, domain.ErrFull) || Code(err) != StateDiskFull {
		t.Errorf("a full disk: %v", err)
	}
}

// TestBytesOfAnArray: PostgreSQL's own form, of its source's array_recv: dimensions, a flag for nulls, type, length and first index,
// then each element behind its length.
func TestBytesOfAnArray(t *testing.T) {
	want := "\x00\x00\x00\x01" + "\x00\x00\x00\x00" + "\x00\x00\x00\x11" + "\x00\x00\x00\x02" + "\x00\x00\x00\x01" + "\x00\x00\x00\x01a" + "\x00\x00\x00\x00"
	if got := string(Byteas([]string{"a", ""})); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if n := Integer(Number(-2)); n != -2 {
		t.Errorf("-2 comes back as %d", n)
	}
	if n := Integer([]byte("short")); n != 0 {
		t.Errorf("what is no bigint is %d", n)
	}
}
