// Package kubernetes has the manifests of agents in Kubernetes: of one with files, and of several with PostgreSQL. Its test
// decodes them with Kubernetes' own types, and runs agents on their configuration. It is a module of its own, so that
// Kubernetes is not a dependency of the product.
package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"personasync/store/postgres/pgtest"
)

const (
	files    = "personasync.yaml"
	postgres = "postgres.yaml"
)

// manifest has the decoded documents of one of the two.
type manifest struct {
	config     core.ConfigMap
	services   []core.Service
	set        apps.StatefulSet           // of files
	deployment apps.Deployment            // of postgres
	budget     policy.PodDisruptionBudget // of postgres
}

// pods returns what runs: the template, and the labels by which it is found.
func (m *manifest) pods() (core.PodTemplateSpec, map[string]string) {
	if m.set.Kind != "" {
		return m.set.Spec.Template, m.set.Spec.Selector.MatchLabels
	}
	return m.deployment.Spec.Template, m.deployment.Spec.Selector.MatchLabels
}

// each runs a test for both manifests.
func each(t *testing.T, test func(*testing.T, manifest)) {
	for _, name := range []string{files, postgres} {
		t.Run(name, func(t *testing.T) { test(t, read(t, name)) })
	}
}

// read decodes every document strictly: an unknown field is an error, which kubectl would report only on a cluster.
func read(t *testing.T, name string) (m manifest) {
	t.Helper()
	return decode(t, contents(t, name))
}

