// Load posts signed deliveries to an agent under test and records those answered 200. Later it checks that none of
// them was lost.
//
//	load post URL CLIENTS NOTES    until SIGTERM; prints the numbers of accepted and failed deliveries
//	load one URL SECRET            one delivery signed with SECRET; prints the status of the answer
//	load check NOTES SANDBOX       checks that every recorded user is on standard input (audience members --json) and at MoEngage
//	load certificate DIR           writes DIR/cert.pem and DIR/key.pem for 127.0.0.1
package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	err := errors.New("usage: load post URL CLIENTS NOTES | one URL SECRET | check NOTES SANDBOX | certificate DIR")
	switch args := os.Args[1:]; {
	case len(args) == 4 && args[0] == "post":
		err = post(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "check":
		err = check(args[1], args[2])
	case len(args) == 3 && args[0] == "one":
		err = one(args[1], args[2])
	case len(args) == 2 && args[0] == "certificate":
		err = certificate(args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// notes is the file of accepted deliveries. mu protects all fields.
type notes struct {
	mu            sync.Mutex
	file          *os.File
	taken, failed int
	why           error
}

func (n *notes) note(user string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.failed, n.why = n.failed+1, err
		return
	}
	n.taken++
	fmt.Fprintln(n.file, user)
}

func post(url, clients, path string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	count, err := strconv.Atoi(clients)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	n, run := &notes{file: file}, time.Now().UnixNano()
	var all sync.WaitGroup
	for c := range count {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
			for i := 0; ctx.Err() == nil; i++ {
				user := fmt.Sprintf("usr_%d_%d_%d", run, c, i)
				status, err := deliver(client, url, "hush", user)
				if err == nil && status != http.StatusOK {
					err = fmt.Errorf("HTTP %d", status)
				}
				n.note(user, err)
				pause := 10 * time.Millisecond // a steady load, not a benchmark
				if err != nil {
					pause = 200 * time.Millisecond
				}
				time.Sleep(pause)
			}
		})
	}
	all.Wait()
	fmt.Printf("taken %d failed %d\n", n.taken, n.failed)
	if n.why != nil {
		fmt.Fprintln(os.Stderr, "load: the last failure:", n.why)
	}
	return file.Close()
}

func deliver(client *http.Client, url, secret, user string) (status int, err error) {
	body := `{"type":"identify","userId":"` + user + `","messageId":"m-` + user + `","timestamp":"` + time.Now().UTC().Format(time.RFC3339Nano) +
		`","traits":{"vip":true},"context":{"personas":{"computation_class":"audience","computation_id":"aud_1","computation_key":"vip","space_id":"spa_1"}}}`
	mac := hmac.New(sha1.New, []byte(secret))
	_, _ = io.WriteString(mac, body)
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func one(url, secret string) error {
	status, err := deliver(http.DefaultClient, url, secret, fmt.Sprintf("usr_one_%d", time.Now().UnixNano()))
	if err == nil {
		fmt.Println(status)
	}
	return err
}

func certificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject:     pkix.Name{CommonName: "127.0.0.1"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644),
		os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o640),
	)
}

func check(path, sandbox string) error {
	var members []struct{ User string }
	if err := json.NewDecoder(os.Stdin).Decode(&members); err != nil {
		return fmt.Errorf("read the members: %w", err)
	}
	known := make(map[string]bool, len(members))
	for _, m := range members {
		known[m.User] = true
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	total, lost, untold := 0, 0, 0
	for lines := bufio.NewScanner(file); lines.Scan(); total++ {
		if !known[lines.Text()] {
			lost++
		}
		if told, err := isMember(sandbox, lines.Text()); err != nil {
			return err
		} else if !told {
			untold++
		}
	}
	fmt.Printf("%d users were acknowledged; %d are unknown to the agent, %d to MoEngage\n", total, lost, untold)
	if total == 0 || lost > 0 || untold > 0 {
		return errors.New("something was lost")
	}
	return nil
}

func isMember(sandbox, user string) (bool, error) {
	resp, err := http.Get(sandbox + "/sandbox/users/" + user)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode == http.StatusOK && strings.Contains(string(text), `"vip": true`), err
}
