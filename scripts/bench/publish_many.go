package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// many is how many images of one base there are.
const many = 50

// manyImages syncs images of one base, each with a layer of its own, then twice as many wishes of which none is new.
func (p *publisher) manyImages() error {
	tags := make([]string, many)
	for i := range tags {
		tags[i] = fmt.Sprintf("%d", i)
		img, err := image(p.layers, "own"+tags[i])
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
