package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/probe"
	"github.com/flatrun/flatrun/mount/repotest"
)

// following is a user's machine with a repository that gets new revisions.
type following struct {
	*rig
	t      *testing.T
	image  string // its path below /cvmfs
	states string // state directory of the OCI runtime
}

const followFQRN = "follow.example.org"

// versions is the repository at revision n: the number stands in the image and beside it.
func versions(busybox []byte, n int) []repotest.File {
	text := fmt.Sprintf("%d\n", n)
	return append(rootTree("/image", busybox, map[string]string{"version": text, "late/version": text, "data/": ""}),
		repotest.File{Path: "/data/version", Content: text}, repotest.File{Path: "/data/late", Content: text})
}

func (f *following) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(f.bin, "flatrun"), args...)
	cmd.Env, cmd.Dir = f.environ(nil), f.home
	return cmd
}

// flatrun answers what a command that must succeed prints, its lines with blanks between.
func (f *following) flatrun(args ...string) string {
	f.t.Helper()
	cmd := f.command(args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatalf("flatrun %s: %v\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

// shows checks that all that an image or instance shows is of one revision.
func (f *following) shows(image string, n int, files ...string) {
	f.t.Helper()
	want := strings.TrimSpace(strings.Repeat(fmt.Sprintf("%d ", n), len(files)))
	if got := f.flatrun(append([]string{"exec", image, "cat"}, files...)...); got != want {
		f.t.Errorf("%s of %s read %q, want %q", files, image, got, want)
	}
}

// server is the process of the session that serves now.
func (f *following) server() (pid int) {
	f.t.Helper()
	var list []enter.Status
	if err := json.Unmarshal([]byte(f.flatrun("status", "--json")), &list); err != nil {
		f.t.Fatal(err)
	}
	for _, s := range list {
		if !s.Host {
			pid = s.PID
		}
	}
	return pid
}

func (f *following) eventually(what string, ok func() bool) {
	f.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("it does not come about that %s", what)
		}
	}
}

// TestFollow starts containers of all kinds, publishes a revision, and kills the server: those that were there keep what they
// began with, also what they had not looked at, the others see what is new.
func TestFollow(t *testing.T) {
	if err := probe.FUSE(); err != nil {
		t.Skip(err)
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skip("install fuse3:", err)
	}
	busybox, err := os.ReadFile(staticBusybox(t))
	if err != nil {
		t.Fatal(err)
	}
	repo := repotest.Build(t, repotest.Spec{FQRN: followFQRN, Tree: versions(busybox, 1)})
	f := &following{&rig{bin: buildPrograms(t), home: t.TempDir(), runtime: t.TempDir()}, t, "/cvmfs/" + followFQRN + "/image", t.TempDir()}
	if err := os.Chmod(f.runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	f.config = filepath.Join(t.TempDir(), "config.yaml")
	write(t, f.config, fmt.Sprintf("repositories:\n  %s:\n    servers: [%q]\n    public_keys: [%q]\n    proxies: DIRECT\ncache: {dir: %q}\n",
		followFQRN, repotest.Serve(t, repo.Dir).URL, repo.KeyPath, filepath.Join(t.TempDir(), "cache")))
	if out, err := f.command("exec", f.image, "true").CombinedOutput(); err != nil {
		if strings.Contains(string(out), "namespace") {
			t.Skipf("%s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		f.command("instance", "stop", "--all").Run()
		f.command("oci", "--root", f.states, "delete", "--force", "bundle").Run()
		f.flatrun("umount", "--all", "--force")
		f.eventually("nothing is left", func() bool {
			left, err := os.ReadDir(filepath.Join(f.runtime, "flatrun"))
			return os.IsNotExist(err) || err == nil && len(left) == 0
		})
	})
	dir := t.TempDir()
	f.flatrun("mount", followFQRN, dir)
	f.flatrun("instance", "start", "--bind", "/cvmfs/"+followFQRN+"/data:/data", f.image, "plain")
	f.flatrun("instance", "start", "--writable-tmpfs", f.image, "overlaid")
	f.flatrun("instance", "start", "--writable-tmpfs", "--no-mount", "cvmfs", f.image, "opaque")
	f.flatrun("instance", "start", "--follow", f.image, "follows")
	f.startBundle("bundle")
	f.shows("instance://plain", 1, "/version")

	repo.Publish(t, repotest.Rev{Tree: versions(busybox, 2)})
	if got, want := f.flatrun("refresh", followFQRN), followFQRN+": revision 2, was 1, at "; strings.Count(got, want) != 2 {
		t.Errorf("refresh says %q, want %q twice", got, want)
	}
	if got := f.flatrun("refresh", dir); got != followFQRN+": revision 2 as before, at "+dir {
		t.Errorf("another refresh says %q", got)
	}
	if out, err := f.command("refresh", "other.example.org").CombinedOutput(); err == nil || !strings.Contains(string(out), "shows other.example.org") {
		t.Errorf("a refresh of what is not there: %v, %s", err, out)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "data/late")); err != nil || string(got) != "2\n" {
		t.Errorf("the mount of the host reads %q, %v", got, err)
	}
	beside := []string{"/cvmfs/" + followFQRN + "/data/version", "/cvmfs/" + followFQRN + "/image/late/version"}
	check := func(more string) {
		t.Helper()
		f.shows("instance://plain", 1, append(beside, "/version", "/late/version", "/data/version", "/data/late", more)...)
		f.shows("instance://overlaid", 1, append(beside, "/version", "/late/version", more)...)
		f.shows("instance://opaque", 1, "/version", "/late/version")
		// Not /version: that directory lacks mount points, so the container's has each of its names bound.
		f.shows("instance://follows", 2, append(beside, "/late/version", more)...)
		if got := f.flatrun("oci", "--root", f.states, "exec", "bundle", "cat", "/version", "/late/version", "/data/version", "/data/late"); got != "1 1 1 1" {
			t.Errorf("the bundle reads %q", got)
		}
		f.shows(f.image, 2, append(beside, "/version", "/late/version", more)...)
	}
	check(beside[0])
	if got := f.flatrun("status"); !strings.Contains(got, "kept revision 1 by 3 containers") {
		t.Errorf("status is %s", got)
	}
	f.kill()
	check("/cvmfs/" + followFQRN + "/data/late")
	if out, err := f.command("oci", "--rootless=true", "--root="+f.states, "run", "later", "-b", f.bundle("cat", "/version")).Output(); err != nil || string(out) != "2\n" {
		t.Errorf("a bundle that is run later reads %q, %v", out, err)
	}
	f.flatrun("oci", "--root", f.states, "delete", "--force", "bundle")
}

// bundle makes one whose root and a bind lie in the repository, as batch systems do, which do not know whether it is mounted.
func (f *following) bundle(args ...string) string {
	f.t.Helper()
	dir := f.t.TempDir()
	f.flatrun("oci", "spec", "--rootless", "-b", dir)
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		f.t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		f.t.Fatal(err)
	}
	spec.Root.Path, spec.Process.Terminal, spec.Process.Args = f.image, false, args
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/data", Type: "bind", Source: "/cvmfs/" + followFQRN + "/data", Options: []string{"rbind", "ro"}})
	if text, err = json.Marshal(spec); err != nil {
		f.t.Fatal(err)
	}
	write(f.t, filepath.Join(dir, "config.json"), string(text))
	return dir
}

// startBundle has the OCI runtime, which it builds first, start a container that waits.
func (f *following) startBundle(id string) {
	f.t.Helper()
	if out, err := exec.Command("go", "build", "-o", f.bin, "../flatrun-oci").CombinedOutput(); err != nil {
		f.t.Fatalf("build: %v\n%s", err, out)
	}
	for _, args := range [][]string{{"create", id, "-b", f.bundle("sleep", "1000")}, {"start", id}} {
		if err := f.command(append([]string{"oci", "--root", f.states}, args...)...).Run(); err != nil {
			f.t.Fatalf("flatrun oci %s: %v", args[0], err)
		}
	}
}

// kill ends a session's server by force and waits for the next one, where the kernel lets it go on.
func (f *following) kill() {
	f.t.Helper()
	var u unix.Utsname
	var major, minor int
	if unix.Uname(&u) != nil {
		return
	}
	fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	if major < 6 || major == 6 && minor < 9 {
		f.t.Log("this kernel does not send requests again")
		return
	}
	pid := f.server()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		f.t.Fatal(err)
	}
	f.eventually("another server answers", func() bool { now := f.server(); return now != 0 && now != pid })
}
