package probe

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fakeHost has the given files instead of this host's.
func fakeHost(t *testing.T, files map[string]string) host {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return host{root: root, uid: 1001, gid: 1001, name: "joe", env: func(string) string { return "" }}
}

func TestRun(t *testing.T) {
	r := Run(Options{})
	seen := make(map[string]bool)
	for _, row := range r.Results {
		if row.Name == "" || seen[row.Name] {
			t.Errorf("name %q is empty or taken", row.Name)
		}
		seen[row.Name] = true
		if row.State == Failed && (row.Reason == "" || row.Advice == "") {
			t.Errorf("failed without a reason and a way out: %+v", row)
		}
		if row.State == OK && row.Advice != "" {
			t.Errorf("well, but with advice: %+v", row)
		}
	}
	if r.OK() != (UserNamespace() == nil && Mounts() == nil && (FUSE() == nil || !r.required("FUSE"))) {
		t.Errorf("OK() = %v of %+v", r.OK(), r)
	}
	var text strings.Builder
	if err := r.JSON(&text); err != nil {
		t.Fatal(err)
	}
	var again struct {
		OK      *bool
		Results []Result
	}
	if err := json.Unmarshal([]byte(text.String()), &again); err != nil || again.OK == nil || len(again.Results) != len(r.Results) {
		t.Errorf("%s: %v", text.String(), err)
	}
}

func (r Report) required(name string) bool {
	for _, row := range r.Results {
		if row.Name == name {
			return row.Required
		}
	}
	return false
}

func TestText(t *testing.T) {
	r := Report{[]Result{
		{Name: "kernel", State: OK, Detail: "6.1.0 x86_64"},
		{Name: "user namespace", State: Failed, Required: true, Reason: "clone: operation not permitted", Advice: "sysctl -w kernel.unprivileged_userns_clone=1"},
		{Name: "fusermount3", State: Warning, Detail: "/usr/bin/fusermount3", Reason: "not set-user-id root", Advice: "chmod u+s /usr/bin/fusermount3"},
		{Name: "container", State: Info},
	}}
	var b strings.Builder
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	if r.OK() {
		t.Error("a required probe failed, but all is well")
	}
	r.Results[1].State = Warning
	if !r.OK() {
		t.Error("only warnings, but not well")
	}
	b.WriteString("---\n")
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "report.golden")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s differs; got:\n%s", file, b.String())
	}
}

func TestNested(t *testing.T) {
	tests := []struct {
		files map[string]string
		env   string
		want  string
	}{
		{map[string]string{"proc/self/uid_map": "         0          0 4294967295\n"}, "", "not inside one"},
		{map[string]string{".dockerenv": ""}, "", "inside one: docker"},
		{map[string]string{"run/.containerenv": "", "proc/self/uid_map": "0 1001 1\n"}, "", "inside one: podman, a user namespace"},
		{nil, "APPTAINER_CONTAINER", "inside one: $APPTAINER_CONTAINER"},
	}
	for _, tt := range tests {
		h := fakeHost(t, tt.files)
		h.env = func(name string) string {
			if name == tt.env {
				return "x"
			}
			return ""
		}
		if got := h.nested(); got.Detail != tt.want || got.State != Info {
			t.Errorf("%v: %+v, want %q", tt.files, got, tt.want)
		}
	}
}

