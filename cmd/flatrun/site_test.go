package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/flatrun/flatrun/mount/config/site"
	"github.com/flatrun/flatrun/runtime"
)

// TestSiteKey: files count as they are now, and only those that the
// configuration is read from.
func TestSiteKey(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "flatrun/config.yaml")
	write(t, file, "runtime: {}\n")
	of := func(config string, environ ...string) string {
		p := newProgram("flatrun", environ)
		p.config = config
		return p.siteKey()
	}
	named := of(file)
	if named == "" || of("", "FLATRUN_CONFIG="+file) != named {
		t.Errorf("the same file has two keys: %q", named)
	}
	if of(filepath.Join(dir, "none")) != "" {
		t.Error("a file that is not there counts")
	}
	if user := of("", "XDG_CONFIG_HOME="+dir, "HOME=/none"); user == of("", "HOME=/none") {
		t.Error("the user's file does not count")
	}
	if of("", "XDG_CONFIG_HOME=relative", "HOME=/none") != of("", "HOME=/none") {
		t.Error("a relative directory counts")
	}
	write(t, file, "runtime: {cleanenv: yes}\n")
	if of(file) == named {
		t.Error("a change does not count")
	}
}

// TestKept: only what this user alone can have written is believed.
func TestKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kept")
	keep(file, "key", []byte(`{"cleanenv":true}`))
	text, ok := readKept(file, "key")
	if r, err := site.Decode(text); !ok || err != nil || !r.CleanEnv {
		t.Fatalf("%s, %v, %v", text, ok, err)
	}
	if _, ok := readKept(file, "other"); ok {
		t.Error("an answer to another question is taken")
	}
	if err := os.Chmod(file, 0o620); err != nil {
		t.Fatal(err)
	}
	if _, ok := readKept(file, "key"); ok {
		t.Error("a file that others may write is believed")
	}
	link := file + ".link"
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if _, ok := readKept(link, "key"); ok {
		t.Error("a link is followed")
	}
	write(t, file+".bad", "{")
	if _, ok := readKept(file+".bad", "key"); ok {
		t.Error("half a file is believed")
	}
	keep(filepath.Join(file, "below"), "key", nil) // cannot be, and does not matter
}

func TestPlaceSite(t *testing.T) {
	s := site.Default()
	s.MountDev, s.MountHome, s.ConfigPasswd = site.DevMinimal, false, false
	s.Bind = append(s.Bind, site.Bind{Source: "/data", ReadOnly: true, IfExists: true, Origin: "file:1"})
	user := make([]string, 1, 8)
	user[0] = "tmp"
	r := &runtime.Request{NoMount: user}
	if err := (&container{site: &s}).placeSite(r); err != nil {
		t.Fatal(err)
	}
	want := &runtime.Request{
		NoMount: []string{"tmp", "home", "/etc/passwd"}, MinimalDev: true, TmpfsSize: 64 << 20,
		Sites: []runtime.Bind{{Source: "/data", ReadOnly: true, Optional: true, Origin: "file:1"}},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("%+v, want %+v", r, want)
	}
	if user[:2][1] != "" {
		t.Error("the user's list was written into")
	}
	r = &runtime.Request{}
	if err := (&container{}).placeSite(r); err != nil || !reflect.DeepEqual(r, &runtime.Request{}) {
		t.Errorf("without a site: %+v, %v", r, err)
	}
}
