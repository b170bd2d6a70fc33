package valid

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// databaseForm shows the address of a database. The password is the reader's to fill in.
const databaseForm = `"postgres://personasync:PASSWORD@db.example.com/personasync?sslmode=verify-full"`

// Database returns why address cannot be that of a PostgreSQL database, or nil. It does not repeat it. Beyond this host a
// connection must prove whom it reaches: the password and every user id cross it.
func Database(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Opaque != "":
		return errors.New("must be a whole address, like " + databaseForm +
			": in user and password write @ : / ? # % and a blank as %40 %3A %2F %3F %23 %25 %20, and a unix socket as ?host=/run/postgresql")
	case strings.Trim(u.Path, "/") == "" && !u.Query().Has("dbname") && !u.Query().Has("database"):
		return errors.New("must name a database, like " + databaseForm)
	case u.Fragment != "":
		return errors.New("must end before any #: in a password write it as %23")
	}
	notFull := func(mode string) bool { return mode != "verify-full" }
	if modes := u.Query()["sslmode"]; (modes == nil || slices.ContainsFunc(modes, notFull)) && slices.ContainsFunc(databaseHosts(u), isBeyond) {
		return errors.New("must have sslmode=verify-full in it, because it leads beyond this host: without it anyone on the way could take the server's place. " +
			"If this host does not know who signed the server's certificate, add &sslrootcert=/path/to/ca.pem")
	}
	return nil
}

// PoolerPort reports whether address names the usual port of a pooler of connections.
func PoolerPort(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (strings.Contains(u.Host+",", ":6432,") || u.Query().Get("port") == "6432")
}

// databaseHosts lists the hosts of an address, which may be several. Without any it is the socket of this host.
func databaseHosts(u *url.URL) []string {
	if hosts := u.Query()["host"]; len(hosts) > 0 {
		return strings.Split(strings.Join(hosts, ","), ",")
	}
	var hosts []string
	for host := range strings.SplitSeq(u.Host, ",") {
		if host != "" {
			hosts = append(hosts, (&url.URL{Host: host}).Hostname())
		}
	}
	return hosts
}

func isBeyond(host string) bool { return !strings.HasPrefix(host, "/") && !IsLoopback(host) }
