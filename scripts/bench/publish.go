package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// publisher is what the section publish works on: a Debian image with numpy as tars, a registry, a repository.
type publisher struct {
	*fixture
	whole    string     // a tar of all of it
	size     int64      // bytes of whole
	layers   []v1.Layer // the image's two, compressed once
	registry string
	repos    int // made so far
}

// benchPublish measures the publisher: one tar, an image against the tools that copy and unpack it, small changes,
// nothing to do, many images of one base.
func benchPublish(f *fixture) error {
	for _, tool := range []string{"docker-registry", "skopeo", "umoci"} {
		if !have(tool) {
			fmt.Printf("%s is not installed: left out\n", tool)
			return nil
		}
	}
	p := &publisher{fixture: f}
	if err := os.Setenv("FLATHUB_CONFIG", filepath.Join(f.dir, "publish")); err != nil {
		return err
	}
	if err := p.pack(); err != nil {
		return err
	}
	stop, err := p.startRegistry()
	if err != nil {
		return err
	}
	defer stop()
	for _, step := range []func() error{p.oneTar, p.oneImage, p.manyImages} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// pack makes the tars: Python's tree is the upper layer.
func (p *publisher) pack() error {
	root, err := p.native()
	if err != nil {
		return err
	}
	upper, err := filepath.Glob(filepath.Join(root, "usr/lib/python3*"))
	if err != nil {
		return err
	}
	p.whole = filepath.Join(p.dir, "whole.tar")
	tars := []string{filepath.Join(p.dir, "lower.tar"), filepath.Join(p.dir, "upper.tar")}
	lower := []string{"-C", root, "-cf", tars[0]}
	over := []string{"-C", root, "-cf", tars[1]}
	for _, u := range upper {
		rel := "." + strings.TrimPrefix(u, root)
		lower = append(lower, "--exclude="+rel)
		over = append(over, rel)
	}
	for _, args := range [][]string{{"-C", root, "-cf", p.whole, "."}, append(lower, "."), over} {
		if err := command("tar", append([]string{"--owner=0", "--group=0", "--numeric-owner"}, args...)...).run(); err != nil {
			return err
		}
	}
	info, err := os.Stat(p.whole)
	if err != nil {
		return err
	}
	p.size = info.Size()
	for _, file := range tars {
		l, err := compress(file)
		if err != nil {
			return err
		}
		p.layers = append(p.layers, l)
	}
	return nil
}

// fresh makes an empty repository.
func (p *publisher) fresh() (fqrn, storage string, err error) {
	p.repos++
	fqrn = fmt.Sprintf("p%d.example.org", p.repos)
	storage = filepath.Join(p.dir, "hub", fqrn)
	return fqrn, storage, command(filepath.Join(p.bin, "flathub"), "init", fqrn, "--storage", storage).run()
}

// cost is what a run of flathub took.
type cost struct {
	took time.Duration
	cpu  time.Duration // of all cores
	peak int64         // bytes resident
}

func (p *publisher) flathub(args ...string) (c cost, err error) {
	cmd := exec.Command(filepath.Join(p.bin, "flathub"), args...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	c.took = time.Since(start)
	if err != nil {
		return c, fmt.Errorf("flathub %s: %w: %s", args[0], err, out)
	}
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.peak = usage.Maxrss << 10
	}
	return c, nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// oneTar publishes the whole tree out of one tar, into an empty repository each time.
func (p *publisher) oneTar() error {
	for range 3 {
		fqrn, storage, err := p.fresh()
		if err != nil {
			return err
		}
		c, err := p.flathub("publish", fqrn, "--from", p.whole, "--to", "/sw", "--quiet")
		if err != nil {
			return err
		}
		fmt.Printf("one tar of %.0f MB: %.1f s, %.0f MB/s; %.1f s of processors, peak %.0f MiB\n",
			float64(p.size)/1e6, c.took.Seconds(), float64(p.size)/1e6/c.took.Seconds(), c.cpu.Seconds(), mib(c.peak))
		if err := os.RemoveAll(storage); err != nil {
			return err
		}
	}
	return nil
}

// oneImage takes an image from the registry by three programs in turn, then a second tag of it.
func (p *publisher) oneImage() error {
	img, err := p.image("")
	if err != nil {
		return err
	}
	if err := p.push("bench/numpy:1", img); err != nil {
		return err
	}
	remote, oci, bundle := "docker://"+p.registry+"/bench/numpy:1", filepath.Join(p.dir, "oci"), filepath.Join(p.dir, "bundle")
	var peak int64
	var last string
	err = interleave(3,
		variant{"skopeo copy to an OCI layout", func() error {
			if err := os.RemoveAll(oci); err != nil {
				return err
			}
			return command("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", remote, "oci:"+oci+":1").run()
		}},
		variant{"umoci unpack of that layout", func() error {
			if err := p.removeTree(bundle); err != nil {
				return err
			}
			return command("umoci", "--log=error", "unpack", "--rootless", "--image", oci+":1", bundle).run()
		}},
		variant{"flathub convert", func() error {
			var err error
			if last, _, err = p.fresh(); err != nil {
				return err
			}
			c, err := p.flathub("convert", last, remote, "--plain-http", "--quiet")
			peak = max(peak, c.peak)
			return err
		}})
	if err != nil {
		return err
	}
	fmt.Printf("flathub's peak: %.0f MiB\n", mib(peak))
	return p.secondTag(last)
}

func (p *publisher) secondTag(fqrn string) error {
	img, err := p.image("second")
	if err != nil {
		return err
	}
	if err := p.push("bench/numpy:2", img); err != nil {
		return err
	}
	c, err := p.flathub("convert", fqrn, "docker://"+p.registry+"/bench/numpy:2", "--plain-http", "--quiet")
	if err != nil {
		return err
	}
	fmt.Printf("a second tag with one new layer of 1 MiB: %.2f s, peak %.0f MiB\n", c.took.Seconds(), mib(c.peak))
	c, err = p.flathub("convert", fqrn, "docker://"+p.registry+"/bench/numpy:2", "--plain-http", "--quiet")
	fmt.Printf("the same again, nothing new: %.2f s\n", c.took.Seconds())
	return err
}

// removeTree removes what umoci unpacked, closed directories included.
func (p *publisher) removeTree(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := command("chmod", "-R", "u+rwX", dir).run(); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// many is how many images of one base there are.
const many = 50

// manyImages syncs images of one base, each with a layer of its own, then twice as many wishes of which none is new.
func (p *publisher) manyImages() error {
	tags := make([]string, many)
	for i := range tags {
		tags[i] = fmt.Sprintf("%d", i)
		img, err := p.image("own" + tags[i])
		if err != nil {
			return err
		}
		for _, repository := range []string{"bench/many:", "bench/again:"} {
			if err := p.push(repository+tags[i], img); err != nil {
				return err
			}
		}
	}
	fqrn, storage, err := p.fresh()
	if err != nil {
		return err
	}
	list := filepath.Join(p.dir, "wishes.yaml")
	if err := p.wish(list, fqrn, "bench/many:*"); err != nil {
		return err
	}
	c, err := p.flathub("sync", list, "--quiet")
	if err != nil {
		return err
	}
	stored, err := treeSize(storage)
	if err != nil {
		return err
	}
	all := many * (p.size + 1<<20)
	fmt.Printf("%d images of one base: %.1f s, peak %.0f MiB; %.1f GB of trees in %.0f MB of objects: 1 to %.0f\n",
		many, c.took.Seconds(), mib(c.peak), float64(all)/1e9, float64(stored)/1e6, float64(all)/float64(stored))
	if err := p.wish(list, fqrn, "bench/many:*", "bench/again:*"); err != nil {
		return err
	}
	if c, err = p.flathub("sync", list, "--quiet"); err != nil {
		return err
	}
	fmt.Printf("%d more names of the same images: %.2f s\n", many, c.took.Seconds())
	for range 3 {
		if c, err = p.flathub("sync", list, "--quiet"); err != nil {
			return err
		}
		fmt.Printf("%d wishes, nothing new: %.2f s, peak %.0f MiB\n", 2*many, c.took.Seconds(), mib(c.peak))
	}
	return nil
}

func (p *publisher) wish(file, fqrn string, images ...string) error {
	text := fmt.Sprintf("version: 1\nuser: nobody\ncvmfs_repo: %s\noutput_format: '$(scheme)://%s/thin/$(image)'\ninput:\n", fqrn, p.registry)
	for _, i := range images {
		text += fmt.Sprintf("  - 'http://%s/%s'\n", p.registry, i)
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

func treeSize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
