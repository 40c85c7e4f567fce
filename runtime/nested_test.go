package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNested runs a container inside a container of the host's own root, which has all that the test binary needs.
func TestNested(t *testing.T) {
	image := newImage(t, "a/b/c")
	inner, err := json.Marshal(job{
		Request{Image: Image{Path: image}, Args: sh("echo inner; cat /a/b/n; id -u"), Env: []string{"PATH=/bin"}, Binds: []Bind{{Source: "/etc/hostname", Target: "/a/b/n"}}},
		os.Getuid(), os.Getgid(),
	})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name, err := os.ReadFile("/etc/hostname")
	if err != nil {
		t.Skip("needs /etc/hostname: ", err)
	}
	for _, tt := range []struct {
		name, outer, inner string
		request            Request
	}{
		{name: "twice"},
		{name: "pid namespace outside", outer: "own;new=0x20000000;init;", request: Request{Namespaces: Namespaces{PID: true}}},
		{name: "pid namespace inside", inner: "own;new=0x20000000;"},
		{name: "contained outside", request: Request{Contain: true, Binds: []Bind{{Source: filepath.Dir(image)}, {Source: self}}}},
		{name: "root outside", outer: "fakeroot;", request: Request{Namespaces: Namespaces{Fakeroot: true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := tt.request
			req.Image.Path, req.Args = "/", []string{self}
			plan := tt.inner
			if plan == "" {
				plan = "own;"
			}
			job := string(inner)
			uid := os.Getuid()
			if req.Namespaces.Fakeroot { // whoever is root there is root's uid to the next
				job, uid = strings.Replace(job, fmt.Sprintf(`"UID":%d`, uid), `"UID":0`, 1), 0
			}
			req.Env = append(os.Environ(), jobVariable+"="+job, "FLATRUN_ENTER="+plan)
			r := container{Request: req, plan: tt.outer}.run(t)
			if want := fmt.Sprintf("inner\n%s%d\n", name, uid); r.out != want || r.code != 0 {
				t.Errorf("exit code %d, %q, want %q\n%s", r.code, r.out, want, r.err)
			}
		})
	}
}

const holderVariable = "FLATRUN_TEST_HOLDER"

// runHolder is a session in small: in a user namespace of its own, it shares a directory in memory, starts a container
// of it in a mount namespace below, and mounts something more when the container runs.
func runHolder(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share: %w", err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holderVariable+"=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, AmbientCaps: allCapabilities()}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var started string
	if _, err := fmt.Fscan(out, &started); err != nil {
		return fmt.Errorf("the container says nothing: %w", err)
	}
	repository := filepath.Join(dir, "later.example.org")
	if err := os.Mkdir(repository, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", repository, "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(repository, "file"), []byte("later\n"), 0o644); err != nil {
		return err
	}
	fmt.Fprintln(in, "mounted")
	var seen string
	if _, err := fmt.Fscan(out, &seen); err != nil {
		return err
	}
	fmt.Println(started, seen)
	return cmd.Wait()
}

func allCapabilities() (all []uintptr) {
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		all = append(all, c)
	}
	return all
}

// TestLaterMounts sees a repository that a session mounts while a container runs.
func TestLaterMounts(t *testing.T) {
	dir := t.TempDir()
	c := container{
		Request: Request{Image: Image{Path: newImage(t)}, CVMFS: []string{dir}, Args: sh("echo started; read x; cat /cvmfs/later.example.org/file")},
		env:     []string{holderVariable + "=" + dir},
	}
	if r := c.run(t); r.code != 0 || r.out != "started later\n" {
		t.Errorf("%+v", r)
	}
}
