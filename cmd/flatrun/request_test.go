package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/image"
	"github.com/flatrun/flatrun/runtime/singularity"
)

// testContainer is a start up to the point where the image is found.
func testContainer(t *testing.T, args ...string) (*container, *bytes.Buffer, error) {
	t.Helper()
	p, _, stderr := testProgram("flatrun")
	o := &options{}
	rest, err := p.parseVerb(findVerb("exec"), o, append(args, t.TempDir(), "true"))
	if err != nil {
		return nil, stderr, err
	}
	c := &container{program: p, options: o, action: "exec", arg: rest[0], args: rest[1:], host: runtime.Host{Home: "/home/u", Cwd: "/work"}}
	if err := c.check(); err != nil {
		return nil, stderr, err
	}
	c.image, err = image.FromDirectory(c.arg)
	return c, stderr, err
}

func TestRequest(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"work", "over", "low"} {
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	profile := filepath.Join(dir, "profile.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	mask := uint32(0o022)
	cases := []struct {
		args string
		want func(*runtime.Request)
		log  string
	}{
		{args: "", want: func(*runtime.Request) {}},
		{args: "-B /a:/b:ro", want: func(r *runtime.Request) {
			r.Binds = []runtime.Bind{{Source: "/a", Target: "/b", ReadOnly: true, Origin: "--bind"}}
		}},
		{args: "--home work:/srv", want: func(r *runtime.Request) { r.Home = runtime.Home{Source: dir + "/work", Target: "/srv"} }},
		{args: "--home work", want: func(r *runtime.Request) { r.Home = runtime.Home{Source: dir + "/work", Target: dir + "/work"} }},
		{args: "--no-home --no-mount tmp,sys", want: func(r *runtime.Request) { r.Home.None, r.NoMount = true, []string{"tmp", "sys"} }},
		{args: "--no-mount odd", want: func(r *runtime.Request) { r.NoMount = []string{"odd"} }, log: "unknown mount type 'odd'"},
		{args: "-S scratch,/x -W work", want: func(r *runtime.Request) {
			r.Scratch, r.Workdir = []string{"/scratch", "/x"}, dir+"/work"
		}},
		{args: "--contain", want: func(r *runtime.Request) { r.Contain, r.Cwd = true, "/home/u" }},
		{args: "--contain --pwd /x", want: func(r *runtime.Request) { r.Contain, r.Cwd = true, "/x" }},
		{args: "-C", want: func(r *runtime.Request) {
			r.Contain, r.Cwd = true, "/home/u"
			r.Namespaces = runtime.Namespaces{PID: true, IPC: true}
		}},
		{args: "--no-umask", want: func(r *runtime.Request) { r.Umask = &mask }},
		{args: "--overlay over --overlay low:ro", want: func(r *runtime.Request) {
			r.Overlays = []runtime.Overlay{{Path: dir + "/over"}, {Path: dir + "/low", ReadOnly: true}}
		}},
		{args: "-w --writable-tmpfs", want: func(r *runtime.Request) { r.Writable = true }, log: "Disabling --writable-tmpfs"},
		{args: "--hostname box --dns 10.0.0.1", want: func(r *runtime.Request) {
			r.Hostname, r.Namespaces.UTS = "box", true
			r.Files = []runtime.File{{Target: "/etc/hostname", Content: "box\n"}, {Target: "/etc/resolv.conf", Content: "nameserver 10.0.0.1\n"}}
		}},
		{args: "--network none", want: func(r *runtime.Request) { r.Namespaces.Net = true }, log: "Setting --net"},
		{args: "--net --network host", want: func(r *runtime.Request) {}},
		{args: "--security seccomp:" + profile, want: func(r *runtime.Request) {
			r.Seccomp.Profile = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
		}},
		{args: "-f", want: func(r *runtime.Request) { r.Namespaces.Fakeroot = true }},
		{args: "-p --no-init", want: func(r *runtime.Request) { r.Namespaces.PID, r.NoInit = true, true }},
	}
	for _, c := range cases {
		t.Run(c.args, func(t *testing.T) {
			start, stderr, err := testContainer(t, strings.Fields(c.args)...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := start.request()
			if err != nil {
				t.Fatal(err)
			}
			want := &runtime.Request{Image: runtime.Image{Path: start.arg, Name: start.arg}, CVMFS: start.cvmfs()}
			c.want(want)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%+v\nwant\n%+v", got, want)
			}
			if c.log == "" && stderr.Len() > 0 || !strings.Contains(stderr.String(), c.log) {
				t.Errorf("log %q, want %q", stderr, c.log)
			}
		})
	}
}

func TestRequestRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("file", []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--home a:b:c":                   "incorrect number of elements: 3",
		"--home :/x":                     "give an existing directory",
		"--home a:b":                     "must be an absolute path",
		"--contain --workdir nothing":    "is not an existing directory",
		"--workdir file":                 "is not an existing directory",
		"--overlay nothing":              "while opening overlay nothing",
		"--overlay file":                 "overlay file is a file",
		"--security seccomp:nothing":     "seccomp profile nothing",
		"--security seccomp:file":        "seccomp profile file",
		"--security apparmor:x":          "labels are not set",
		"--security odd":                 "not known",
		"--network bridge":               "needs root to set up",
		"--bind /a:b":                    "must be an absolute path",
		"--runscript-timeout never":      "give a time such as 30s",
		"--env-file nothing":             `could not read "nothing" environment file`,
		"--runscript-timeout -1s":        "give a time such as 30s",
		"--docker-login --passphrase":    "--passphrase",
		"--passphrase --pem-path /x.pem": "--passphrase",
	} {
		c, _, err := testContainer(t, strings.Fields(args)...)
		if err == nil {
			var r *runtime.Request
			if r, err = c.request(); err == nil {
				_, err = c.settings(r)
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

func TestSettings(t *testing.T) {
	c, _, err := testContainer(t, "-f", "--app", "x", "--env", "A=1", "-B", "/a:/b", "--mount", "src=/c,dst=/d,nonested", "--runscript-timeout", "2m")
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.request()
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.settings(r)
	if err != nil {
		t.Fatal(err)
	}
	if s.Home != "/root" || s.Dir != "/work" || s.Bind != "/b" || s.App != "x" || s.Timeout.String() != "2m0s" || s.Container != c.arg || s.Name != filepath.Base(c.arg) {
		t.Errorf("settings %+v", s)
	}
	var known, unknown []string
	for _, cover := range c.covers(r) {
		if cover.Source == "" {
			unknown = append(unknown, cover.Target)
		} else {
			known = append(known, cover.Target)
		}
	}
	if strings.Join(known, " ") != "/b /d" || !strings.Contains(strings.Join(unknown, " "), "/tmp") || !strings.Contains(strings.Join(unknown, " "), "/root /work") {
		t.Errorf("covers: known %q, unknown %q", known, unknown)
	}
}

func TestShown(t *testing.T) {
	for arg, want := range map[string]string{
		"/cvmfs/r.example.org//a/b/":  "/cvmfs/r.example.org/a/b",
		"cvmfs://r.example.org/a:1":   "/cvmfs/r.example.org/a:1",
		"box":                         "/cvmfs/r.example.org/.flat/ab/abcd",
		"registry.example.org/box:1":  "/cvmfs/r.example.org/.flat/ab/abcd",
		"docker://registry.example/x": "/cvmfs/r.example.org/.flat/ab/abcd",
	} {
		found := enter.Resolved{FQRN: "r.example.org", InRepo: "/.flat/ab/abcd", Source: "/nowhere", Name: "registry.example.org/box:1"}
		if got := shown(arg, found); got != want {
			t.Errorf("shown(%q) = %q, want %q", arg, got, want)
		}
	}
	source := t.TempDir()
	if err := os.MkdirAll(filepath.Join(source, "registry.example.org/box:1"), 0o755); err != nil {
		t.Fatal(err)
	}
	found := enter.Resolved{FQRN: "r.example.org", InRepo: "/.flat/ab/abcd", Source: source, Name: "registry.example.org/box:1"}
	if got := shown("box:1", found); got != "/cvmfs/r.example.org/registry.example.org/box:1" {
		t.Errorf("by name: %q", got)
	}
}

func TestDirectoryOfContainer(t *testing.T) {
	for dir, want := range map[string]bool{"/": true, "/none": false, "/tmp/x": true, "/new": true, "/new/place": true, "/home/u": true} {
		c, _, err := testContainer(t, "--pwd", dir, "-B", "/a:/new/place")
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.request()
		if err != nil {
			t.Fatal(err)
		}
		root, err := singularity.OpenRoot(c.image.Root, c.covers(r)...)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.checkDirectory(r, root); (err == nil) != want && dir != "/new/place" {
			t.Errorf("%s: %v", dir, err)
		}
		root.Close()
	}
}
