package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every row runs a script in a container and compares what it prints. The host has a directory data, with a file
// data/f ("host file"), a directory data/d with a file x, and a link data/l to d. $D in a row stands for data.
type row struct {
	name   string
	image  []string // entries beside busybox
	req    Request  // Image and Args are set by the test; $D is replaced in paths
	cwd    string
	env    []string // of the caller
	plan   string
	script string
	want   string // $D is replaced
	err    string // a part of standard error, with exit code 255
}

func (r row) run(t *testing.T) {
	image := newImage(t, r.image...)
	data := filepath.Join(t.TempDir(), "data")
	for _, e := range []string{"f=host file\n", "d/x=in d\n", "l->d", "work/", "layer/upper/layered=yes\n", "layer2/upper/", "tmp/"} {
		makeEntry(t, data, e)
	}
	before := listing(t, image)
	in := func(s string) string { return strings.ReplaceAll(s, "$D", data) }
	req := r.req
	req.Image.Path = image
	req.Args = sh(in(r.script))
	for i := range req.Binds {
		b := &req.Binds[i]
		b.Source, b.Target = in(b.Source), in(b.Target)
	}
	req.Home.Source, req.Workdir, req.Cwd = in(req.Home.Source), in(req.Workdir), in(req.Cwd)
	req.Overlays = append([]Overlay(nil), req.Overlays...)
	for i := range req.Overlays {
		req.Overlays[i].Path = in(req.Overlays[i].Path)
	}
	for i := range req.CVMFS {
		req.CVMFS[i] = in(req.CVMFS[i])
	}
	env := append([]string{"FLATRUN_TEST_VERBOSE=1"}, r.env...)
	for i := range env {
		env[i] = in(env[i])
	}
	got := container{Request: req, dir: in(r.cwd), plan: r.plan, env: env}.run(t)
	switch {
	case r.err != "":
		if got.code != 255 || !strings.Contains(got.err, in(r.err)) {
			t.Errorf("exit code %d, standard error %q; want 255 and %q", got.code, got.err, in(r.err))
		}
	case got.out != in(r.want) || got.code != 0:
		t.Errorf("exit code %d, standard output\n%swant\n%sstandard error\n%s", got.code, got.out, in(r.want), got.err)
	}
	if !req.Writable && listing(t, image) != before {
		t.Error("the image has changed")
	}
}

func runRows(t *testing.T, rows []row) {
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			r.run(t)
		})
	}
}

func TestIdentity(t *testing.T) {
	uid, gid := os.Getuid(), os.Getgid()
	runRows(t, []row{
		{name: "ids", script: "id -u; id -g; cat /proc/self/uid_map", want: fmt.Sprintf("%d\n%d\n%10d %10d %10d\n", uid, gid, uid, uid, 1)},
		{name: "root inside", plan: "fakeroot;", req: Request{Namespaces: Namespaces{Fakeroot: true}}, script: "id -u; id -g; cat /proc/self/uid_map; grep CapEff /proc/self/status | grep -c 0000000000000000; true",
			want: fmt.Sprintf("0\n0\n%10d %10d %10d\n0\n", 0, uid, 1)},
		{name: "no rights", script: "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status",
			want: "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"},
		{name: "rights kept on request", req: Request{Seccomp: Seccomp{Off: true}, Privileges: Privileges{Keep: true, AllowSetuid: true}}, script: "grep -E '^(NoNewPrivs|Seccomp:)' /proc/self/status",
			want: "NoNewPrivs:\t0\nSeccomp:\t0\n"},
		{name: "filter without no_new_privs", req: Request{Privileges: Privileges{AllowSetuid: true}}, script: "grep -E '^(NoNewPrivs|Seccomp:)' /proc/self/status",
			want: "NoNewPrivs:\t0\nSeccomp:\t2\n"},
		{name: "password file", script: "grep -c . /etc/passwd; grep -c . /etc/group", want: "2\n2\n"},
		{name: "no password file", req: Request{NoMount: []string{"/etc/passwd", "group"}}, script: "cat /etc/passwd /etc/group", want: "root:x:0:0:root:/root:/bin/sh\nroot:x:0:\n"},
		{name: "home in the password file", req: Request{Home: Home{Source: "$D/work", Target: "/srv"}}, script: "grep -c :/srv: /etc/passwd", want: "1\n"},
		{name: "environment", req: Request{Env: []string{"PATH=/bin", "A=b c", "E="}}, script: "env | grep -v -e PWD -e SHLVL -e PATH | sort", want: "A=b c\nE=\n"},
		{name: "umask", req: Request{Umask: ptr(uint32(0o27))}, script: "umask", want: "0027\n"},
		{name: "namespaces of the host", script: "for n in pid ipc uts net; do readlink /proc/self/ns/$n; done", want: namespaceLinks(t, "pid", "ipc", "uts", "net")},
	})
}

