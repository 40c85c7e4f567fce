package runtime

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "write the specifications in testdata anew")

func rlimit(kind string, n uint64) specs.POSIXRlimit {
	return specs.POSIXRlimit{Type: kind, Soft: n, Hard: n}
}

var (
	ann = Host{
		UID: 1001, GID: 100, User: Account{Name: "ann", Gecos: "Ann", Shell: "/bin/zsh"}, Group: "users",
		Home: "/home/ann", Cwd: "/data/run", TTY: "/dev/pts/3",
	}
	flat = Image{Path: "/cvmfs/example.org/.flat/ab/abc", Name: "python:3"}
)

func TestSpec(t *testing.T) {
	for _, tt := range []struct {
		name string
		req  Request
		host Host
	}{
		{"default", Request{}, ann},
		{"contain", Request{Contain: true}, ann},
		{"condor", Request{Contain: true, Workdir: "/execute/dir_1", Scratch: []string{"/scratch"}, Cwd: "/srv", Home: Home{Source: "/execute/dir_1", Target: "/srv"},
			Binds: []Bind{{Source: "/execute/dir_1", Target: "/srv", Origin: "--bind"}}, Namespaces: Namespaces{PID: true, IPC: true}}, ann},
		{"fakeroot", Request{Namespaces: Namespaces{Fakeroot: true, UTS: true}, Hostname: "box", WritableTmpfs: true, TmpfsSize: 1 << 26}, ann},
		{"overlays", Request{Overlays: []Overlay{{Path: "/w"}, {Path: "/a", ReadOnly: true}, {Path: "/b", ReadOnly: true}}}, ann},
		{"writable", Request{Writable: true, NoMount: []string{"home", "tmp", "cwd", "bind-paths", "/etc/resolv.conf"}}, ann},
		{"cvmfs", Request{CVMFS: []string{"/run/session/cvmfs", "/cvmfs"}, Binds: []Bind{
			{Source: "/cvmfs", Origin: "--bind"}, {Source: "/cvmfs/grid.cern.ch/etc/grid-security", Target: "/etc/grid-security", ReadOnly: true, Optional: true, Origin: "--bind"}},
			Sites: []Bind{{Source: "/eos", Optional: true, Weak: true, Origin: "/etc/flatrun/config.yaml:3"}}}, ann},
		{"revision", Request{CVMFS: []string{"/run/session/cvmfs", "/cvmfs"}, Repositories: []Repository{{"example.org", "/run/session/cvmfs/example.org/.flatrun@abc"}},
			NoMount: []string{"dev", "sys", "proc", "tmp", "home", "cwd"}, Binds: []Bind{
				{Source: "/cvmfs", Target: "/mnt", Origin: "--bind"}, {Source: "/cvmfs/example.org/data", Target: "/data", Origin: "--bind"},
				{Source: "/cvmfs/other.example.org", Target: "/other", Origin: "--bind"}}}, ann},
		{"net", Request{Namespaces: Namespaces{Net: true, Cgroup: true}, Files: []File{{"/etc/resolv.conf", "nameserver 192.0.2.1\n"}}, Umask: ptr(uint32(0o22)), Rlimits: []specs.POSIXRlimit{rlimit("RLIMIT_CORE", 0)}}, ann},
		{"nobody", Request{Seccomp: Seccomp{Off: true}, Privileges: Privileges{Keep: true, AllowSetuid: true}}, Host{UID: 4711, GID: 4712, Home: "/", Cwd: "/usr"}},
		{"lost", Request{NoMount: []string{"dev", "tmp", "bind-paths"}}, Host{UID: 1001, GID: 100, Home: "/home/ann"}}, // without a working directory
		{"no-mount", Request{NoMount: []string{"proc", "sys", "dev", "cvmfs", "/tmp", "/etc/hosts", "passwd", "group"}, CVMFS: []string{"/cvmfs"}}, ann},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.req.Image, tt.req.Args, tt.req.Env = flat, []string{"python3", "-c", "1"}, []string{"PATH=/usr/bin:/bin"}
			spec, err := Spec(tt.req, tt.host)
			if err != nil {
				t.Fatal(err)
			}
			if how, reason := Choose(spec); how != InProcess {
				t.Errorf("cannot be started in the process: %s", reason)
			}
			if spec.Linux.Seccomp != nil {
				spec.Linux.Seccomp.Syscalls = nil // tested where it is made
			}
			got, err := json.MarshalIndent(spec, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", tt.name+".json"), append(got, '\n'))
		})
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs; see what -update makes of it. Got\n%s", file, got)
	}
}

