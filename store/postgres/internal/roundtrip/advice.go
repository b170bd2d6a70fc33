package roundtrip

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
)

// serverAdvice is what to do about what a server answers, by SQLSTATE. A firewall is the reason of none of them.
var serverAdvice = map[string]string{
	StateWrongPassword: loginAdvice,
	StateNoLogin:       loginAdvice,
	StateNoDatabase:    "create the database there: CREATE DATABASE ..., as its administrator",
	StateTooMany:       "raise max_connections there, or the limit of this user (ALTER ROLE ... CONNECTION LIMIT), or lower pool_max_conns in the address",
	StateNoRight: "have an administrator give this user its rights back: the schema and all in it must be its own, ALTER SCHEMA ... OWNER TO ..., " +
		"or GRANT ALL ON SCHEMA ... TO ..., and GRANT CONNECT ON DATABASE ... TO ...",
	StateReadOnly:       readOnlyAdvice,
	StateUnknownSetting: "correct or remove that part of the address: what is behind the ? are settings of the connection and of PostgreSQL",
	StateDiskFull:       "make room on the disk of PostgreSQL",
	StateNoMemory:       "PostgreSQL has no memory left: look at its log, and at what else it runs",
	StateStarting:       "it starts or recovers, and takes connections when that is over; its log says how far it is",
	StateStopping:       "it is being stopped, or an administrator ended this connection",
}

const (
	loginAdvice = "see that user and password of the address are right, and that pg_hba.conf there lets this user in from here; " +
		"where it asks for encryption write sslmode=verify-full, and where it asks for a certificate of this user sslcert and sslkey, one that its ssl_ca_file has signed"
	certificateAdvice = "see that sslcert and sslkey in the address name a certificate of this user that is valid, and that ssl_ca_file there knows who signed it"
	readOnlyAdvice    = "start the primary, or promote a standby; name every server of the cluster in the address (host1,host2), so that the one that takes writes is found; " +
		"if this one should take them, see default_transaction_read_only there"
)

// ErrReadOnlyServer says that a server takes no writes: a standby, or a database that somebody made read-only.
var ErrReadOnlyServer = errors.New("this server takes no writes")

// Explain says what to do about an error of a connection. pgx leaves the password out of its own.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	advice := wayAdvice(err)
	if s := Code(err); s != "" {
		advice = serverAdvice[s]
	}
	if errors.Is(err, ErrReadOnlyServer) {
		advice = readOnlyAdvice
	}
	if advice == "" {
		return fmt.Errorf("PostgreSQL cannot be used: %w", oneLine{err})
	}
	return fmt.Errorf("PostgreSQL cannot be used: %w: %s", oneLine{err}, advice)
}

// oneLine has an error of several tries on one line, each once: logs, probes and tables show it.
type oneLine struct{ error }

func (e oneLine) Error() string {
	var lines []string
	for line := range strings.Lines(e.error.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}

// Unwrap returns the error.
func (e oneLine) Unwrap() error { return e.error }

// wayAdvice is what to do about an error that no server sent.
func wayAdvice(err error) string {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return "name the server in the address as its certificate does, or have a certificate issued for this name; what answers may not be your server"
	case errors.As(err, &authority):
		return "add &sslrootcert=/path/to/ca.pem to the address, with the certificate of the authority that signed for your server; what answers may not be your server"
	case errors.As(err, &invalid):
		return "have the certificate of the server renewed there, and see that the clock of this machine is right"
	case refusesCertificate(err):
		return certificateAdvice
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE): // that overtook its reason, if it refuses a certificate
		return "look into the log of PostgreSQL for why it ended the connection; if that is about a certificate, " + certificateAdvice
	case offersNoTLS(err):
		return "have an administrator set ssl = on there, with a certificate"
	case errors.As(err, new(*net.DNSError)):
		return "see that the name of the host in the address is right, and that this machine can resolve it"
	}
	return "see that PostgreSQL runs there, and that a firewall lets this machine through"
}

// refusesCertificate reports whether a server ended a handshake of TLS. crypto/tls has no type for it.
func refusesCertificate(err error) bool { return strings.Contains(err.Error(), "remote error: tls: ") }

// offersNoTLS reports whether a server does not speak TLS. pgx has no type for it.
func offersNoTLS(err error) bool {
	return strings.Contains(err.Error(), "server refused TLS connection")
}
