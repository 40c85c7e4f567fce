package image

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, content string) {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll("registry.example.org/name:tag", 0o755); err != nil {
		t.Fatal(err)
	}
	write("a.sif", strings.Repeat("x", 32)+"SIF_MAGIC\x00")
	write("b.squashfs", "hsqs....")
	write("c.img", strings.Repeat("\x00", 1080)+"\x53\xef")
	write("d.tar", strings.Repeat("\x00", 257)+"ustar")
	write("e.txt", "hello")
	cases := []struct {
		arg  string
		kind Kind
		name string
		fail string // part of the error
	}{
		{arg: dir, kind: Directory},
		{arg: ".", kind: Directory},
		{arg: "registry.example.org/name:tag", kind: Directory}, // a directory of that name wins
		{arg: "registry.example.org/other:tag", kind: Repository},
		{arg: "debian:12", kind: Repository},
		{arg: "debian", kind: Repository},
		{arg: "name@sha256:" + strings.Repeat("0", 64), kind: Repository},
		{arg: "docker://debian:12", kind: Repository},
		{arg: "cvmfs://unpacked.example.org/a/b/", kind: Repository},
		{arg: "/cvmfs/absent.example.org/a//b/", kind: Repository},
		{arg: "instance://web", kind: Instance, name: "web"},
		{arg: "", fail: "image name is empty"},
		{arg: "docker://", fail: "has no name"},
		{arg: "cvmfs:///", fail: "names no repository"},
		{arg: "instance://", fail: "names no instance"},
		{arg: "oras://ghcr.io/x", fail: "publish the image"},
		{arg: "docker-archive:x.tar", fail: "publish the image"},
		{arg: "gopher://x", fail: "unsupported transport type"},
		{arg: "/absent/image", fail: "could not open image /absent/image: no such file or directory"},
		{arg: "./absent", fail: "could not open image"},
		{arg: "absent.sif", fail: "could not open image"},
		{arg: "a.sif", fail: "SIF images are not supported"},
		{arg: "b.squashfs", fail: "squashfs images are not supported"},
		{arg: "c.img", fail: "ext3 images are not supported"},
		{arg: "d.tar", fail: "archives are not supported"},
		{arg: "e.txt", fail: "it is not an image"},
	}
	for _, c := range cases {
		kind, name, err := Classify(c.arg)
		if c.fail != "" {
			if err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("Classify(%q) = %v, %q, %v; want an error with %q", c.arg, kind, name, err, c.fail)
			}
			continue
		}
		if err != nil || kind != c.kind || name != c.name {
			t.Errorf("Classify(%q) = %v, %q, %v; want %v, %q", c.arg, kind, name, err, c.kind, c.name)
		}
	}
}

func TestFrom(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	i, err := FromDirectory("x")
	if err != nil || i.Root != filepath.Join(dir, "x") || i.Arg != "x" {
		t.Errorf("FromDirectory = %+v, %v", i, err)
	}
	i, err = FromPlace("n", Place{Path: "/cvmfs/r/n", FQRN: "r", Revision: 7, Config: []byte(`{"config":{"Env":["A=b"],"Cmd":["x"]}}`)})
	if err != nil || i.Root != "/cvmfs/r/n" || i.Config == nil || i.Config.Env[0] != "A=b" {
		t.Errorf("FromPlace = %+v, %v", i, err)
	}
	if _, err := FromPlace("n", Place{Path: "/", Config: []byte(`{`)}); err == nil {
		t.Error("FromPlace took a broken configuration")
	}
}

func TestCommand(t *testing.T) {
	w := strings.Fields
	cases := []struct{ entry, cmd, args, want string }{
		{"", "", "", ""},
		{"", "", "a", ""},
		{"e f", "c", "", "e f c"},
		{"e f", "c", "a b", "e f a b"},
		{"", "c d", "", "c d"},
		{"", "c d", "a", "a"},
		{"e", "", "a", "e a"},
	}
	for _, c := range cases {
		config := &Config{Entrypoint: w(c.entry), Cmd: w(c.cmd)}
		if got := config.Command(w(c.args)); !reflect.DeepEqual(append([]string{}, got...), append([]string{}, w(c.want)...)) {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"config":{"Env":["A=b"],"Entrypoint":["/x"],"Cmd":null,"Labels":{"a":"b"}}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := ParseConfig(data); err == nil {
			c.Command(nil)
			c.Command([]string{"x"})
		}
	})
}

func FuzzClassify(f *testing.F) {
	for _, s := range []string{"a/b:c", "docker://x", "cvmfs://r/p", "/cvmfs/r/p", "::", "a@sha256:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) { Classify(arg) })
}
