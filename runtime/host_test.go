package runtime

import (
	"os"
	"path"
	"testing"
)

func TestReadHost(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("PWD", dir)
	t.Setenv("HOME", dir+"/home/")
	h, err := ReadHost(os.Getuid(), os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	// HOME does not stand for the account's directory.
	want := dir + "/home"
	if fields := accountOf(os.Getuid()); fields != nil {
		want = path.Clean(fields[5])
	}
	if h.UID != uint32(os.Getuid()) || h.Cwd != dir || h.Home != want {
		t.Errorf("%+v, want home %s", h, want)
	}
	// An account that no file knows is taken from the environment, as far as it can stand in a line.
	t.Setenv("USER", "bea")
	t.Setenv("SHELL", "/bin/x:y")
	if h, err = ReadHost(987654321, 987654321); err != nil || h.Home != dir+"/home" {
		t.Errorf("%+v, %v", h, err)
	}
	t.Setenv("HOME", "relative")
	h, err = ReadHost(987654321, 987654321)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Account{Name: "bea"}); h.User != want || h.Group != "" || h.Home != "" {
		t.Errorf("%+v", h)
	}
}

func TestReadHostWithoutDirectory(t *testing.T) {
	dir := t.TempDir() + "/gone"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("PWD", "/elsewhere")
	t.Setenv("HOME", "/home/ann")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if h, err := ReadHost(987654321, 987654321); err == nil || h.Cwd != "" || h.Home != "/home/ann" {
		t.Errorf("%+v, %v", h, err)
	}
}