func ptr[T any](v T) *T { return &v }

func namespaceLinks(t *testing.T, names ...string) (lines string) {
	for _, n := range names {
		link, err := os.Readlink("/proc/self/ns/" + n)
		if err != nil {
			t.Fatal(err)
		}
		lines += link + "\n"
	}
	return lines
}

func TestBinds(t *testing.T) {
	runRows(t, []row{
		{name: "file on a file", image: []string{"etc/f=image\n"}, req: Request{Binds: []Bind{{Source: "$D/f", Target: "/etc/f"}}}, script: "cat /etc/f", want: "host file\n"},
		{name: "file on nothing", req: Request{Binds: []Bind{{Source: "$D/f", Target: "/a/b/f"}}}, script: "cat /a/b/f; ls /a/b; ls /bin/sh", want: "host file\nf\n/bin/sh\n"},
		{name: "directory on a directory", image: []string{"opt/o"}, req: Request{Binds: []Bind{{Source: "$D/d", Target: "/opt"}}}, script: "ls /opt; cat /opt/x", want: "x\nin d\n"},
		{name: "directory on nothing", req: Request{Binds: []Bind{{Source: "$D/d", Target: "/new"}}}, script: "cat /new/x", want: "in d\n"},
		{name: "directory on nothing, three deep", image: []string{"a/b/c/file=kept\n", "a/b/c/dir/y=kept too\n", "a/b/c/link->file", "a/s=side\n"}, req: Request{Binds: []Bind{{Source: "$D/d", Target: "/a/b/c/n/m"}}},
			script: "cat /a/b/c/n/m/x /a/b/c/file /a/b/c/dir/y /a/b/c/link /a/s; readlink /a/b/c/link; ls /a/b/c; touch /a/b/c/t 2>/dev/null || echo read-only", want: "in d\nkept\nkept too\nkept\nside\nfile\ndir\nfile\nlink\nn\nread-only\n"},
		{name: "several farms", image: []string{"u/v/w=1\n", "u/x=2\n", "y/z=3\n"}, req: Request{Binds: []Bind{{Source: "$D/d", Target: "/u/v/n"}, {Source: "$D/f", Target: "/u/n"}, {Source: "$D/f", Target: "/n"}, {Source: "$D/f", Target: "/y/n"}}},
			script: "cat /u/v/n/x /u/n /n /y/n /u/v/w /u/x /y/z", want: "in d\nhost file\nhost file\nhost file\n1\n2\n3\n"},
		{name: "through a link of the image", image: []string{"real/k=kept\n", "alias->/real"}, req: Request{Binds: []Bind{{Source: "$D/f", Target: "/alias/n"}}}, script: "cat /real/n /real/k", want: "host file\nkept\n"},
		{name: "through a link that leads out", image: []string{"out->../../../../../../tmp"}, req: Request{NoMount: []string{"tmp"}, Binds: []Bind{{Source: "$D/f", Target: "/out/n"}}}, script: "cat /tmp/n; ls /tmp", want: "host file\nn\n"},
		{name: "on a link to nothing", image: []string{"etc/r->/run/none/x"}, req: Request{Binds: []Bind{{Source: "$D/f", Target: "/etc/r"}}}, script: "cat /etc/r", want: "host file\n"},
		{name: "directory on a link to nothing", image: []string{"home->usr/home", "usr/k=kept\n"}, req: Request{Binds: []Bind{{Source: "$D/d", Target: "/home"}}}, script: "cat /home/x /usr/home/x /usr/k", want: "in d\nin d\nkept\n"},
		{name: "source through a link", req: Request{Binds: []Bind{{Source: "$D/l", Target: "/new"}}}, script: "cat /new/x", want: "in d\n"},
		{name: "read-only", req: Request{Binds: []Bind{{Source: "$D/d", Target: "/new", ReadOnly: true}}}, script: "touch /new/y 2>/dev/null || echo refused", want: "refused\n"},
		{name: "writable", req: Request{Binds: []Bind{{Source: "$D/d", Target: "/new"}}}, script: "echo w >/new/y; cat $D/d/y", want: "w\n"},
		{name: "later over earlier", req: Request{Binds: []Bind{{Source: "$D/work", Target: "/new"}, {Source: "$D/d", Target: "/new"}}}, script: "ls /new", want: "x\n"},
		{name: "below an earlier one", req: Request{Binds: []Bind{{Source: "$D", Target: "/new"}, {Source: "$D/d", Target: "/new/work"}}}, script: "ls /new/work", want: "x\n"},
		{name: "below an earlier one that lacks it", req: Request{Binds: []Bind{{Source: "$D/d", Target: "/new"}, {Source: "$D/f", Target: "/new/none", Origin: "--bind"}}},
			script: "cat /new/none; ls $D/d", want: "host file\nnone\nx\n"},
		{name: "below an earlier one that is read-only", req: Request{Binds: []Bind{{Source: "$D/d", Target: "/new", ReadOnly: true}, {Source: "$D/work", Target: "/new/a/b"}}},
			script: "echo w >/new/a/b/w; touch /new/none 2>/dev/null || echo read-only; ls $D/work $D/d", want: "read-only\n$D/d:\na\nx\n\n$D/work:\nw\n"},
		{name: "below one of the kernel's", req: Request{Binds: []Bind{{Source: "$D/f", Target: "/proc/none", Origin: "--bind"}}},
			err: "mount $D/f at /proc/none (--bind): /proc/none is not in /proc, which is mounted around it, and cannot be made there"},
		{name: "optional", req: Request{Binds: []Bind{{Source: "$D/none", Target: "/new", Optional: true}}}, script: "ls -d /new 2>/dev/null || echo left out", want: "left out\n"},
		{name: "source missing", req: Request{Binds: []Bind{{Source: "$D/none", Target: "/new", Origin: "--bind"}}}, err: "mount $D/none at /new (--bind): source $D/none: no such file or directory"},
		{name: "weak", req: Request{Binds: []Bind{{Source: "$D/none", Target: "/new", Weak: true}}}, script: "echo on", want: "on\n"},
		{name: "directory over a file", image: []string{"f"}, req: Request{Binds: []Bind{{Source: "$D/d", Target: "/f"}}}, err: "/f in the image: not a directory"},
		{name: "file over a directory", image: []string{"d/"}, req: Request{Binds: []Bind{{Source: "$D/f", Target: "/d"}}}, err: "/d in the image is a directory"},
		{name: "over the root", req: Request{Binds: []Bind{{Source: "$D/d", Target: "/"}}}, err: "nothing can be mounted over /"},
		{name: "device", req: Request{Contain: true, Binds: []Bind{{Source: "/dev/zero", Target: "/dev/other"}}}, script: "head -c 3 /dev/other | wc -c", want: "3\n"},
		{name: "repositories of two directories", req: Request{CVMFS: []string{"$D/d", "$D/layer"}}, script: "ls /cvmfs; cat /cvmfs/upper/layered", want: "upper\nx\nyes\n"},
		{name: "a path in a repository", req: Request{CVMFS: []string{"$D/d", "$D/layer"}, Binds: []Bind{{Source: "/cvmfs/upper/layered", Target: "/etc/l"}, {Source: "/cvmfs"}}}, script: "cat /etc/l; ls /cvmfs", want: "yes\nupper\nx\n"},
		{name: "repositories elsewhere", req: Request{CVMFS: []string{"$D/d"}, Binds: []Bind{{Source: "/cvmfs", Target: "/mnt/cvmfs"}}}, script: "ls /cvmfs /mnt/cvmfs", want: "/cvmfs:\nx\n\n/mnt/cvmfs:\nx\n"},
	})
}