func TestUserNamespaceAdvice(t *testing.T) {
	tests := []struct {
		files map[string]string
		errno syscall.Errno
		want  string
	}{
		{map[string]string{"proc/sys/kernel/unprivileged_userns_clone": "0\n"}, syscall.EPERM, "kernel.unprivileged_userns_clone=1"},
		{map[string]string{"proc/sys/kernel/unprivileged_userns_clone": "1\n"}, syscall.EPERM, "seccomp filter"},
		{map[string]string{"proc/sys/user/max_user_namespaces": "0\n"}, syscall.ENOSPC, "user.max_user_namespaces=15000"},
		{map[string]string{"proc/sys/user/max_user_namespaces": "10\n"}, syscall.ENOSPC, "are in use"},
		{map[string]string{"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, syscall.EACCES, "AppArmor profile"},
		{nil, syscall.EUSERS, "nested too deeply"},
		{nil, syscall.EINVAL, "CONFIG_USER_NS"},
		{nil, syscall.ENOSYS, "user_namespaces(7)"},
	}
	for _, tt := range tests {
		if got := fakeHost(t, tt.files).userNamespaceAdvice(fmt.Errorf("clone: %w", tt.errno)); !strings.Contains(got, tt.want) {
			t.Errorf("%v, %v: %q, want %q", tt.files, tt.errno, got, tt.want)
		}
	}
}

func TestReason(t *testing.T) {
	_, missing := os.Open("/none")
	_, program := exec.LookPath("no-such-program-here")
	for _, tt := range []struct {
		err  error
		want string
	}{
		{missing, "no such file or directory"},
		{program, "executable file not found in $PATH"},
		{syscall.EPERM, "operation not permitted"},
	} {
		if got := reason(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestExistingDir(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{dir: dir, dir + "/a/b/c": dir, dir + "/file": dir, dir + "/file/x": dir, "/": "/", "relative/none": "."} {
		if got := existingDir(in); got != want {
			t.Errorf("existingDir(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestLimitsAndRestrictions(t *testing.T) {
	h := fakeHost(t, map[string]string{"proc/sys/user/max_user_namespaces": "0\n", "proc/sys/user/max_mnt_namespaces": "96365\n"})
	if r := h.limits(); r.State != Warning || r.Detail != "max_user_namespaces 0, max_mnt_namespaces 96365" || !strings.Contains(r.Advice, "user.max_user_namespaces") {
		t.Errorf("got %+v", r)
	}
	h = fakeHost(t, map[string]string{
		"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
		"proc/sys/kernel/unprivileged_userns_clone":             "0\n",
		"proc/self/attr/current":                                "docker-default (enforce)\n",
		"sys/kernel/security/apparmor/x":                        "",
		"sys/fs/selinux/enforce":                                "1",
		"proc/self/status":                                      "Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t2\n",
	})
	got := h.restrictions().Detail
	for _, want := range []string{"unprivileged_userns_clone=0", "apparmor_restrict", "AppArmor profile docker-default", "SELinux", "no_new_privs", "seccomp filter"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %s", got, want)
		}
	}
	if r := h.fusermount(); r.State == OK {
		t.Errorf("fusermount3 with no_new_privs: %+v", r)
	}
	if got := fakeHost(t, nil).restrictions().Detail; got != "none" {
		t.Errorf("no restrictions: %q", got)
	}
}

func TestVersion(t *testing.T) {
	for release, want := range map[string][2]int{"6.1.0-18-amd64": {6, 1}, "5.14": {5, 14}, "4.18.0-372.el8": {4, 18}, "5.15rc1.x": {5, 15}} {
		if major, minor, ok := version(release); !ok || major != want[0] || minor != want[1] {
			t.Errorf("version(%q) = %d.%d, %v", release, major, minor, ok)
		}
	}
	for _, release := range []string{"", "6", "x.y", "6."} {
		if _, _, ok := version(release); ok {
			t.Errorf("version(%q) is one", release)
		}
	}
}

func TestSubordinate(t *testing.T) {
	const text = "# comment\nann:100000:65536\n1001:5:0\njoe:165536:65536\njoe:1:1\n"
	tests := []struct {
		text         string
		first, count uint64
		ok           bool
	}{
		{text, 165536, 65536, true}, {"1001:7:8", 7, 8, true}, {"", 0, 0, false}, {"joe:x:1\njoe:1\njoe:1:-1\n", 0, 0, false},
	}
	for _, tt := range tests {
		first, count, ok := subordinateRange(tt.text, "joe", 1001)
		if first != tt.first || count != tt.count || ok != tt.ok {
			t.Errorf("%q: %d, %d, %v", tt.text, first, count, ok)
		}
	}
	r := fakeHost(t, map[string]string{"etc/subuid": "ann:1:2\n"}).subordinate()
	if r.State != Warning || r.Reason != "no entry for joe in /etc/subuid" || !strings.Contains(r.Advice, "joe") {
		t.Errorf("got %+v", r)
	}
}

func TestUserName(t *testing.T) {
	h := fakeHost(t, map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n"})
	if got := h.userName(); got != "bob" {
		t.Errorf("got %q", got)
	}
	h = fakeHost(t, nil)
	if got := h.userName(); got != "1001" {
		t.Errorf("got %q", got)
	}
	h.env = func(string) string { return "ldapuser" }
	if got := h.userName(); got != "ldapuser" {
		t.Errorf("got %q", got)
	}
}

func TestCgroup(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		state State
		want  string
	}{
		{"none", nil, Info, "none mounted"},
		{"v1", map[string]string{"sys/fs/cgroup/memory/tasks": ""}, Info, "version 1"},
		{"hybrid", map[string]string{"sys/fs/cgroup/unified/cgroup.procs": ""}, Info, "version 1 with an empty version 2 (hybrid)"},
		{"v2", map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu memory", "proc/self/cgroup": "0::/user.slice\n"}, Info, "version 2, /sys/fs/cgroup/user.slice not delegated"},
		{"delegated", map[string]string{
			"sys/fs/cgroup/cgroup.controllers": "cpu memory", "proc/self/cgroup": "0::/user.slice\n",
			"sys/fs/cgroup/user.slice/cgroup.procs": "", "sys/fs/cgroup/user.slice/cgroup.controllers": "memory pids\n",
		}, OK, "version 2, delegated with memory, pids, processes"},
	}
	for _, tt := range tests {
		if r := fakeHost(t, tt.files).cgroup(); r.State != tt.state || !strings.HasPrefix(r.Detail, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.name, r, tt.want)
		}
	}
}

func TestCVMFS(t *testing.T) {
	const autofs = "30 20 0:25 / /cvmfs rw - autofs /etc/auto.cvmfs rw\n"
	const atlas = "31 30 0:26 / /cvmfs/atlas.cern.ch ro,nosuid - fuse cvmfs2 ro,allow_other\n"
	tests := []struct {
		mountinfo, want string
		state           State
	}{
		{"", "not mounted by the site; flatrun mounts repositories by itself", Info},
		{"1 2 3\nnonsense\n - \n", "not mounted by the site; flatrun mounts repositories by itself", Info},
		{autofs, "mounted by the site on demand (autofs)", OK},
		{autofs + atlas, "mounted by the site: atlas.cern.ch", OK},
		{"31 30 0:26 / /cvmfs/x.y ro - ext4 /dev/sda ro\n", "not mounted by the site; flatrun mounts repositories by itself", Info},
	}
	for _, tt := range tests {
		if r := fakeHost(t, map[string]string{"proc/self/mountinfo": tt.mountinfo}).cvmfs(); r.Detail != tt.want || r.State != tt.state {
			t.Errorf("%q: %+v, want %q", tt.mountinfo, r, tt.want)
		}
	}
	if r := (host{}).fuse(true); r.Required {
		t.Error("FUSE is required although the site mounts repositories")
	}
}

func TestCache(t *testing.T) {
	dir := t.TempDir()
	r := Cache(filepath.Join(dir, "a/b"))
	if r.State == Failed || !strings.Contains(r.Detail, "GB free") {
		t.Errorf("got %+v", r)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if r := Cache("/proc/self/none"); r.State != Failed || r.Reason == "" {
		t.Errorf("a directory that cannot be written: %+v", r)
	}
}

func FuzzHostFiles(f *testing.F) {
	f.Add("joe:1:2\n30 20 0:25 / /cvmfs/a.b rw - fuse x y\nNoNewPrivs:\t1\n6.1.0")
	f.Fuzz(func(t *testing.T, text string) {
		if first, count, ok := subordinateRange(text, "joe", 1001); ok && (count == 0 || first > 1<<32) {
			t.Fatalf("range %d:%d", first, count)
		}
		version(text)
		statusField(text, "NoNewPrivs")
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "proc/self"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "proc/self/mountinfo"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		host{root: dir}.cvmfs()
	})
}
