package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// fileSystems are the types worth telling apart, by the kernel's magic numbers.
var fileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.NFS_SUPER_MAGIC: "nfs", unix.FUSE_SUPER_MAGIC: "fuse", 0x0bd00bd0: "lustre",
	0x47504653: "gpfs", 0x19830326: "beegfs", 0x00c36400: "cephfs", unix.AFS_SUPER_MAGIC: "afs", 0x2fc12fc1: "zfs",
}

// shared file systems serve many nodes: a cache there works, but slowly.
var shared = []string{"nfs", "lustre", "gpfs", "beegfs", "cephfs", "afs", "fuse"}

// leastFree is the room below which a cache is of little use.
const leastFree = 1 << 30

// Cache looks at the directory of the cache of objects, which need not exist yet.
func Cache(dir string) Result {
	const advice = "set cache.dir or FLATRUN_CACHE_DIR to a directory on a local disk that you may write to"
	r := Result{Name: "cache", State: OK, Detail: dir}
	existing := existingDir(dir)
	var s unix.Statfs_t
	if err := unix.Statfs(existing, &s); err != nil {
		r.State, r.Reason, r.Advice = Failed, err.Error(), advice
		return r
	}
	kind := fileSystem(s)
	free := s.Bavail * uint64(s.Bsize)
	r.Detail = fmt.Sprintf("%s on %s, %.1f GB free", dir, kind, float64(free)/1e9)
	switch err := writable(existing); {
	case err != nil:
		r.State, r.Reason, r.Advice = Failed, reason(err), advice
	case free < leastFree:
		r.State, r.Advice = Warning, "make room, or set cache.dir to another disk"
	case slices.Contains(shared, kind):
		r.State, r.Advice = Warning, "a cache on a shared file system is slow: set cache.dir to a local disk"
	}
	return r
}

// FileSystem names the type of the file system that path is on, "" where that cannot be told.
func FileSystem(path string) string {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return ""
	}
	return fileSystem(s)
}

func fileSystem(s unix.Statfs_t) string {
	if kind, ok := fileSystems[int64(s.Type)]; ok {
		return kind
	}
	return fmt.Sprintf("file system type %#x", s.Type)
}

// existingDir is dir or the nearest directory above it that exists.
func existingDir(dir string) string {
	for {
		info, err := os.Stat(dir)
		if up := filepath.Dir(dir); err != nil || !info.IsDir() {
			if up != dir {
				dir = up
				continue
			}
		}
		return dir
	}
}

// writable makes a file in dir and removes it.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".flatrun-doctor-*")
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}