func TestManyBinds(t *testing.T) {
	var r row
	for i := range 100 {
		r.req.Binds = append(r.req.Binds, Bind{Source: "$D/f", Target: fmt.Sprintf("/many/%d/f", i%50+i)}, Bind{Source: "$D/d", Target: fmt.Sprintf("/etc/m%d", i)})
	}
	r.script, r.want = "cat /many/*/f | sort | uniq -c 2>/dev/null | wc -l; ls /etc | grep -c ^m; cat /etc/m99/x", "1\n100\nin d\n"
	r.script = strings.Replace(r.script, "sort | uniq -c 2>/dev/null", "sort -u", 1)
	r.run(t)
}

func TestDefaults(t *testing.T) {
	runRows(t, []row{
		{name: "kernel file systems", script: "test -d /proc/$$ && test -d /sys/kernel && test -c /dev/null && test -c /dev/tty && echo there", want: "there\n"},
		{name: "none of them", req: Request{NoMount: []string{"proc", "sys", "dev", "tmp", "home", "cwd", "bind-paths", "/etc/resolv.conf", "passwd", "group"}}, script: "ls /proc /sys /dev /tmp", want: "/dev:\n\n/proc:\n\n/sys:\n\n/tmp:\n"},
		{name: "tmp", script: "echo t >$D/tmp/t; cat $D/tmp/t", want: "t\n"},
		{name: "var/tmp that is tmp", image: []string{"var/tmp->../tmp"}, script: "readlink /var/tmp; grep -c ' /tmp ' /proc/self/mountinfo", want: "../tmp\n1\n"},
		{name: "home", env: []string{"HOME=$D/work"}, script: "echo h >$D/work/h && ls $D/work", want: "h\n", req: Request{NoMount: []string{"tmp"}}},
		{name: "home elsewhere", req: Request{NoMount: []string{"tmp"}, Home: Home{Source: "$D/d", Target: "/srv/home"}}, script: "ls /srv/home", want: "x\n"},
		{name: "no home", env: []string{"HOME=$D/work"}, req: Request{NoMount: []string{"tmp"}, Home: Home{None: true}}, script: "ls $D 2>/dev/null || echo none", want: "none\n"},
		{name: "home of nobody", env: []string{"HOME=/nonexistent"}, script: "ls /nonexistent 2>/dev/null || echo none", want: "none\n"},
		{name: "working directory", cwd: "$D/work", script: "pwd; echo w >here; cat $D/work/here", want: "$D/work\nw\n"},
		{name: "working directory that tmp does not show", cwd: "$D/d", req: Request{NoMount: []string{"tmp"}}, script: "pwd; ls; ls $D", want: "$D/d\nx\nd\n"},
		{name: "working directory in home without home", cwd: "$D/d", env: []string{"HOME=$D"}, req: Request{NoMount: []string{"tmp"}, Home: Home{None: true}}, script: "ls; ls $D", want: "x\nd\n"},
		{name: "another working directory", image: []string{"opt/o"}, req: Request{Cwd: "/opt"}, script: "pwd; ls", want: "/opt\no\n"},
		{name: "working directory falls back to home", env: []string{"HOME=$D/d"}, req: Request{Cwd: "/none"}, script: "pwd", want: "$D/d\n"},
		{name: "working directory falls back to the root", req: Request{Cwd: "/none", Home: Home{None: true}}, env: []string{"HOME=/none"}, script: "pwd", want: "/\n"},
		{name: "working directory not wanted", cwd: "$D/d", req: Request{NoMount: []string{"tmp", "cwd"}}, env: []string{"HOME=/"}, script: "pwd", want: "/\n"},
		{name: "local time behind a link", image: []string{"etc/localtime->/usr/zone/UTC", "usr/zone/UTC=kept\n", "etc/resolv.conf->/run/none"}, script: "cat /usr/zone/UTC; test -L /etc/resolv.conf || echo resolv.conf", want: "kept\nresolv.conf\n"},
		{name: "read-only image", script: "touch /x /bin/x /etc/x 2>&1 | grep -c 'Read-only file system'", want: "3\n"},
		{name: "no mount of the host is left", script: "grep -c -e ' / / ' /proc/self/mountinfo; grep -v -e ' - proc ' -e ' - sysfs ' /proc/self/mountinfo | grep -c ' /work '; true", want: "0\n0\n"},
	})
}

