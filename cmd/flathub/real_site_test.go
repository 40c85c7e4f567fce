package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sys/unix"
)

// realPatience is how long something may take on a loaded machine before it counts as never.
const realPatience = 90 * time.Second

const realFQRN = "real.example.org"

// site is an operator's machine and a user's: the built programs, a registry, a repository that is served.
type site struct {
	dir      string // everything of the test
	bin      string
	env      []string
	registry string // host:port of docker-registry, open to all
	private  string // of a second one over the same files, which wants a password
	port     string // flathub serve's
}

// newSite starts everything, or skips where a tool lacks.
func newSite(t *testing.T) *site {
	t.Helper()
	for _, tool := range []string{"docker-registry", "skopeo", "umoci"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%v: install it with scripts/setup", err)
		}
	}
	if os.Geteuid() == 0 {
		t.Skip("root unpacks otherwise than an ordinary user: run the tests as one")
	}
	s := &site{dir: t.TempDir()}
	s.bin = filepath.Join(s.dir, "bin")
	s.build(t)
	for _, d := range []string{"run", "home"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.environment()
	s.registry = s.startRegistry(t, "")
	s.private = s.startRegistry(t, "user:"+secretHash(t))
	s.flathub(t, "init", realFQRN, "--storage", s.storage())
	s.serve(t)
	s.configure(t)
	t.Cleanup(func() { s.endSessions(t) })
	return s
}

const secret = "open sesame"

func secretHash(t *testing.T) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func (s *site) storage() string { return filepath.Join(s.dir, "srv", "cvmfs", realFQRN) }

func (s *site) build(t *testing.T) {
	t.Helper()
	const module = "github.com/flatrun/flatrun/cmd/"
	cmd := exec.Command("go", "build", "-o", s.bin+"/", module+"flathub", module+"flatrun", module+"flatrun-session")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// environment is the caller's without what would lead programs to the caller's own sessions, settings and batch job.
func (s *site) environment() {
	foreign := regexp.MustCompile(`^(FLATRUN|FLATHUB|APPTAINER|SINGULARITY|SLURM|PBS|LSB|FLUX|OMPI|PMI|_CONDOR|DOCKER|REGISTRY)`)
	s.env = slices.DeleteFunc(os.Environ(), foreign.MatchString)
	s.env = append(s.env, "PATH="+s.bin+":"+os.Getenv("PATH"), "HOME="+filepath.Join(s.dir, "home"), "XDG_RUNTIME_DIR="+filepath.Join(s.dir, "run"),
		"FLATHUB_CONFIG="+filepath.Join(s.dir, "hub"), "FLATRUN_CONFIG="+filepath.Join(s.dir, "flatrun.yaml"), "DOCKER_CONFIG="+filepath.Join(s.dir, "docker"))
}

func (s *site) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = s.env
	cmd.Dir = s.dir
	cmd.WaitDelay = realPatience
	return cmd
}

// run runs a program that has to succeed and gives its standard output.
func (s *site) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := s.command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

// fails runs a program that has to fail and gives its exit code and what it printed.
func (s *site) fails(t *testing.T, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := s.command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err == nil {
		t.Fatalf("%s %s went well\n%s%s", name, strings.Join(args, " "), &out, &errs)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func (s *site) flathub(t *testing.T, args ...string) string {
	t.Helper()
	return s.run(t, filepath.Join(s.bin, "flathub"), args...)
}

func (s *site) flatrun(t *testing.T, args ...string) string {
	t.Helper()
	return s.run(t, filepath.Join(s.bin, "flatrun"), args...)
}

// revision is the repository's head.
func (s *site) revision(t *testing.T) int {
	t.Helper()
	var info struct{ Revision int }
	if err := json.Unmarshal([]byte(s.flathub(t, "info", realFQRN, "--json")), &info); err != nil {
		t.Fatal(err)
	}
	return info.Revision
}

// convert runs flathub convert --json.
func (s *site) convert(t *testing.T, args ...string) converted {
	t.Helper()
	var c converted
	out := s.flathub(t, append([]string{"convert", realFQRN, "--json", "--quiet"}, args...)...)
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return c
}

// converted is what flathub convert --json prints.
type converted struct {
	Revision int
	Images   []struct {
		Image, Platform, ID, Path string
		NewLayers                 int `json:"new_layers"`
		Unchanged                 bool
	}
}

// daemon starts a program that ends with the test; it answers the first match of ready in what it prints.
func (s *site) daemon(t *testing.T, ready *regexp.Regexp, name string, args ...string) string {
	t.Helper()
	cmd := s.command(name, args...)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = cmd.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	var log strings.Builder
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if !strings.Contains(lines.Text(), "response completed") {
				fmt.Fprintln(&log, lines.Text())
			}
			if m := ready.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case found <- m[1]:
				default:
				}
			}
		}
		io.Copy(io.Discard, out)
		close(found)
	})
	t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM)
		time.AfterFunc(realPatience, func() { cmd.Process.Kill() })
		reading.Wait()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, &log)
		}
	})
	select {
	case answer, ok := <-found:
		if !ok {
			t.Fatalf("%s ended: %s", name, &log)
		}
		return answer
	case <-time.After(realPatience):
		t.Fatalf("%s does not start", name)
	}
	return ""
}