func decode(t *testing.T, text string) (m manifest) {
	t.Helper()
	for document := range strings.SplitSeq(text, "\n---\n") {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			t.Fatal(err)
		}
		var err error
		switch kind.Kind {
		case "ConfigMap":
			err = yaml.UnmarshalStrict([]byte(document), &m.config)
		case "Service":
			var s core.Service
			err = yaml.UnmarshalStrict([]byte(document), &s)
			m.services = append(m.services, s)
		case "StatefulSet":
			err = yaml.UnmarshalStrict([]byte(document), &m.set)
		case "Deployment":
			err = yaml.UnmarshalStrict([]byte(document), &m.deployment)
		case "PodDisruptionBudget":
			err = yaml.UnmarshalStrict([]byte(document), &m.budget)
		default:
			err = fmt.Errorf("a document of kind %q", kind.Kind)
		}
		if err != nil {
			t.Errorf("%s: %v", kind.Kind, err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return m
}

func TestTheManifestRefersToItself(t *testing.T) { each(t, refersToItself) }

func refersToItself(t *testing.T, m manifest) {
	pod, selector := m.pods()
	agent := pod.Spec.Containers[0]
	selects := func(selector map[string]string) bool {
		for k, v := range selector {
			if pod.Labels[k] != v {
				return false
			}
		}
		return len(selector) > 0
	}
	if !selects(selector) {
		t.Error("the pods are not selected by what makes them")
	}
	if m.budget.Kind != "" && !selects(m.budget.Spec.Selector.MatchLabels) {
		t.Error("the budget selects no pods")
	}
	for _, c := range pod.Spec.TopologySpreadConstraints {
		if !selects(c.LabelSelector.MatchLabels) {
			t.Errorf("the pods are not spread over %s", c.TopologyKey)
		}
	}
	ports := map[string]int32{}
	for _, p := range agent.Ports {
		ports[p.Name] = p.ContainerPort
		if why := validation.IsValidPortName(p.Name); len(why) > 0 {
			t.Error(p.Name, why)
		}
	}
	names := []string{}
	for _, s := range m.services {
		names = append(names, s.Name)
		if !selects(s.Spec.Selector) {
			t.Errorf("the service %s selects no pods", s.Name)
		}
		for _, p := range s.Spec.Ports {
			if ports[p.TargetPort.String()] != p.Port {
				t.Errorf("the service %s leads to port %s, which the agent does not have at %d", s.Name, p.TargetPort.String(), p.Port)
			}
		}
	}
	if m.set.Kind != "" && !slices.Contains(names, m.set.Spec.ServiceName) {
		t.Errorf("there is no service %s", m.set.Spec.ServiceName)
	}
	volumes := []string{}
	for _, v := range pod.Spec.Volumes {
		volumes = append(volumes, v.Name)
	}
	for _, c := range m.set.Spec.VolumeClaimTemplates {
		volumes = append(volumes, c.Name)
	}
	for _, v := range agent.VolumeMounts {
		if !slices.Contains(volumes, v.Name) {
			t.Errorf("there is no volume %s", v.Name)
		}
	}
	for name, probe := range map[string]*core.Probe{"startup": agent.StartupProbe, "liveness": agent.LivenessProbe, "readiness": agent.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Port.Type != intstr.String || ports[probe.HTTPGet.Port.StrVal] == 0 {
			t.Errorf("the %s probe asks no port of the agent", name)
		}
	}
}

// TestTheManifestAgreesWithTheImageAndTheUnit: user, folders and the time of a stop are said in three places.
func TestTheManifestAgreesWithTheImageAndTheUnit(t *testing.T) { each(t, agrees) }

func agrees(t *testing.T, m manifest) {
	if n := m.set.Spec.Replicas; m.set.Kind != "" && (n == nil || *n != 1) {
		t.Error("the files have one writer, so there is one replica")
	}
	template, _ := m.pods()
	pod := template.Spec
	user := fmt.Sprintf("%d:%d", *pod.SecurityContext.RunAsUser, *pod.SecurityContext.RunAsGroup)
	image := contents(t, "../container/Dockerfile")
	if !strings.Contains(image, "\nUSER "+user+"\n") || *pod.SecurityContext.FSGroup != *pod.SecurityContext.RunAsGroup {
		t.Errorf("the image does not run as %s", user)
	}
	for _, v := range pod.Containers[0].VolumeMounts {
		if strings.HasPrefix(v.MountPath, "/etc/") != v.ReadOnly {
			t.Errorf("%s is mounted read-only: %v", v.MountPath, v.ReadOnly)
		}
		if !v.ReadOnly && !strings.Contains(image, " "+v.MountPath+"\n") {
			t.Errorf("the image has no %s", v.MountPath)
		}
	}
	stop := fmt.Sprintf("\nTimeoutStopSec=%ds\n", *pod.TerminationGracePeriodSeconds)
	if !strings.Contains(contents(t, "../systemd/personasync.service"), stop) {
		t.Errorf("the unit has not %s", strings.TrimSpace(stop))
	}
}

// TestTheClassesOfReplicatedVolumes: the class that the manifest proposes is one of them, and with it the manifest asks
// for a volume that one pod may have, and that outlives its claim.
func TestTheClassesOfReplicatedVolumes(t *testing.T) {
	classes := map[string]storage.StorageClass{}
	for document := range strings.SplitSeq(contents(t, "storageclass.yaml"), "\n---\n") {
		var c storage.StorageClass
		if err := yaml.UnmarshalStrict([]byte(document), &c); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		if c.Kind != "StorageClass" || c.APIVersion != storage.SchemeGroupVersion.String() || c.Provisioner == "" {
			t.Errorf("%s %s %s is no class with a provisioner", c.APIVersion, c.Kind, c.Name)
		}
		if why := validation.IsDNS1123Subdomain(c.Name); len(why) > 0 {
			t.Error(c.Name, why)
		}
		if c.ReclaimPolicy == nil || *c.ReclaimPolicy != core.PersistentVolumeReclaimRetain {
			t.Errorf("%s: the data is deleted with its claim", c.Name)
		}
		if c.VolumeBindingMode == nil || *c.VolumeBindingMode != storage.VolumeBindingWaitForFirstConsumer {
			t.Errorf("%s: the volume may be made where no pod can run", c.Name)
		}
		classes[c.Name] = c
	}
	const proposal = "# storageClassName: "
	text := contents(t, files)
	if strings.Count(text, proposal) != 1 {
		t.Fatalf("the manifest does not say %q once", proposal)
	}
	m := decode(t, strings.Replace(text, proposal, proposal[2:], 1))
	for _, c := range m.set.Spec.VolumeClaimTemplates {
		if c.Spec.StorageClassName == nil || classes[*c.Spec.StorageClassName].Provisioner == "" {
			t.Errorf("the volume %s is of no class of storageclass.yaml", c.Name)
		}
		if !slices.Equal(c.Spec.AccessModes, []core.PersistentVolumeAccessMode{core.ReadWriteOncePod}) {
			t.Errorf("two pods may have the volume %s: %v", c.Name, c.Spec.AccessModes)
		}
	}
	if p := m.set.Spec.PersistentVolumeClaimRetentionPolicy; p != nil {
		t.Errorf("the claims are not kept: %+v", *p)
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestTheConfigurationRuns: agents with it answer every probe, and a command finds each.
func TestTheConfigurationRuns(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "binary")
	build := exec.Command("go", "build", "-o", binary, "./cli/personasync")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run(files, func(t *testing.T) {
		p := start(t, binary, read(t, files), nil)
		p.probe(t)
		p.stop(t)
	})
	t.Run(postgres, func(t *testing.T) {
		m := read(t, postgres)
		database := map[string]string{"store_url": pgtest.NewPair(t).URL()}
		first := start(t, binary, m, database)
		first.probe(t)
		second := start(t, binary, m, database)
		second.probe(t)
		if out, err := second.command("flush").CombinedOutput(); err == nil || !strings.Contains(string(out), "this agent is not the writer") {
			t.Errorf("the second agent is another writer: %v\n%s", err, out)
		}
		first.stop(t)
		for err, out := error(nil), []byte(nil); ; time.Sleep(20 * time.Millisecond) {
			if out, err = second.command("flush").CombinedOutput(); err == nil {
				break
			}
			if second.ctx.Err() != nil {
				t.Fatalf("the second agent does not take over: %v\n%s", err, out)
			}
		}
		second.probe(t)
		second.stop(t)
	})
}

// pod is a running agent with the configuration, the arguments and the environment of a manifest, and the folders of a
// test.
type pod struct {
	ctx     context.Context
	agent   core.Container
	ports   map[string]string // address by name
	command func(args ...string) *exec.Cmd
	run     *exec.Cmd
	ended   chan error
}

// start starts an agent. secrets has files of the secret by name; of others any content will do.
func start(t *testing.T, binary string, m manifest, secrets map[string]string) *pod {
	t.Helper()
	dir := t.TempDir()
	template, _ := m.pods()
	p := &pod{agent: template.Spec.Containers[0], ports: map[string]string{}, ended: make(chan error, 1)}
	config := m.config.Data["agent.toml"]
	for _, v := range p.agent.VolumeMounts {
		here := filepath.Join(dir, v.MountPath)
		if err := os.MkdirAll(here, 0o700); err != nil {
			t.Fatal(err)
		}
		if !v.ReadOnly { // an emptyDir may be written by everybody
			if err := os.Chmod(here, 0o777|os.ModeSetgid); err != nil {
				t.Fatal(err)
			}
		}
		config = strings.ReplaceAll(config, `"`+v.MountPath, `"`+here)
	}
	for _, c := range p.agent.Ports {
		p.ports[c.Name] = free(t)
		was := fmt.Sprintf(`"0.0.0.0:%d"`, c.ContainerPort)
		if !strings.Contains(config, was) {
			t.Errorf("the agent does not listen on port %d", c.ContainerPort)
		}
		config = strings.ReplaceAll(config, was, fmt.Sprintf("%q", p.ports[c.Name]))
	}
	for _, secret := range regexp.MustCompile(`_file += "([^"]+)"`).FindAllStringSubmatch(config, -1) {
		content := cmp.Or(secrets[filepath.Base(secret[1])], "a-secret-that-is-long-enough")
		if err := os.WriteFile(secret[1], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "etc/personasync/agent.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	here := func(s string) string { return strings.Replace(s, "/etc/personasync/", dir+"/etc/personasync/", 1) }
	environ := append(os.Environ(), "RUNTIME_DIRECTORY="+dir+"/run/personasync")
	for _, e := range p.agent.Env {
		environ = append(environ, e.Name+"="+here(e.Value))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	p.ctx = ctx
	p.command = func(args ...string) *exec.Cmd {
		c := exec.CommandContext(ctx, binary, args...)
		c.Env = environ
		return c
	}
	args := []string{}
	for _, a := range p.agent.Args {
		args = append(args, here(a))
	}
	p.run = p.command(args...)
	p.run.Stderr = os.Stderr
	if err := p.run.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.run.Wait() }()
	return p
}

// probe waits until every probe is answered, and has a command ask the agent.
func (p *pod) probe(t *testing.T) {
	t.Helper()
	for name, probe := range map[string]*core.Probe{"startup": p.agent.StartupProbe, "liveness": p.agent.LivenessProbe, "readiness": p.agent.ReadinessProbe} {
		url := "http://" + p.ports[probe.HTTPGet.Port.StrVal] + probe.HTTPGet.Path
		code := 0
		for code != http.StatusOK && p.ctx.Err() == nil {
			code = get(url)
			time.Sleep(20 * time.Millisecond)
		}
		if code != http.StatusOK {
			t.Errorf("the %s probe %s is answered %d", name, url, code)
		}
	}
	for { // a status may be a moment old, and from before the agent was ready
		out, err := p.command("status", "--check").CombinedOutput()
		if err == nil {
			return
		}
		if p.ctx.Err() != nil {
			t.Fatalf("a command in the pod: %v\n%s", err, out)
		}
	}
}

func (p *pod) stop(t *testing.T) {
	t.Helper()
	if err := p.run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-p.ended; err != nil {
		t.Errorf("told to stop, it ends with %v", err)
	}
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func get(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
