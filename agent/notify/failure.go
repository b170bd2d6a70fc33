package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// failure is why a receiver did not take a message, and what to do. Neither holds a secret.
type failure struct {
	why   string
	do    string
	after time.Duration // as the receiver asked; 0: it did not
}

// Error implements error.
func (f *failure) Error() string {
	if f.do == "" {
		return f.why
	}
	return f.why + ": " + f.do
}

// failed makes a failure of err, unless it is one.
func failed(err error, do string) *failure {
	if f := (*failure)(nil); errors.As(err, &f) {
		return f
	}
	return &failure{why: err.Error(), do: do}
}

// unreached is the failure of a request without an answer. The address is left out: its path is a secret. What is there may
// be no HTTP, and repeat what it was sent.
func unreached(ctx context.Context, key string, err error, secrets []string) *failure {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		plain     tls.RecordHeaderError
		timeout   net.Error
	)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &failure{why: "it was given up before an answer came, because the agent stops or the configuration changed"}
	case errors.As(err, &dns):
		return &failure{why: fmt.Sprintf("the host name %q was not found", dns.Name), do: "correct the host in " + key + ", or look at the machine's DNS"}
	case errors.As(err, &authority):
		return &failure{why: "its certificate is of an unknown authority", do: "add the authority to this machine's certificates (update-ca-certificates), or correct " + key}
	case errors.As(err, &name), errors.As(err, &invalid):
		return &failure{why: "its certificate is not valid: " + err.Error(), do: "renew the certificate, or correct the host in " + key}
	case errors.As(err, &plain), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return &failure{why: "it does not speak TLS", do: "correct the port in " + key + ", or write http://"}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &failure{why: fmt.Sprintf("no answer within %v", sendPatience), do: "look whether the receiver works, and whether a firewall lets this machine reach it"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &failure{why: "nothing listens there (connection refused)", do: "correct the host and the port in " + key + ", or start the receiver"}
	}
	return &failure{why: excerpt([]byte(err.Error()), secrets), do: "look whether this machine can reach the receiver"}
}

// excerptBytes of an answer or of a command's output are shown.
const excerptBytes = 300

// excerpt makes foreign text fit for a log and a terminal, without secrets.
func excerpt(text []byte, secrets []string) string {
	s := strings.ToValidUTF8(string(text), "?")
	for _, secret := range secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "…")
		}
	}
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	return cut(s, excerptBytes)
}
