package fusefs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/repotest"
)

// TestOfficial compares whole trees with what the official client showed of them.
func TestOfficial(t *testing.T) {
	for _, name := range repotest.OfficialNames {
		t.Run(name, func(t *testing.T) {
			if name == "bench.example.org" && testing.Short() {
				t.Skip("large")
			}
			if name != "hl.example.org" {
				skipUnderRace(t)
			}
			dir, key := repotest.Official(t, name)
			lines := map[string][]repotest.Line{}
			for _, l := range repotest.Lines(t, name) {
				lines[l.Rev] = append(lines[l.Rev], l)
			}
			for rev, want := range lines {
				t.Run(rev, func(t *testing.T) {
					cfg := repotest.Config(t, name, dir, key)
					if len(lines) > 1 {
						cfg.Tag = rev
					}
					m := mountConfig(t, cfg, nil)
					for _, problem := range differences(m.dir, want) {
						t.Error(problem)
					}
					if f := m.Failures(); len(f) > 0 {
						t.Errorf("requests failed: %+v", f)
					}
				})
			}
		})
	}
}

// maxProblems ends a comparison that fails throughout.
const maxProblems = 20

// differences compares the tree at root, which must be owned by this process's user, with the lines.
func differences(root string, want []repotest.Line) (problems []string) {
	complain := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	left := map[string]bool{}
	for _, l := range want {
		left[l.Path] = true
		if err := compareEntry(root, l); err != nil {
			complain("%q: %v", l.Path, err)
		}
		if len(problems) > maxProblems {
			return problems
		}
	}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, root)
		if errors.Is(err, fs.ErrPermission) { // root saw more
			for other := range left {
				if below(other, name) {
					delete(left, other)
				}
			}
			return fs.SkipDir
		}
		if err != nil || !left[name] {
			complain("%q should not be there: %v", name, err)
		}
		delete(left, name)
		return nil
	})
	if err != nil {
		complain("walk: %v", err)
	}
	for name := range left {
		complain("%q is not listed", name)
	}
	for _, err := range compareLinks(root, want) {
		complain("%v", err)
	}
	return problems
}

var types = map[byte]uint32{'f': unix.S_IFREG, 'd': unix.S_IFDIR, 'l': unix.S_IFLNK, 's': unix.S_IFSOCK, 'p': unix.S_IFIFO,
	'c': unix.S_IFCHR, 'b': unix.S_IFBLK}

func compareEntry(root string, l repotest.Line) error {
	path := root + l.Path
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	got := fmt.Sprintf("mode %o links %d time %d.%09d", st.Mode, st.Nlink, st.Mtim.Sec, st.Mtim.Nsec)
	want := fmt.Sprintf("mode %o links %d time %d.%09d", types[l.Type]|l.Mode, l.NLink, l.Mtime, l.MtimeNsec)
	if l.Type != 'd' {
		got += fmt.Sprintf(" size %d", st.Size)
		want += fmt.Sprintf(" size %d", l.Size)
		if b := 1 + st.Size/512; st.Blocks != b {
			return fmt.Errorf("%d blocks, want %d", st.Blocks, b)
		}
	}
	if l.Rdev != "" {
		got += fmt.Sprintf(" device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		want += " device " + l.Rdev
	}
	if got != want {
		return fmt.Errorf("got %s, want %s", got, want)
	}
	if int(st.Uid) != os.Getuid() || int(st.Gid) != os.Getgid() || st.Atim != st.Mtim || st.Ctim != st.Mtim || st.Blksize != 4096 {
		return fmt.Errorf("owner %d:%d, times %v %v %v, block size %d", st.Uid, st.Gid, st.Atim, st.Mtim, st.Ctim, st.Blksize)
	}
	if l.Type == 'l' {
		if to, err := os.Readlink(path); err != nil || to != l.Link {
			return fmt.Errorf("leads to %q, %v, want %q", to, err, l.Link)
		}
	}
	if l.SHA256 != "" {
		if err := compareBytes(path, l); err != nil {
			return err
		}
	}
	return compareXattrs(path, l)
}

func compareBytes(path string, l repotest.Line) error {
	sum, err := hashFile(path)
	if errors.Is(err, fs.ErrPermission) && l.Mode&0o400 == 0 {
		return nil // root saw more
	}
	if err != nil || sum != l.SHA256 {
		return fmt.Errorf("sha256 %s, %v, want %s", sum, err, l.SHA256)
	}
	return nil
}

// hashFile reads with system calls alone: the runtime's poller need not know of files that this process serves itself.
func hashFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	sum := sha256.New()
	buf := make([]byte, 1<<18)
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return "", err
		}
		if n == 0 {
			return fmt.Sprintf("%x", sum.Sum(nil)), nil
		}
		sum.Write(buf[:n])
	}
}

func compareXattrs(path string, l repotest.Line) error {
	if l.Path == "" {
		return nil // the root lists the magic ones, which the lines leave out
	}
	got, err := xattrs(path)
	if err != nil {
		return err
	}
	for name, value := range l.Xattrs {
		if strings.HasPrefix(name, "trusted.") { // only root sees them
			continue
		}
		if v, found := got[name]; !found || !bytes.Equal(v, value) {
			return fmt.Errorf("attribute %s is %x, want %x", name, v, value)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		return fmt.Errorf("has attributes it should not have: %q", got)
	}
	if l.Type != 'f' {
		return nil
	}
	for name, want := range map[string]string{"user.hash": l.Hash, "user.chunks": l.Chunks, "user.compression": l.Compression} {
		buf := make([]byte, 256)
		n, err := unix.Lgetxattr(path, name, buf)
		if errors.Is(err, syscall.EACCES) && l.Mode&0o400 == 0 {
			continue
		}
		if value := string(buf[:max(n, 0)]); want != "" && (err != nil || value != want) {
			return fmt.Errorf("attribute %s is %q, %v, want %q", name, value, err, want)
		}
	}
	return nil
}

func xattrs(path string) (map[string][]byte, error) {
	buf := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		return nil, fmt.Errorf("listxattr: %w", err)
	}
	all := map[string][]byte{}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 1<<12)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, fmt.Errorf("getxattr %s: %w", name, err)
		}
		all[name] = value[:n]
	}
	return all, nil
}

// compareLinks makes sure that names are one file where they were, and that no others are.
func compareLinks(root string, want []repotest.Line) (problems []error) {
	names := map[uint64][]string{}
	links := map[string]uint32{}
	for _, l := range want {
		var st unix.Stat_t
		if l.Type == 'd' || unix.Lstat(root+l.Path, &st) != nil {
			continue
		}
		names[st.Ino] = append(names[st.Ino], l.Path)
		links[l.Path] = l.NLink
	}
	for inode, same := range names {
		if n := links[same[0]]; int(n) != len(same) {
			problems = append(problems, fmt.Errorf("inode %d has %d names where %d are due: %q", inode, len(same), n, same))
		}
	}
	return problems
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
