package postgres

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"personasync/store/engine"
	"personasync/store/postgres/pgtest"
)

// authority signs certificates for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// newAuthority makes an authority, with its certificate in a file.
func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), name+".pem")}
	cert, key := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)})
	must(t, os.WriteFile(a.file, cert, 0o600))
	block, _ := pem.Decode(cert)
	parsed, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	a.cert, a.key = parsed, key
	return a
}

// sign makes a certificate of c, in PEM form, signed by a, or by itself if a has none yet.
func (a *authority) sign(t *testing.T, c *x509.Certificate) (cert []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = c, key
	}
	c.SerialNumber, c.NotBefore = big.NewInt(time.Now().UnixNano()), time.Now().Add(-2*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key
}

// issue is sign for a host or user, with the key in PEM form.
func (a *authority) issue(t *testing.T, c *x509.Certificate) (cert, key []byte) {
	t.Helper()
	cert, k := a.sign(t, c)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	must(t, err)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// hostCert is a certificate for a server of pgtest.
func hostCert() *x509.Certificate {
	return &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour)}
}

const hardPassword = `p@ s:s/w%#d?&+é`

// secured is a server that lets in nobody without TLS, and without the password or the certificate of a client.
type secured struct {
	*pgtest.Server
	ca *authority
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	pgtest.Need(t)
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, hostCert())
	root, err := os.ReadFile(ca.file)
	must(t, err)
	s := pgtest.NewServer(t, "hostssl certified all 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n",
		map[string][]byte{"server.pem": cert, "server.key": key, "ca.pem": root},
		"ssl = on", "ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.key'", "ssl_ca_file = 'ca.pem'")
	s.SQL(t, "create role agent login password '"+hardPassword+"'")
	s.SQL(t, "create database own owner agent")
	s.SQL(t, "create database certified owner agent")
	return &secured{s, ca}
}

// config is that of an agent of the server, with these settings of the connection added to or replaced in its address.
func (s *secured) config(changes ...string) Config {
	u := url.URL{Scheme: "postgres", User: url.UserPassword("agent", hardPassword), Host: s.Address(), Path: "/own"}
	query := url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.ca.file}}
	for _, change := range changes {
		name, value, _ := strings.Cut(change, "=")
		switch name {
		case "password":
			u.User = url.UserPassword("agent", value)
		case "host":
			u.Host = net.JoinHostPort(value, u.Port())
		case "database":
			u.Path, u.User = value, url.User("agent")
		default:
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()
	return Config{URL: u.String(), Replicated: "no", Log: slog.New(slog.DiscardHandler)}
}

// refused expects that nothing connects, and that the error says so and what to do.
func refused(t *testing.T, what string, c Config, want ...string) {
	t.Helper()
	db, err := Connect(t.Context(), c)
	if err == nil {
		db.Close()
		t.Errorf("%s: it connects", what)
		return
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v, want %q", what, err, part)
		}
	}
	if strings.Contains(err.Error(), "firewall") || strings.Contains(err.Error(), "s:s") {
		t.Errorf("%s: %v", what, err)
	}
}

func TestAStoreBehindTLSAndSCRAM(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	for what, c := range map[string]Config{
		"password":                s.config(),
		"channel binding":         s.config("channel_binding=require"),
		"certificate of a client": s.clientConfig(t, s.ca, time.Hour),
	} {
		db, err := Connect(t.Context(), c)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		must(t, db.Create(t.Context(), newTerm(t, db), 7, buckets, func(engine.Tx) error { return nil }))
		get(t, db.State(nil), "k")
		if h, err := db.Health(context.Background()); err != nil || !strings.HasPrefix(h.TLS, "TLSv1.") {
			t.Errorf("%s: TLS %q, %v", what, h.TLS, err)
		}
		db.Close()
		s.SQL(t, "drop database if exists own with (force)")
		s.SQL(t, "create database own owner agent")
	}
}