// startRegistry starts docker-registry on a free port; a line of htpasswd closes it to others.
func (s *site) startRegistry(t *testing.T, htpasswd string) string {
	t.Helper()
	config := fmt.Sprintf("version: 0.1\nlog: {level: info, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: \"127.0.0.1:0\", secret: x}\n", filepath.Join(s.dir, "registry"))
	name := filepath.Join(s.dir, "open.yml")
	if htpasswd != "" {
		name = filepath.Join(s.dir, "private.yml")
		users := filepath.Join(s.dir, "htpasswd")
		s.write(t, users, htpasswd+"\n")
		config += fmt.Sprintf("auth: {htpasswd: {realm: basic, path: %q}}\n", users)
	}
	s.write(t, name, config)
	return s.daemon(t, regexp.MustCompile(`listening on ([0-9.]+:[0-9]+)`), "docker-registry", "serve", name)
}

func (s *site) serve(t *testing.T) {
	t.Helper()
	url := s.daemon(t, regexp.MustCompile(`serving on http://[0-9.]+:([0-9]+)`), filepath.Join(s.bin, "flathub"), "serve", "--listen", "127.0.0.1:0")
	s.port = url
}

// configure writes flatrun's configuration.
func (s *site) configure(t *testing.T) {
	t.Helper()
	s.write(t, filepath.Join(s.dir, "flatrun.yaml"), fmt.Sprintf(`native: false
cvmfs_dir: %s/nothing
cache: {dir: %s/cache, limit: 2GB}
session: {idle: 60s}
images: {search: [%s]}
repositories:
  %s:
    servers: ["http://127.0.0.1:%s/cvmfs/@fqrn@"]
    public_keys: ["%s/hub/keys/%s.pub"]
    proxies: DIRECT
`, s.dir, s.dir, realFQRN, realFQRN, s.port, s.dir, realFQRN))
}

func (s *site) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// mount shows the repository's head on a directory and gives it back with the test.
func (s *site) mount(t *testing.T) string {
	t.Helper()
	needMount(t)
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.flatrun(t, "mount", realFQRN, dir)
	t.Cleanup(func() {
		if out, err := s.command(filepath.Join(s.bin, "flatrun"), "umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
			exec.Command("fusermount3", "-uz", dir).Run()
		}
	})
	return dir
}

// needMount skips where users cannot mount.
func needMount(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	f.Close()
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command("unshare", "-Urm", "true").CombinedOutput(); err != nil {
		t.Skipf("no user namespaces: %v %s", err, out)
	}
}

// endSessions ends what flatrun exec left behind for the next call, and waits until it is gone.
func (s *site) endSessions(t *testing.T) {
	for end := time.Now().Add(realPatience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		s.command(filepath.Join(s.bin, "flatrun"), "umount", "--all", "--force").Run()
		if !s.served() {
			return
		}
	}
	t.Error("a session does not end")
}

// served tells whether a process still runs a program of the test's from its directory.
func (s *site) served() bool {
	procs, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, p := range procs {
		exe, err := os.Readlink(p)
		if err == nil && strings.HasPrefix(exe, s.bin+"/flatrun") {
			return true
		}
	}
	return false
}
