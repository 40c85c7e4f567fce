package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestReadSpec(t *testing.T) {
	for name, tt := range map[string]struct{ json, err string }{
		"smallest":     {`{"ociVersion":"1.0.0","root":{"path":"r"},"process":{"cwd":"/","args":["a"]}}`, ""},
		"newer":        {`{"ociVersion":"1.99.0","new":{},"root":{"path":"r"},"process":{"cwd":"/","args":["a"]}}`, ""},
		"empty":        {``, "EOF"},
		"null":         {`null`, "null"},
		"no version":   {`{"root":{"path":"r"}}`, `ociVersion ""`},
		"version 2":    {`{"ociVersion":"2.0.0"}`, `ociVersion "2.0.0"`},
		"no root":      {`{"ociVersion":"1.0.0"}`, "root.path"},
		"no process":   {`{"ociVersion":"1.0.0","root":{"path":"r"}}`, "process is missing"},
		"relative cwd": {`{"ociVersion":"1.0.0","root":{"path":"r"},"process":{"cwd":"x","args":["a"]}}`, `cwd "x"`},
		"no args":      {`{"ociVersion":"1.0.0","root":{"path":"r"},"process":{"cwd":"/"}}`, "args is empty"},
		"wrong type":   {`{"ociVersion":1}`, "ociVersion"},
		"cut off":      {`{"ociVersion":"1.0.0","root":{"pa`, "unexpected EOF"},
	} {
		_, err := ReadSpec(strings.NewReader(tt.json))
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", name, err, tt.err)
		}
	}
}

// FuzzReadSpec takes any configuration as far as libcontainer's own form of it, where the container would be made.
func FuzzReadSpec(f *testing.F) {
	for _, rootless := range []bool{false, true} {
		spec := ExampleSpec(rootless)
		data, err := json.Marshal(spec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"ociVersion":"1.0.0","root":{"path":"r"},"process":{"cwd":"/","args":["a"],"rlimits":[{"type":"RLIMIT_NOFILE"}],"user":{"uid":5}},"hooks":{"prestart":[{}]},"linux":{"resources":{"blockIO":{"weightDevice":[{}]},"network":{},"rdma":{"a":{}}},"devices":[{"path":"/dev/x","type":"c"}],"namespaces":[{"type":"user"},{"type":"pid","path":"/x"}],"seccomp":{},"intelRdt":{},"personality":{},"netDevices":{"a":{}},"memoryPolicy":{}},"mounts":[{"type":"bind","options":["gid=5","uid=x"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := ReadSpec(bytes.NewReader(data))
		if err != nil {
			return
		}
		if err := adapt(spec, caller{uid: 1000, gid: 1000}); err != nil {
			return
		}
		if _, err := newProcess(spec.Process); err != nil {
			return
		}
		_ = (&Runtime{}).place(spec)
		_, _ = specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: "c", Spec: spec, RootlessEUID: true, RootlessCgroups: true})
	})
}

func TestPlace(t *testing.T) {
	for path, tt := range map[string]struct{ path, err string }{
		"rootfs":                       {"rootfs", ""},
		"/images/cvmfs/x":              {"/images/cvmfs/x", ""},
		"cvmfs://no.example.org/a/b":   {"/cvmfs/no.example.org/a/b", "flatrun mount no.example.org DIR"},
		"/cvmfs/no.example.org/a/../b": {"/cvmfs/no.example.org/b", "DIR/b"},
		"cvmfs://no.example.org":       {"/cvmfs/no.example.org", "no.example.org"},
		"/cvmfs/here.example.org":      {"/tmp", ""},
		"cvmfs://here.example.org/a":   {"/tmp/a", "no such file"},
	} {
		spec := ExampleSpec(true)
		spec.Root.Path = path
		err := (&Runtime{Repositories: map[string]string{"here.example.org": "/tmp"}}).place(spec)
		if spec.Root.Path != tt.path || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %s, %v; want %s, %q", path, spec.Root.Path, err, tt.path, tt.err)
		}
	}
	spec := ExampleSpec(true)
	spec.Root.Path = "/cvmfs/a.example.org/x"
	spec.Mounts = []specs.Mount{{Source: "/cvmfs/b.example.org"}, {Source: "cvmfs://a.example.org/y"}, {Source: "/cvmfs"}, {Source: "/tmp"}, {Source: "proc"}}
	if got := Unmounted(spec); !slices.Equal(got, []string{"a.example.org", "b.example.org"}) {
		t.Errorf("unmounted %q", got)
	}
	if _, err := ReadBundle("/nonexistent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a bundle that is not there: %v", err)
	}
}

// TestRelax keeps what means something.
func TestRelax(t *testing.T) {
	spec := ExampleSpec(true)
	spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fifo", Type: "p", Major: 8, Minor: 666}, {Path: "/dev/null", Type: "c", Major: 1, Minor: 3}}
	spec.Mounts = []specs.Mount{
		{Destination: "/a", Type: "bind", Options: []string{"ro", "mode=755", "rslave", "rro"}},
		{Destination: "/b", Type: "none", Options: []string{"rbind", "size=1k"}},
		{Destination: "/c", Type: "tmpfs", Options: []string{"mode=755"}},
	}
	relax(spec)
	if d := spec.Linux.Devices; d[0].Major != 0 || d[0].Minor != 0 || d[1].Major != 1 || d[1].Minor != 3 {
		t.Errorf("devices %+v", d)
	}
	for i, want := range []string{"ro rslave rro", "rbind", "mode=755"} {
		if got := strings.Join(spec.Mounts[i].Options, " "); got != want {
			t.Errorf("options of %s: %q, want %q", spec.Mounts[i].Destination, got, want)
		}
	}
}
