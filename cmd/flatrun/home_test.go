package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestHomeUntouched: no command writes to the home directory, and none needs to.
// The directory can be written by the first round, which would show traces, and
// cannot by the second.
func TestHomeUntouched(t *testing.T) {
	rig := newRig(t)
	if why, ok := rig.missing["userns"]; ok {
		t.Skip(why)
	}
	for _, mode := range []fs.FileMode{0o700, 0o500} {
		t.Run(fmt.Sprintf("mode %#o", mode), func(t *testing.T) { rig.checkHome(t, mode) })
	}
}

func (r *rig) checkHome(t *testing.T, mode fs.FileMode) {
	home := t.TempDir()
	write(t, filepath.Join(home, "file"), "mine\n")
	if err := os.Chmod(home, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(home, 0o700) })
	before := listTree(t, home)
	work := t.TempDir()
	if err := os.Mkdir(filepath.Join(work, "mnt"), 0o755); err != nil {
		t.Fatal(err)
	}
	lines := []string{
		"--version", "--help", "help exec", "version", "completion bash", "doctor", "config show", "status", "status --json",
		"exec {ducc} true", "exec --pid {ducc} true", "exec --fakeroot {ducc} true", "exec -C {ducc} true", "exec --sharens {ducc} true",
		"run {sing} true", "test {sing}", "inspect {sing}", "inspect --all {ducc}", "run-help {sing}",
		"instance list", "instance stop nobody", "exec {ducc}/nowhere true", "no-such-verb",
	}
	if _, ok := r.missing["pidns"]; !ok {
		lines = append(lines, "instance start {sing} home", "exec instance://home true", "instance list --json", "instance logs home", "instance stop home")
	}
	if _, ok := r.missing["overlay"]; !ok {
		lines = append(lines, "exec --writable-tmpfs {ducc} touch /new")
	}
	if _, ok := r.missing["fuse"]; !ok {
		lines = append(lines, "exec box:1 true", "images", "inspect box:1")
		if _, err := exec.LookPath("fusermount3"); err == nil {
			lines = append(lines, "mount images.example.org {work}/mnt", "umount {work}/mnt")
		}
		lines = append(lines, "umount --all --force")
	}
	replace := r.replacer(work)
	fails := []string{"instance stop nobody", "exec {ducc}/nowhere true", "no-such-verb"}
	for _, line := range lines {
		cmd := exec.Command(filepath.Join(r.bin, "flatrun"), strings.Fields(replace.Replace(line))...)
		cmd.Env = slices.DeleteFunc(r.environ(nil), func(kv string) bool { return strings.HasPrefix(kv, "HOME=") })
		cmd.Env = append(cmd.Env, "HOME="+home, "FLATRUN_HOME="+home, "TMPDIR="+work)
		cmd.Dir = work
		out, err := cmd.CombinedOutput()
		if wanted := slices.Contains(fails, line); (err != nil) != wanted {
			t.Errorf("flatrun %s: %v\n%s", line, err, out)
		}
		if after := listTree(t, home); after != before {
			t.Fatalf("flatrun %s changed the home directory:\n%swant\n%s", line, after, before)
		}
	}
}

// listTree describes every file, with the time of its last change.
func listTree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
