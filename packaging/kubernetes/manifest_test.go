// Package kubernetes has the manifest of an agent in Kubernetes. Its test decodes it with Kubernetes' own types, and runs
// an agent on its configuration. It is a module of its own, so that Kubernetes is not a dependency of the product.
package kubernetes

import (
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
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// manifest has the decoded documents of personasync.yaml.
type manifest struct {
	config   core.ConfigMap
	services []core.Service
	set      apps.StatefulSet
}

// read decodes every document strictly: an unknown field is an error, which kubectl would report only on a cluster.
func read(t *testing.T) (m manifest) {
	t.Helper()
	return decode(t, contents(t, "personasync.yaml"))
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

func TestTheManifestRefersToItself(t *testing.T) {
	m := read(t)
	pod := m.set.Spec.Template
	agent := pod.Spec.Containers[0]
	selects := func(selector map[string]string) bool {
		for k, v := range selector {
			if pod.Labels[k] != v {
				return false
			}
		}
		return len(selector) > 0
	}
	if !selects(m.set.Spec.Selector.MatchLabels) {
		t.Error("the StatefulSet does not select its pods")
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
	if !slices.Contains(names, m.set.Spec.ServiceName) {
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
func TestTheManifestAgreesWithTheImageAndTheUnit(t *testing.T) {
	m := read(t)
	if n := m.set.Spec.Replicas; n == nil || *n != 1 {
		t.Error("the data has one writer, so there is one replica")
	}
	pod := m.set.Spec.Template.Spec
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
	text := contents(t, "personasync.yaml")
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

// TestTheConfigurationOfTheManifestRuns: an agent with it answers every probe, and a command finds it.
func TestTheConfigurationOfTheManifestRuns(t *testing.T) {
	m := read(t)
	dir := t.TempDir()
	agent := m.set.Spec.Template.Spec.Containers[0]
	binary := filepath.Join(dir, "binary")
	build := exec.Command("go", "build", "-o", binary, "./cli/personasync")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	config := m.config.Data["agent.toml"]
	for _, v := range agent.VolumeMounts {
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
	ports := map[string]string{}
	for _, p := range agent.Ports {
		ports[p.Name] = free(t)
		was := fmt.Sprintf(`"0.0.0.0:%d"`, p.ContainerPort)
		if !strings.Contains(config, was) {
			t.Errorf("the agent does not listen on port %d", p.ContainerPort)
		}
		config = strings.ReplaceAll(config, was, fmt.Sprintf("%q", ports[p.Name]))
	}
	for _, secret := range regexp.MustCompile(`_file += "([^"]+)"`).FindAllStringSubmatch(config, -1) {
		if err := os.WriteFile(secret[1], []byte("a-secret-that-is-long-enough"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "etc/personasync/agent.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}

	// The arguments and the environment are those of the manifest, with the folders of this test.
	here := func(s string) string { return strings.Replace(s, "/etc/personasync/", dir+"/etc/personasync/", 1) }
	environ := append(os.Environ(), "RUNTIME_DIRECTORY="+dir+"/run/personasync")
	for _, e := range agent.Env {
		environ = append(environ, e.Name+"="+here(e.Value))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := func(args ...string) *exec.Cmd {
		c := exec.CommandContext(ctx, binary, args...)
		c.Env = environ
		return c
	}
	args := []string{}
	for _, a := range agent.Args {
		args = append(args, here(a))
	}
	run := command(args...)
	run.Stderr = os.Stderr
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	for name, probe := range map[string]*core.Probe{"startup": agent.StartupProbe, "liveness": agent.LivenessProbe, "readiness": agent.ReadinessProbe} {
		url := "http://" + ports[probe.HTTPGet.Port.StrVal] + probe.HTTPGet.Path
		code := 0
		for code != http.StatusOK && ctx.Err() == nil {
			code = get(url)
			time.Sleep(20 * time.Millisecond)
		}
		if code != http.StatusOK {
			t.Errorf("the %s probe %s is answered %d", name, url, code)
		}
	}
	if out, err := command("status", "--check").CombinedOutput(); err != nil {
		t.Errorf("a command in the pod: %v\n%s", err, out)
	}
	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
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