func TestContain(t *testing.T) {
	runRows(t, []row{
		{name: "devices", req: Request{Contain: true}, script: "ls /dev | grep -v mqueue; ls /dev/shm /tmp; echo x >/dev/null; head -c 2 /dev/zero | wc -c; echo out >/dev/stdout; readlink /dev/ptmx; test -c /dev/pts/ptmx && echo terminals",
			want: "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n/dev/shm:\n\n/tmp:\n2\nout\npts/ptmx\nterminals\n"},
		{name: "empty directories", env: []string{"HOME=$D"}, cwd: "$D/d", req: Request{Contain: true}, script: "ls $D /var/tmp; echo t >/tmp/t; echo v >/var/tmp/v; echo h >$D/h; stat -c %a /tmp /var/tmp $D; pwd", want: "$D:\n\n/var/tmp:\n1777\n1777\n700\n$D\n"},
		{name: "with a work directory", image: []string{"home/"}, env: []string{"HOME=/home/ann"}, req: Request{Contain: true, Workdir: "$D/work", Scratch: []string{"/scratch/a"}}, script: "echo t >/tmp/t; echo v >/var/tmp/v; echo s >/scratch/a/s; echo h >/home/ann/h; ls /tmp", want: "t\n"},
		{name: "scratch in memory", req: Request{Scratch: []string{"/scratch"}}, script: "echo s >/scratch/s; cat /scratch/s", want: "s\n"},
		{name: "home all the same", req: Request{Contain: true, Home: Home{Source: "$D/d", Target: "/srv"}}, script: "ls /srv", want: "x\n"},
		{name: "binds below the empty directories", env: []string{"HOME=/home/ann"}, req: Request{Contain: true, Binds: []Bind{{Source: "$D/d", Target: "/tmp/a/b"}, {Source: "$D/f", Target: "/home/ann/c/f"}}}, script: "ls /tmp/a/b; cat /home/ann/c/f", want: "x\nhost file\n"},
		{name: "minimal devices only", req: Request{MinimalDev: true}, script: "ls /dev/null /dev/shm -d; ls $D/f", want: "/dev/null\n/dev/shm\n$D/f\n"},
	})
}

