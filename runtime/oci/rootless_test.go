package oci

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
)

var alice = caller{
	uid: 1000, gid: 100,
	subUID: []specs.LinuxIDMapping{{ContainerID: 1, HostID: 100000, Size: 65536}},
	subGID: []specs.LinuxIDMapping{{ContainerID: 1, HostID: 200000, Size: 65536}},
}

func TestAdaptMapping(t *testing.T) {
	one := func(host uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: host, Size: 1}}
	}
	userNS := specs.LinuxNamespace{Type: specs.UserNamespace}
	for _, tt := range []struct {
		name     string
		edit     func(*specs.Spec)
		caller   caller
		uid, gid []specs.LinuxIDMapping
		err      string
	}{
		{name: "root", caller: alice, uid: one(1000), gid: one(100)},
		{name: "no linux section", caller: alice, edit: func(s *specs.Spec) { s.Linux = nil }, uid: one(1000), gid: one(100)},
		{name: "namespace without mapping", caller: alice, edit: func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, userNS) }, uid: one(1000), gid: one(100)},
		{name: "own mapping", caller: alice, edit: func(s *specs.Spec) { s.Linux.UIDMappings, s.Linux.GIDMappings = one(7), one(8) }, uid: one(7), gid: one(8)},
		{name: "other user", caller: alice, edit: func(s *specs.Spec) { s.Process.User.UID = 1234 }, uid: append(one(1000), alice.subUID...), gid: append(one(100), alice.subGID...)},
		{name: "other group", caller: alice, edit: func(s *specs.Spec) { s.Process.User.GID = 5 }, uid: append(one(1000), alice.subUID...), gid: append(one(100), alice.subGID...)},
		{name: "other user, nothing granted", caller: caller{uid: 1000, gid: 100}, edit: func(s *specs.Spec) { s.Process.User.UID = 1234 }, err: "process.user.uid 1234 is not mapped"},
		{name: "group out of range", caller: alice, edit: func(s *specs.Spec) { s.Process.User.GID = 1 << 20 }, err: "process.user.gid 1048576 is not mapped"},
		{name: "existing namespace", caller: alice, edit: func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/proc/1/ns/user"})
		}},
	} {
		spec := ExampleSpec(false)
		if tt.edit != nil {
			tt.edit(spec)
		}
		spec.Process.User.AdditionalGids = []uint32{10}
		err := adapt(spec, tt.caller)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
			continue
		}
		if err != nil {
			continue
		}
		if !reflect.DeepEqual(spec.Linux.UIDMappings, tt.uid) || !reflect.DeepEqual(spec.Linux.GIDMappings, tt.gid) {
			t.Errorf("%s: mapped %v %v, want %v %v", tt.name, spec.Linux.UIDMappings, spec.Linux.GIDMappings, tt.uid, tt.gid)
		}
		if len(spec.Process.User.AdditionalGids) > 0 {
			t.Errorf("%s: groups %v", tt.name, spec.Process.User.AdditionalGids)
		}
		if n := count(spec, specs.UserNamespace); n != 1 {
			t.Errorf("%s: %d user namespaces", tt.name, n)
		}
	}
}

func count(spec *specs.Spec, kind specs.LinuxNamespaceType) (n int) {
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == kind {
			n++
		}
	}
	return n
}

func TestAdaptMounts(t *testing.T) {
	mount := func(kind, source, destination string, options ...string) specs.Mount {
		return specs.Mount{Type: kind, Source: source, Destination: destination, Options: options}
	}
	written := []specs.Mount{
		mount("proc", "proc", "/proc"), mount("sysfs", "sysfs", "/sys", "ro"), mount("mqueue", "mqueue", "/dev/mqueue"),
		mount("cgroup", "cgroup", "/sys/fs/cgroup", "ro"), mount("devpts", "devpts", "/dev/pts", "newinstance", "gid=5"),
		mount("tmpfs", "tmpfs", "/run", "uid=0", "gid=0", "gid=x"),
	}
	all := []specs.LinuxNamespaceType{specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace}
	for _, tt := range []struct {
		name string
		own  []specs.LinuxNamespaceType
		want []string // type:source:destination
	}{
		{"all its own", all, []string{"proc:proc:/proc", "sysfs:sysfs:/sys", "mqueue:mqueue:/dev/mqueue", "cgroup:cgroup:/sys/fs/cgroup"}},
		{"all the host's", nil, []string{"none:/proc:/proc", "none:/sys:/sys"}},
		{"the host's network", all[:1], []string{"proc:proc:/proc", "none:/sys:/sys"}},
	} {
		spec := ExampleSpec(true)
		spec.Mounts, spec.Linux.Namespaces = slices.Clone(written), nil
		for _, kind := range tt.own {
			spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind})
		}
		if err := adapt(spec, alice); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range spec.Mounts {
			got = append(got, m.Type+":"+m.Source+":"+m.Destination)
			if m.Type == "devpts" && slices.Contains(m.Options, "gid=5") {
				t.Errorf("%s: group 5 is not mapped but asked for", tt.name)
			}
			if m.Type == "tmpfs" && len(m.Options) != 3 {
				t.Errorf("%s: options of the tmpfs are %v", tt.name, m.Options)
			}
		}
		want := append(tt.want, "devpts:devpts:/dev/pts", "tmpfs:tmpfs:/run")
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
	}
}

func TestSubordinate(t *testing.T) {
	got := subordinate([]user.SubID{{SubID: 100000, Count: 10}, {SubID: 0, Count: 5}, {SubID: 7, Count: -1}, {SubID: 1 << 40, Count: 1}, {SubID: 300000, Count: 20}})
	want := []specs.LinuxIDMapping{{ContainerID: 1, HostID: 100000, Size: 10}, {ContainerID: 11, HostID: 300000, Size: 20}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
