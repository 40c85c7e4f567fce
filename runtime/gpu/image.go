package gpu

import (
	"debug/elf"
	"errors"
	"io"
	"os"
	"path"
	goruntime "runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// LookInto finds out about the image in a directory. It never fails: what is not found is unknown.
func LookInto(dir string) Image {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Image{}
	}
	defer unix.Close(fd)
	r := imageRoot(fd)
	image := Image{Arch: r.arch()}
	libraries := r.libraries()
	has := func(name string) bool {
		return slices.ContainsFunc(libraries, func(l Library) bool { return l.Name == name })
	}
	image.GLVND = has("libGLdispatch.so.0")
	for _, l := range libraries {
		if l.Name != "libc.so.6" || l.Hwcap != 0 {
			continue
		}
		if o, err := r.object(l.Path); err == nil && (image.Arch == Arch{} || o.Arch == image.Arch) && image.Glibc.Less(o.Has) {
			image.Glibc = o.Has
		}
	}
	return image
}

// imageRoot is an open directory inside which all links are followed.
type imageRoot int

func (r imageRoot) open(name string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(r), name, &how)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) { // EAGAIN: something was renamed meanwhile
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

func (r imageRoot) object(name string) (Object, error) {
	f, err := r.open(name)
	if err != nil {
		return Object{}, err
	}
	defer f.Close()
	return ReadObject(f)
}

// arch is that of a program which every image has, else the one that this program was built for.
func (r imageRoot) arch() Arch {
	for _, name := range []string{"/bin/sh", "/usr/bin/env", "/bin/bash", "/bin/busybox"} {
		if o, err := r.object(name); err == nil {
			return o.Arch
		}
	}
	switch goruntime.GOARCH {
	case "amd64":
		return Arch{elf.ELFCLASS64, elf.EM_X86_64}
	case "arm64":
		return Arch{elf.ELFCLASS64, elf.EM_AARCH64}
	}
	return Arch{}
}

// usualDirs are searched in images without a loader cache.
var usualDirs = []string{"/lib64", "/usr/lib64", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib", "/usr/lib"}

// cache is the image's loader cache, none if it has none that can be read.
func (r imageRoot) cache() []Library {
	f, err := r.open("/etc/ld.so.cache")
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCache))
	if err != nil {
		return nil
	}
	all, _ := ParseCache(data)
	return all
}

// libraries are those of the loader cache. Without one, the few that matter are looked for.
func (r imageRoot) libraries() []Library {
	found := r.cache()
	if len(found) > 0 {
		return found
	}
	for _, dir := range usualDirs {
		for _, name := range []string{"libc.so.6", "libGLdispatch.so.0"} {
			if f, err := r.open(dir + "/" + name); err == nil {
				f.Close()
				found = append(found, Library{Name: name, Path: dir + "/" + name})
			}
		}
	}
	return found
}

// LibraryDirs are the directories in which the loader of the image in dir finds libraries, in an order in which it finds
// the same ones; none if the image has no loader cache.
func LibraryDirs(dir string) []string {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	return orderDirs(imageRoot(fd).cache())
}

// orderDirs puts directories in an order that agrees with the cache: it is sorted by name, and of libraries of one name
// the first is taken.
func orderDirs(cache []Library) (dirs []string) {
	var left []string
	later := map[string][]string{} // directories that have to come before one
	for i, l := range cache {
		if l.Hwcap != 0 {
			continue // in a directory that the loader adds by itself
		}
		d := path.Dir(l.Path)
		if !slices.Contains(left, d) {
			left = append(left, d)
		}
		for j := i - 1; j >= 0 && cache[j].Name == l.Name; j-- {
			if e := path.Dir(cache[j].Path); cache[j].Hwcap == 0 && e != d {
				later[d] = append(later[d], e)
			}
		}
	}
	for len(left) > 0 {
		free := slices.IndexFunc(left, func(d string) bool {
			return !slices.ContainsFunc(later[d], func(e string) bool { return slices.Contains(left, e) })
		})
		free = max(free, 0) // a cache that contradicts itself
		dirs = append(dirs, left[free])
		left = slices.Delete(left, free, free+1)
	}
	return dirs
}
