package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// benchFiles compares a warm mount with the same tree on the local file system.
func benchFiles(f *fixture) error {
	root, err := f.native()
	if err != nil {
		return err
	}
	mnt, umount, err := f.mount()
	if err != nil {
		return err
	}
	defer umount()
	ours, err := filepath.EvalSymlinks(filepath.Join(mnt, f.image))
	if err != nil {
		return err
	}
	small, large, err := sizes(root)
	if err != nil {
		return err
	}
	for _, m := range []struct {
		name string
		once func(root string) error
	}{
		{"find -ls", func(r string) error { return exec.Command("find", r, "-ls").Run() }},
		{fmt.Sprintf("open+read %d small files", len(small)), func(r string) error { return readAll(r, small) }},
		{fmt.Sprintf("read %d large files", len(large)), func(r string) error { return readAll(r, large) }},
	} {
		fmt.Println(m.name)
		if err := interleave(7, variant{"native", func() error { return m.once(root) }},
			variant{"repository", func() error { return m.once(ours) }}); err != nil {
			return err
		}
	}
	return printSecondWalk(f, ours)
}

// sizes lists the regular files below root: small ones (≤ 64 KiB, at most 10,000) and large ones (≥ 1 MiB).
func sizes(root string) (small, large []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(path, root)
		switch {
		case info.Mode().Perm()&0o400 == 0:
		case info.Size() <= 64<<10 && len(small) < 10000:
			small = append(small, rel)
		case info.Size() >= 1<<20:
			large = append(large, rel)
		}
		return nil
	})
	return small, large, err
}

// readAll reads files with the system calls that a C program makes: package os would hand each of them to epoll, which
// ext4 refuses and FUSE does not.
func readAll(root string, names []string) error {
	buf := make([]byte, 1<<20)
	for _, n := range names {
		fd, err := unix.Open(root+n, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", root+n, err)
		}
		for {
			got, err := unix.Read(fd, buf)
			if err != nil {
				unix.Close(fd)
				return fmt.Errorf("read %s: %w", root+n, err)
			}
			if got == 0 {
				break
			}
		}
		unix.Close(fd)
	}
	return nil
}

// printSecondWalk counts the FUSE requests of one more walk over a tree that the kernel knows by now: none, if time-outs and
// caching are right, whatever the machine's load.
func printSecondWalk(f *fixture, root string) error {
	before, err := requests(f)
	if err != nil {
		return err
	}
	if err := exec.Command("find", root, "-ls").Run(); err != nil {
		return err
	}
	after, err := requests(f)
	if err != nil {
		return err
	}
	fmt.Print("requests of one more find -ls:")
	for _, kind := range slices.Sorted(maps.Keys(after)) {
		if n := after[kind] - before[kind]; n != 0 || kind == "LOOKUP" || kind == "GETATTR" || kind == "OPEN" {
			fmt.Printf(" %s %d", kind, n)
		}
	}
	fmt.Println()
	return nil
}

// requests are the counters of the mount on the host.
func requests(f *fixture) (map[string]int64, error) {
	out, err := exec.Command(filepath.Join(f.bin, "flatrun"), "status", "--json").Output()
	if err != nil {
		return nil, fmt.Errorf("flatrun status: %w", err)
	}
	var sessions []struct {
		Host   bool
		Mounts []struct{ Requests map[string]int64 }
	}
	if err := json.Unmarshal(out, &sessions); err != nil {
		return nil, fmt.Errorf("flatrun status: %w", err)
	}
	for _, s := range sessions {
		if s.Host && len(s.Mounts) > 0 {
			return s.Mounts[0].Requests, nil
		}
	}
	return nil, errors.New("flatrun status does not show the mount")
}
