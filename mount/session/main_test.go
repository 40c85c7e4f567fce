package session_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/repotest"
)

// patience is how long something may take on a loaded machine before it counts as never.
const patience = 60 * time.Second

// The test binary plays flatrun in the processes that join a session.
func TestMain(m *testing.M) {
	if role := os.Getenv("SESSION_TEST_ROLE"); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(99)
		}
		return
	}
	code := m.Run()
	os.RemoveAll(built.dir)
	os.Exit(code)
}

// found is what a joined process reports.
type found struct {
	enter.Resolved
	Session int // process that serves
	Kind    enter.Kind
	Content string
	Names   []string
}

// play joins the session, as flatrun exec IMAGE … does, and then either reports, or becomes a shell.
func play(role string) error {
	image, rest := os.Args[2], os.Args[3:]
	plan := enter.Plan{Join: true}
	if role == "pid" {
		plan.New, plan.Init = enter.PID, true
	}
	state, err := enter.Ensure(context.Background(), plan, enter.StartOptions{Program: os.Getenv("SESSION_TEST_PROGRAM")})
	if err != nil {
		return err
	}
	if role == "renew" { // as if the tree had been copied before anything was mounted
		if err := unix.Unmount(state.Session.Dir+"/cvmfs", unix.MNT_DETACH); err != nil {
			return err
		}
		role = "report"
	}
	state.Session.Follow = role == "follow"
	r, err := state.Session.Resolve(image)
	if err != nil {
		return err
	}
	if role != "report" {
		os.Unsetenv("SESSION_TEST_ROLE")
		if err := unix.Mount(r.Path, r.Path, "", unix.MS_BIND, ""); err != nil { // as a container has its root
			return err
		}
		return unix.Exec("/bin/sh", []string{"sh", "-c", rest[0]}, append(os.Environ(), "IMAGE="+r.Path, "ROOTS="+state.Session.Dir+"/cvmfs"))
	}
	f := found{Resolved: r, Kind: state.Kind}
	status, err := state.Session.Status()
	if err != nil {
		return err
	}
	f.Session = status.PID
	for _, name := range rest {
		b, err := os.ReadFile(filepath.Join(r.Path, name))
		if err != nil {
			return err
		}
		f.Content += string(b)
	}
	entries, err := os.ReadDir(r.Path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		f.Names = append(f.Names, e.Name())
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

// built is flatrun-session, built once.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func program(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "flatrun-session"); built.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", built.dir, "github.com/flatrun/flatrun/cmd/flatrun-session").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "flatrun-session")
}

// world is one user's machine: a runtime directory, a configuration, a cache.
type world struct {
	t      *testing.T
	dir    string // of the configured session
	config string
	cache  string
}

// newWorld configures the repositories, each as YAML lines below its name, and ends the session with the test.
func newWorld(t *testing.T, repositories map[string]string, more string) *world {
	t.Helper()
	for _, name := range []string{"SLURM_JOB_ID", "_CONDOR_SLOT", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"} {
		t.Setenv(name, "")
	}
	for _, o := range config.Overrides() {
		t.Setenv(o.Name, "")
	}
	run := t.TempDir()
	if err := os.Chmod(run, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", run)
	w := &world{t: t, config: filepath.Join(t.TempDir(), "config.yaml"), cache: t.TempDir()}
	var text strings.Builder
	fmt.Fprintf(&text, "native: false\ncvmfs_dir: %s\ncache: {dir: %s}\n%s\nrepositories:\n", t.TempDir(), w.cache, more)
	for name, lines := range repositories {
		fmt.Fprintf(&text, "  %s:\n    proxies: DIRECT\n    %s\n", name, strings.ReplaceAll(lines, "\n", "\n    "))
	}
	if err := os.WriteFile(w.config, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FLATRUN_CONFIG", w.config)
	var err error
	if w.dir, err = enter.SessionDir(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.end)
	return w
}

func repository(url, key string) string {
	return fmt.Sprintf("servers: [%q]\npublic_keys: [%q]", url, key)
}

// start starts the session, and skips where the host cannot have one.
func (w *world) start() {
	w.t.Helper()
	needFUSE(w.t)
	if err := enter.Start(w.t.Context(), enter.StartOptions{Program: program(w.t)}); err != nil {
		w.t.Fatal(err)
	}
}

func needFUSE(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	f.Close()
	if out, err := exec.Command("unshare", "-U", "true").CombinedOutput(); err != nil {
		t.Skipf("no user namespaces: %v %s", err, out)
	}
}

// mount is the only repository that the session has mounted.
func (w *world) mount() enter.MountStatus {
	w.t.Helper()
	status, ok := w.status()
	if !ok || len(status.Mounts) != 1 {
		w.t.Fatalf("status is %+v", status)
	}
	return status.Mounts[0]
}

// end makes the session go and waits until it has.
func (w *world) end() {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		s, err := enter.Dial(w.dir)
		if err != nil {
			return
		}
		status, err := s.Status()
		s.Quit(true)
		s.Close()
		if err == nil {
			waitGone(w.t, status.PID)
		}
	}
	w.t.Error("the session does not end")
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("process %d is gone", pid), func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(b), ") Z ")
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("it does not come about that %s", what)
}

// client is a call of flatrun exec IMAGE REST in the given role.
func (w *world) client(role, image string, rest ...string) *exec.Cmd {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"exec", image}, rest...)...)
	cmd.Env = append(os.Environ(), "SESSION_TEST_ROLE="+role, "SESSION_TEST_PROGRAM="+program(w.t), "GORACE=atexit_sleep_ms=0")
	return cmd
}