func TestWorkdirIsUsed(t *testing.T) {
	image := newImage(t, "home/")
	work := t.TempDir()
	r := container{Request: Request{Image: Image{Path: image}, Contain: true, Workdir: work, Scratch: []string{"/scratch/a"}, Args: sh("echo >/tmp/t; echo >/var/tmp/v; echo >/scratch/a/s; echo >/home/ann/h")}, env: []string{"HOME=/home/ann"}}.run(t)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.err)
	}
	for _, name := range []string{"tmp/t", "var_tmp/v", "scratch/scratch/a/s", "home/h"} {
		if _, err := os.Stat(filepath.Join(work, name)); err != nil {
			t.Error(err)
		}
	}
}

// manyFiles are entries of a directory that is worth an overlay, or too many for binds.
func manyFiles(dir string, n int) (entries []string) {
	for i := range n {
		entries = append(entries, fmt.Sprintf("%s/%d=%d\n", dir, i, i), fmt.Sprintf("%s/l%d->%d", dir, i, i))
	}
	return append(entries, dir+"/sub/x=in sub\n")
}

func TestLargeDirectories(t *testing.T) {
	runRows(t, []row{
		{name: "file", image: manyFiles("usr/bin", 200), req: Request{Binds: []Bind{{Source: "$D/f", Target: "/usr/bin/new"}}},
			script: "cat /usr/bin/new /usr/bin/l199 /usr/bin/sub/x; ls /usr/bin | wc -l; touch /usr/bin/t 2>/dev/null || echo read-only", want: "host file\n199\nin sub\n402\nread-only\n"},
		{name: "two, and one below", image: manyFiles("usr/bin", 200), req: Request{Binds: []Bind{{Source: "$D/f", Target: "/usr/bin/a/b"}, {Source: "$D/d", Target: "/usr/bin/c"}, {Source: "$D/f", Target: "/usr/bin/sub/new"}}},
			script: "cat /usr/bin/a/b /usr/bin/c/x /usr/bin/sub/new /usr/bin/sub/x /usr/bin/7", want: "host file\nin d\nhost file\nin sub\n7\n"},
	})
}

// needOverlay skips a test where the kernel does not let ordinary users mount overlays.
func needOverlay(t *testing.T) {
	t.Helper()
	r := container{Request: Request{Image: Image{Path: newImage(t)}, WritableTmpfs: true, Args: []string{"true"}}}.run(t)
	if r.code != 0 {
		t.Skip("needs overlayfs in a user namespace: ", r.err)
	}
}

