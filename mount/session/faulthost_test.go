package session_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/repotest"
)

// insideNet marks the test process that has a network of its own, and tells where the programs are that it need not build.
const insideNet = "SESSION_TEST_NET"

// TestFaultsOfHost are faults of the host that can be had only in namespaces of the test's own: name servers that refuse or say
// nothing, with a server that closes every connection, so that the client needs the name each time, and a cache whose disk is
// full. None of them may show.
func TestFaultsOfHost(t *testing.T) {
	needFUSE(t)
	busybox := busyboxImage(t)
	if os.Getenv(insideNet) == "" {
		inOwnNetwork(t)
		return
	}
	const name = "stratum.example.org"
	useBuilt(t, os.Getenv(insideNet))
	ownNetwork(t)
	dns := repotest.ServeDNS(t, "127.0.0.1:53", name, [4]byte{127, 0, 0, 1})
	cases := []faultCase{
		{"names-refused", func(*site, string) { dns.Fail(false) }, func(*site, string) { dns.Heal() }},
		{"names-silent", func(*site, string) { dns.Fail(true) }, func(*site, string) { dns.Heal() }},
		{"disk-full", fillCache, roomInCache},
	}
	var names []string
	for _, c := range cases {
		names = append(names, c.name)
	}
	repo := repotest.Build(t, repotest.Spec{Tree: append(faultTree(names), busybox...)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: repotest.Serve(t, repo.Dir)}
	server.SetKeepAlivesEnabled(false)
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	var table []outcome
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			url := fmt.Sprintf("http://%s:%d", name, l.Addr().(*net.TCPAddr).Port)
			s := &site{t: t, repo: repo}
			s.world = newWorld(t, map[string]string{repo.FQRN: repository(url, repo.KeyPath)}, "") // with the patience of users: no error may be seen
			if err := unix.Mount("none", s.world.cache, "tmpfs", 0, "size=64m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Unmount(s.world.cache, unix.MNT_DETACH) })
			o := suffer(t, container(t, repo.FQRN), c.name, func() { c.begin(s, c.name) }, func() { c.end(s, c.name) })
			if len(o.errors) > 0 {
				t.Errorf("the container saw %v", o.errors)
			}
			table = append(table, o)
		})
	}
	printOutcomes(t, table)
}

const filler = "filler"

// fillCache leaves no room on the disk of the cache.
func fillCache(s *site, _ string) {
	f, err := os.Create(filepath.Join(s.world.cache, filler))
	if err != nil {
		s.t.Error(err)
		return
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			s.t.Error(err)
		}
	}
}

func roomInCache(s *site, _ string) {
	if err := os.Remove(filepath.Join(s.world.cache, filler)); err != nil {
		s.t.Error(err)
	}
}

// inOwnNetwork runs this test again in new user, mount and network namespaces.
func inOwnNetwork(t *testing.T) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideNet+"="+filepath.Dir(flatrun(t)), "GODEBUG=netdns=go")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE}, // else lost at the exec, as the uid is not 0
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	switch {
	case cmd.ProcessState == nil:
		t.Skip("no namespaces here:", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skip(string(out))
	default:
		t.Logf("%s", out)
	}
}

// useBuilt takes the programs that another test process built.
func useBuilt(t *testing.T, dir string) {
	t.Helper()
	built.once.Do(func() { built.dir, built.err = os.MkdirTemp("", "flatrun-session") })
	frontend.once.Do(func() {})
	for _, name := range []string{"flatrun", "flatrun-session"} {
		if err := os.Symlink(filepath.Join(dir, name), filepath.Join(built.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// ownNetwork brings up the loopback interface and makes its port 53 the name server.
func ownNetwork(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(file, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
		t.Skipf("no /etc/resolv.conf to put another one over: %v", err)
	}
	t.Cleanup(func() { unix.Unmount("/etc/resolv.conf", unix.MNT_DETACH) })
}