func TestSpecErrors(t *testing.T) {
	for _, tt := range []struct {
		want string
		req  Request
	}{
		{"no command", Request{Image: flat}},
		{"not an absolute path", Request{Image: Image{Path: "x"}, Args: []string{"a"}}},
		{"bind a:/b (--bind): paths must be absolute", Request{Image: flat, Args: []string{"a"}, Binds: []Bind{{Source: "a", Target: "/b", Origin: "--bind"}}}},
		{"bind /a:b (): paths must be absolute", Request{Image: flat, Args: []string{"a"}, Sites: []Bind{{Source: "/a", Target: "b"}}}},
		{`scratch directory "s"`, Request{Image: flat, Args: []string{"a"}, Scratch: []string{"s"}}},
		{`overlay "o"`, Request{Image: flat, Args: []string{"a"}, Overlays: []Overlay{{Path: "o"}}}},
		{"only one overlay can be writable", Request{Image: flat, Args: []string{"a"}, Overlays: []Overlay{{Path: "/o"}, {Path: "/p"}}}},
		{"exclude each other", Request{Image: flat, Args: []string{"a"}, Overlays: []Overlay{{Path: "/o"}}, WritableTmpfs: true}},
		{"--writable writes into the image itself", Request{Image: flat, Args: []string{"a"}, Writable: true, WritableTmpfs: true}},
		{"add --uts", Request{Image: flat, Args: []string{"a"}, Hostname: "x"}},
	} {
		if _, err := Spec(tt.req, ann); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("want %q, got %v", tt.want, err)
		}
	}
}

func TestChoose(t *testing.T) {
	process := &specs.Process{Args: []string{"x"}}
	for _, tt := range []struct {
		want string
		spec specs.Spec
	}{
		{"", specs.Spec{Process: process}},
		{"", specs.Spec{Process: process, Linux: &specs.Linux{}}},
		{"no process", specs.Spec{}},
		{"pseudo-terminal", specs.Spec{Process: &specs.Process{Args: []string{"x"}, Terminal: true}}},
		{"hooks", specs.Spec{Process: process, Hooks: &specs.Hooks{}}},
		{"mapped ids", specs.Spec{Process: process, Mounts: []specs.Mount{{UIDMappings: []specs.LinuxIDMapping{{}}}}}},
		{"control group", specs.Spec{Process: process, Linux: &specs.Linux{Resources: &specs.LinuxResources{}}}},
		{"listener", specs.Spec{Process: process, Linux: &specs.Linux{Seccomp: &specs.LinuxSeccomp{ListenerPath: "/x"}}}},
		{"hides parts", specs.Spec{Process: process, Linux: &specs.Linux{MaskedPaths: []string{"/proc/kcore"}}}},
	} {
		how, reason := Choose(&tt.spec)
		if (how == InProcess) != (tt.want == "") || !strings.Contains(reason, tt.want) {
			t.Errorf("want %q, got %v %q", tt.want, how, reason)
		}
		if how == Bundle {
			if err := Start(&tt.spec, Extras{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Start: %v", err)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []string{"x-nonsense", "mode=9", "x-make=abc"} {
		if _, err := vfsMount(specs.Mount{Destination: "/a", Type: "tmpfs", Options: []string{o}}); err == nil || !strings.Contains(err.Error(), "mount /a: option "+o) {
			t.Errorf("%s: %v", o, err)
		}
	}
	for _, o := range []string{"size=x", "x-nonsense"} {
		spec := &specs.Spec{Root: &specs.Root{Path: "/i"}, Mounts: []specs.Mount{{Destination: "/", Type: typeOverlay, Options: []string{o}}}}
		if _, _, err := rootOf(spec); err == nil || !strings.Contains(err.Error(), "overlay: ") {
			t.Errorf("%s: %v", o, err)
		}
	}
}
