package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// publisher is what the section publish works on: a Debian image with numpy as tars, a registry, a repository.
type publisher struct {
	*fixture
	whole  string     // a tar of all of it
	size   int64      // bytes of whole
	layers []v1.Layer // the image's two, compressed once
	repos  int        // made so far
	places int        // used so far for what other programs make

	registry    string // HOST:PORT
	registryPID int
}

// benchPublish measures the publisher: one tar, a small and a large image against the tools that copy and unpack them,
// small changes, nothing to do, many images of one base.
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
	defer command("chmod", "-R", "u+rwX", p.dir).run() // closed directories of images, too, will be removed
	for _, step := range []func() error{p.oneTar, p.oneImage, p.largeImage, p.manyImages} {
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

// compress makes a layer of a tar, with the blob beside it: the library would compress it anew at each use.
func compress(file string) (v1.Layer, error) {
	if err := command("gzip", "-n", "-6", file).run(); err != nil {
		return nil, err
	}
	return tarball.LayerFromFile(file + ".gz")
}

// startRegistry starts docker-registry on a free port.
func (p *publisher) startRegistry() (stop func(), err error) {
	config := filepath.Join(p.dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: info, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: \"127.0.0.1:0\", secret: x}\n", filepath.Join(p.dir, "registry"))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command("docker-registry", "serve", config)
	out, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = cmd.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() { cmd.Process.Kill(); cmd.Wait() }
	ready := regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := ready.FindStringSubmatch(lines.Text()); m != nil {
			p.registry, p.registryPID = m[1], cmd.Process.Pid
			go io.Copy(io.Discard, out)
			return stop, nil
		}
	}
	stop()
	return nil, errors.New("docker-registry does not start")
}

// fresh makes an empty repository.
func (p *publisher) fresh() (fqrn, storage string, err error) {
	p.repos++
	fqrn = fmt.Sprintf("p%d.example.org", p.repos)
	storage = filepath.Join(p.dir, "hub", fqrn)
	return fqrn, storage, command(filepath.Join(p.bin, "flathub"), "init", fqrn, "--storage", storage).run()
}

// oneTar publishes the whole tree out of one tar, into an empty repository each time.
func (p *publisher) oneTar() error {
	for range 3 {
		fqrn, _, err := p.fresh()
		if err != nil {
			return err
		}
		c, err := p.flathub("publish", fqrn, "--from", p.whole, "--to", "/sw", "--quiet")
		if err != nil {
			return err
		}
		fmt.Printf("one tar of %.0f MB: %.1f s, %.0f MB/s; %.1f s of processors, peak %.0f MiB\n",
			float64(p.size)/1e6, c.took.Seconds(), float64(p.size)/1e6/c.took.Seconds(), c.cpu.Seconds(), mib(c.peak))
	}
	return nil
}