// find runs a client that reports.
func (w *world) find(image string, files ...string) (found, error) {
	return w.findAs("report", image, files...)
}

func (w *world) findAs(role, image string, files ...string) (found, error) {
	out, err := w.client(role, image, files...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return found{}, errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return found{}, err
	}
	var f found
	if err := json.Unmarshal(out, &f); err != nil {
		return f, fmt.Errorf("%w in %q", err, out)
	}
	return f, nil
}

func (w *world) mustFind(image string, files ...string) found {
	w.t.Helper()
	f, err := w.find(image, files...)
	if err != nil {
		w.t.Fatalf("%s: %v", image, err)
	}
	return f
}

// imageTree is a repository with one image in the unpacked layout.
func imageTree() []repotest.File {
	return []repotest.File{
		{Path: "/.flat/" + flatID[:2] + "/" + flatID + "/etc/motd", Content: "hello\n"},
		{Path: "/.flat/" + flatID[:2] + "/" + flatID + "/big", Content: strings.Repeat("0123456789abcdef", 1<<14), Chunk: 1 << 16},
		{Path: "/registry.example.org/library/tool:1.0", Kind: repotest.Link, Content: "../../.flat/" + flatID[:2] + "/" + flatID},
		{Path: podmanFile(flatID), Content: imageConfig},
		{Path: "/.flat/" + scriptedID[:2] + "/" + scriptedID + "/.singularity.d/runscript", Content: "#!/bin/sh"},
		{Path: podmanFile(scriptedID), Content: scriptedConfig},
		{Path: "/.flat/" + forgedID[:2] + "/" + forgedID + "/file"},
		{Path: podmanFile(forgedID), Content: imageConfig},
		{Path: "/registry.hub.docker.com/library/debian:12", Kind: repotest.Link, Content: "../../plain"},
		{Path: "/plain/bin/sh", Content: "#!", Perm: 0o755},
		{Path: "/link", Kind: repotest.Link, Content: "registry.example.org/library"},
		{Path: "/loop", Kind: repotest.Link, Content: "loop"},
		{Path: "/outside", Kind: repotest.Link, Content: "/etc"},
		{Path: "/away", Kind: repotest.Link, Content: "/cvmfs/other.example.org/there"},
	}
}

// An image's id is the digest of its configuration; that of the forged image is not.
const (
	imageConfig    = `{"config":{"Cmd":["/bin/sh"]}}`
	scriptedConfig = `{"config":{"Cmd":["/bin/false"]}}`
)

var flatID, scriptedID, forgedID = id(imageConfig), id(scriptedConfig), id("forged")

func id(config string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(config))) }

// podmanFile is where an image's configuration is kept.
func podmanFile(id string) string {
	return "/podmanStore/overlay-images/" + id + "/=" + base64.StdEncoding.EncodeToString([]byte("sha256:"+id))
}

// serve builds the image repository and serves it.
func serve(t *testing.T) (*repotest.Repo, *repotest.Server, map[string]string) {
	t.Helper()
	r := repotest.Build(t, repotest.Spec{FQRN: "test.example.org", Tree: imageTree()})
	s := repotest.Serve(t, r.Dir)
	return r, s, map[string]string{r.FQRN: repository(s.URL, r.KeyPath)}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
