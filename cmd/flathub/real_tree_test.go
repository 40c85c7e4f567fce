package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ours are the names that a flat image has beyond its layers, where those have nothing.
var ours = []string{".cvmfscatalog", ".exec", ".run", ".shell", ".test", ".singularity.d", "environment", "singularity",
	"dev", "etc", "home", "proc", "root", "sys", "tmp", "var", "var/tmp"}

// treeOf describes each entry below root as a line. What an ordinary user's unpacking cannot keep is left out: owners,
// devices, attributes but user.*; so is a directory's size, which is the file system's own.
func treeOf(t *testing.T, root string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	links := map[string]uint64{} // directory and inode → how many names in that directory
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, p)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
		line := fmt.Sprintf("%o", st.Mode)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			line += fmt.Sprintf(" size %d content %s", st.Size, contentSum(t, p, st.Mode))
			links[fmt.Sprintf("%s %d", filepath.Dir(name), st.Ino)]++
		case unix.S_IFCHR, unix.S_IFBLK:
			tree[name] = fmt.Sprintf("device %o %x", st.Mode, st.Rdev)
			return nil
		case unix.S_IFLNK:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		line += fmt.Sprintf(" mtime %d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
		if st.Mode&unix.S_IFMT != unix.S_IFLNK && st.Mode&0o400 != 0 {
			line += userAttributes(t, p)
		}
		tree[name] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, n := range links {
		if n > 1 {
			tree["names of one file in "+key[:strings.LastIndexByte(key, ' ')]] += fmt.Sprint(n, " ")
		}
	}
	return tree
}

// contentSum is a hash of a file's bytes. What its mode forbids its owner is read as the root of a user namespace.
func contentSum(t *testing.T, p string, mode uint32) string {
	t.Helper()
	h := sha256.New()
	if mode&0o400 == 0 {
		cmd := exec.Command("unshare", "-r", "cat", p)
		cmd.Stdout = h
		if err := cmd.Run(); err != nil {
			t.Fatalf("read %s: %v", p, err)
		}
	} else {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := io.Copy(h, f); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

func userAttributes(t *testing.T, p string) (text string) {
	t.Helper()
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, list)
	if err != nil {
		return ""
	}
	names := strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00")
	slices.Sort(names)
	for _, name := range names {
		// The second is umoci's note of the owner that an ordinary user cannot give to the file.
		if !strings.HasPrefix(name, "user.") || name == "user.rootlesscontainers" {
			continue
		}
		value := make([]byte, 1024)
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			t.Fatalf("attribute %s of %s: %v", name, p, err)
		}
		text += fmt.Sprintf(" %s=%q", name, value[:n])
	}
	return text
}

// compareTrees compares entry by entry; extra names may be in got only.
func compareTrees(t *testing.T, got, want map[string]string, extra []string) {
	t.Helper()
	shown, devices := 0, 0
	report := func(format string, args ...any) {
		if shown++; shown <= 20 {
			t.Errorf(format, args...)
		}
	}
	for name, line := range want {
		have, ok := got[name]
		switch {
		case !ok:
			report("%q is missing: %s", name, line)
		case strings.HasPrefix(have, "device ") && strings.Contains(line, " size 0 "): // an ordinary user cannot make one
			devices++
		case have != line:
			report("%q\n got %s\nwant %s", name, have, line)
		}
	}
	for name, line := range got {
		if _, ok := want[name]; ok {
			continue
		}
		if !slices.ContainsFunc(extra, func(e string) bool { return name == e || strings.HasPrefix(name, e+"/") && strings.HasPrefix(e, ".") }) {
			report("%q is too much: %s", name, line)
		}
	}
	if shown > 20 {
		t.Errorf("… and %d more", shown-20)
	}
	t.Logf("%d entries, %d of them devices that umoci cannot make", len(want), devices)
}

// unpack unpacks an image of a layout with umoci as an ordinary user.
func (s *site) unpack(t *testing.T, ociLayout string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	s.run(t, "umoci", "unpack", "--rootless", "--image", ociLayout, dir)
	t.Cleanup(func() {
		// Directories that their modes close would stop the clean-up of the test's directory.
		exec.Command("chmod", "-R", "u+rwX", dir).Run()
	})
	return filepath.Join(dir, "rootfs")
}