func TestOverlay(t *testing.T) {
	needOverlay(t)
	upper := Overlay{Path: "$D/layer2"}
	lower := Overlay{Path: "$D/layer", ReadOnly: true}
	runRows(t, []row{
		{name: "memory", req: Request{WritableTmpfs: true}, script: "echo n >/new; mkdir /etc/d; echo p >>/etc/group; cat /new; ls -d /etc/d; grep -c . /etc/group", want: "n\n/etc/d\n3\n"},
		{name: "memory of a size", req: Request{WritableTmpfs: true, TmpfsSize: 1 << 20}, script: "head -c 4000000 /dev/zero >/big 2>/dev/null || echo full", want: "full\n"},
		{name: "binds", req: Request{WritableTmpfs: true, Binds: []Bind{{Source: "$D/d", Target: "/a/b"}, {Source: "$D/f", Target: "/etc/n"}}}, script: "cat /a/b/x /etc/n", want: "in d\nhost file\n"},
		{name: "layer", req: Request{Overlays: []Overlay{lower}}, script: "cat /layered; ls /bin/sh; touch /x 2>/dev/null || echo refused", want: "yes\n/bin/sh\nrefused\n"},
		{name: "directory as a layer", req: Request{Overlays: []Overlay{{Path: "$D/d", ReadOnly: true}}}, script: "cat /x", want: "in d\n"},
		{name: "layer and memory", req: Request{Overlays: []Overlay{lower}, WritableTmpfs: true}, script: "echo no >/layered; cat /layered", want: "no\n"},
		{name: "writable", req: Request{Overlays: []Overlay{upper}}, script: "echo k >/kept; cat $D/layer2/upper/kept", want: "k\n"},
		{name: "writable over a layer", req: Request{Overlays: []Overlay{upper, lower}}, script: "cat /layered; echo w >/layered; cat $D/layer2/upper/layered", want: "yes\nw\n"},
		{name: "large directory by few mounts", image: manyFiles("usr/bin", 200), req: Request{Binds: []Bind{{Source: "$D/f", Target: "/usr/bin/new"}}}, script: "grep -c ' /usr/bin' /proc/self/mountinfo", want: "2\n"},
		{name: "missing", req: Request{Overlays: []Overlay{{Path: "$D/none"}}}, err: "overlay $D/none: no such file or directory"},
		{name: "not a directory", req: Request{Overlays: []Overlay{{Path: "$D/f", ReadOnly: true}}}, err: "overlay $D/f: not a directory"},
	})
}

func TestWritable(t *testing.T) {
	image := newImage(t)
	r := container{Request: Request{Image: Image{Path: image}, Writable: true, Binds: []Bind{{Source: "/bin/busybox", Target: "/opt/busybox"}}, Args: sh("echo kept >/kept; /opt/busybox echo bound")}}.run(t)
	if r.code != 0 || r.out != "bound\n" {
		t.Fatalf("exit code %d, %q: %s", r.code, r.out, r.err)
	}
	if text, err := os.ReadFile(filepath.Join(image, "kept")); string(text) != "kept\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestNamespaces(t *testing.T) {
	const (
		pid = "own;new=0x20000000;"
		ipc = "own;new=0x08000000;"
		uts = "own;new=0x04000000;"
		net = "own;new=0x40000000;"
	)
	runRows(t, []row{
		{name: "pid", plan: pid + "init;", req: Request{Namespaces: Namespaces{PID: true}}, script: "echo $$; set -- /proc/[0-9]*; echo $#", want: "2\n2\n"},
		{name: "pid without init", plan: pid, req: Request{Namespaces: Namespaces{PID: true}}, script: "echo $$", want: "1\n"},
		{name: "pid, contained", plan: pid, req: Request{Contain: true, Namespaces: Namespaces{PID: true}}, script: "echo $$; cat /proc/1/comm; true", want: "1\nsh\n"},
		{name: "uts", plan: uts, req: Request{Hostname: "box", Namespaces: Namespaces{UTS: true}}, script: "hostname", want: "box\n"},
		{name: "ipc", plan: ipc, req: Request{Contain: true, Namespaces: Namespaces{IPC: true}}, script: "grep -c ' /dev/mqueue ' /proc/self/mountinfo", want: "1\n"},
		{name: "net", plan: net, req: Request{Namespaces: Namespaces{Net: true}}, script: "ls /sys/class/net", want: "lo\n"},
	})
}
