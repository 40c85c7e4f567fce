package gpu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Places are where things are looked for. The zero value is the host's.
type Places struct {
	Cache string // loader cache; "" = /etc/ld.so.cache
	Path  string // search path of programs; "" = $PATH
	Root  string // put before patterns of files and devices, for tests
}

// maxCache bounds what is read: a large installation has some hundred kilobytes.
const maxCache = 64 << 20

// Look makes the inventory. A host without a driver has an empty one; an error means that the loader cache is there and
// cannot be read.
func Look(v Vendor, places Places) (Inventory, error) {
	var host Inventory
	all, err := loaderCache(places.Cache)
	if err != nil {
		return host, err
	}
	host.Libraries = wanted(v, all)
	host.Objects = make(map[string]Object, len(host.Libraries))
	for _, l := range host.Libraries {
		if o, err := ReadFile(l.Path); err == nil {
			host.Objects[l.Path] = o
		}
	}
	host.Programs = programs(v, places.Path)
	host.Files = existing(places.Root, v.Files)
	host.Devices = existing(places.Root, v.Devices)
	return host, nil
}

// HasDevice reports whether the host has a GPU of the vendor's, at the cost of a look into /dev.
func HasDevice(v Vendor, places Places) bool { return len(existing(places.Root, v.Probe)) > 0 }

func loaderCache(file string) ([]Library, error) {
	if file == "" {
		file = "/etc/ld.so.cache"
	}
	data, err := readLimited(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a system without a loader, such as a container of ours
	}
	if err != nil {
		return nil, fmt.Errorf("loader cache: %w", err)
	}
	all, err := ParseCache(data)
	if err == nil {
		return all, nil
	}
	listing, listErr := listCache(file)
	if listErr != nil {
		return nil, fmt.Errorf("loader cache %s: %w; ldconfig -p: %w", file, err, listErr)
	}
	return parseListing(listing), nil
}

func readLimited(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxCache {
		return nil, fmt.Errorf("%s has %d bytes", file, info.Size())
	}
	return os.ReadFile(file)
}

// listCache asks ldconfig, which is in a directory that users may not have in PATH.
func listCache(file string) (string, error) {
	program := "/sbin/ldconfig"
	if p, err := exec.LookPath("ldconfig"); err == nil {
		program = p
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-p", "-C", file)
	cmd.Env = []string{"LC_ALL=C"}
	out, err := cmd.Output()
	return string(out), err
}

// ReadFile is ReadObject for a file of the host.
func ReadFile(file string) (Object, error) {
	f, err := os.Open(file)
	if err != nil {
		return Object{}, err
	}
	defer f.Close()
	return ReadObject(f)
}

// programs finds each of the vendor's programs once.
func programs(v Vendor, search string) (found []string) {
	if search == "" {
		search = os.Getenv("PATH")
	}
	dirs := append(filepath.SplitList(search), v.Dirs...)
	for _, name := range v.Programs {
		for _, dir := range dirs {
			file := filepath.Join(dir, name)
			if info, err := os.Stat(file); filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				found = append(found, file)
				break
			}
		}
	}
	return found
}

// existing expands patterns. What is found keeps its path on the host.
func existing(root string, patterns []string) (found []string) {
	for _, p := range patterns {
		matches, _ := filepath.Glob(root + p) // the patterns are our own, and right
		for _, m := range matches {
			if m = strings.TrimPrefix(m, root); !slices.Contains(found, m) {
				found = append(found, m)
			}
		}
	}
	return found
}