// clientConfig is a config with a certificate in place of the password.
func (s *secured) clientConfig(t *testing.T, by *authority, valid time.Duration) Config {
	t.Helper()
	cert, key := by.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "agent"}, NotAfter: time.Now().Add(valid)})
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(certFile, cert, 0o600))
	must(t, os.WriteFile(keyFile, key, 0o600))
	return s.config("database=/certified", "sslcert="+certFile, "sslkey="+keyFile)
}

// TestAServerThatIsNotProvenSaysWhatToDo: the advice about a firewall belongs to a server that does not answer.
func TestAServerThatIsNotProvenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	other := newAuthority(t, "other")
	garbage := filepath.Join(t.TempDir(), "garbage")
	must(t, os.WriteFile(garbage, []byte("no certificate\n"), 0o600))

	refused(t, "another authority", s.config("sslrootcert="+other.file), "add &sslrootcert=")
	refused(t, "another name", s.config("host=localhost"), "name the server in the address as its certificate does")
	refused(t, "wrong password", s.config("password=wrong"), "see that user and password")
	refused(t, "without TLS", s.config("sslmode=disable"), "sslmode=verify-full")
	refused(t, "no certificate of a client", s.config("database=/certified"), "valid client certificate", "pg_hba.conf")
	refused(t, "a client's certificate of another authority", s.clientConfig(t, other, time.Hour), "ssl_ca_file")
	refused(t, "an expired certificate of a client", s.clientConfig(t, s.ca, -time.Minute), "ssl_ca_file", "valid")
	refused(t, "no file of the authority", s.config("sslrootcert="+garbage+".pem"), "sslrootcert")
	refused(t, "a file of something else", s.config("sslrootcert="+garbage), "sslrootcert")
	refused(t, "a setting that PostgreSQL does not have", s.config("slmode=verify-full"), "remove that part of the address")

	expired := hostCert()
	expired.NotAfter = time.Now().Add(-time.Hour)
	cert, key := s.ca.issue(t, expired)
	s.Write(t, "server.pem", cert)
	s.Write(t, "server.key", key)
	s.Reload(t)
	refused(t, "an expired certificate", s.config(), "renewed")

	s.SQL(t, "alter system set ssl = off")
	s.Reload(t)
	refused(t, "a server without TLS", s.config(), "ssl = on")
}

// TestACertificateThatWasReplacedIsUsedWithoutARestart: that of a client, and that of the authority which proves the server. Half of a
// file changes nothing.
func TestACertificateThatWasReplacedIsUsedWithoutARestart(t *testing.T) {
	s := newSecured(t)
	c := s.clientConfig(t, s.ca, time.Hour)
	db, err := Connect(t.Context(), c)
	must(t, err)
	defer db.Close()
	u, err := url.Parse(c.URL)
	must(t, err)
	certFile, keyFile := u.Query().Get("sslcert"), u.Query().Get("sslkey")
	connects := func(what string) {
		t.Helper()
		conn, err := db.connect(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		must(t, conn.Close(t.Context()))
	}
	whole, err := os.ReadFile(s.ca.file)
	must(t, err)
	must(t, os.WriteFile(s.ca.file, whole[:len(whole)/2], 0o600))
	connects("half of a file")

	next := newAuthority(t, "next")
	root, err := os.ReadFile(next.file)
	must(t, err)
	cert, key := next.issue(t, hostCert())
	for name, content := range map[string][]byte{"server.pem": cert, "server.key": key, "ca.pem": root} {
		s.Write(t, name, content)
	}
	s.Reload(t)
	if _, err := db.connect(t.Context()); err == nil || Passes(err) {
		t.Errorf("the server has other certificates: %v", err)
	}
	cert, key = next.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "agent"}, NotAfter: time.Now().Add(time.Hour)})
	must(t, os.WriteFile(certFile, cert, 0o600))
	must(t, os.WriteFile(keyFile, key, 0o600))
	must(t, os.WriteFile(s.ca.file, root, 0o600))
	connects("replaced files")
}
