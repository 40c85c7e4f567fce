package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// image is an image of layers; own makes a further one of a mebibyte, "" none.
func image(layers []v1.Layer, own string) (v1.Image, error) {
	layers = slices.Clone(layers)
	if own != "" {
		l, err := smallLayer(own)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Cmd: []string{"python3"}, Labels: map[string]string{"own": own}}
	return mutate.ConfigFile(img, config)
}

func smallLayer(own string) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	content := bytes.Repeat([]byte(own+"\n"), (1<<20)/(len(own)+1))
	if err := w.WriteHeader(&tar.Header{Name: "opt/" + own, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1e9, 0)}); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}

func (p *publisher) push(ref string, img v1.Image) error {
	r, err := name.ParseReference(p.registry+"/"+ref, name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(r, img)
}

// oneImage takes the image with numpy from the registry.
func (p *publisher) oneImage() error { return p.compare("bench/numpy", p.layers) }

// compare takes an image from the registry by three programs in turn, then a second tag of it.
func (p *publisher) compare(repository string, layers []v1.Layer) error {
	img, err := image(layers, "")
	if err != nil {
		return err
	}
	if err := p.push(repository+":1", img); err != nil {
		return err
	}
	remote := "docker://" + p.registry + "/" + repository + ":1"
	// Nothing is removed between the rounds: for minutes ext4 searches long for inodes that were not in use just before.
	fresh := func(name string) string {
		p.places++
		return filepath.Join(p.dir, fmt.Sprintf("%s%d", name, p.places))
	}
	var oci, last string
	err = contest(3,
		contestant{"skopeo copy to an OCI layout", func() (cost, error) {
			oci = fresh("oci")
			return p.measure("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", remote, "oci:"+oci+":1")
		}},
		contestant{"umoci unpack of that layout", func() (cost, error) {
			return p.measure("umoci", "--log=error", "unpack", "--rootless", "--image", oci+":1", fresh("bundle"))
		}},
		contestant{"flathub convert", func() (c cost, err error) {
			if last, _, err = p.fresh(); err != nil {
				return c, err
			}
			return p.flathub("convert", last, remote, "--plain-http", "--quiet")
		}})
	if err != nil {
		return err
	}
	return p.secondTag(last, repository+":2", layers)
}

func (p *publisher) secondTag(fqrn, ref string, layers []v1.Layer) error {
	img, err := image(layers, "second")
	if err != nil {
		return err
	}
	if err := p.push(ref, img); err != nil {
		return err
	}
	c, err := p.flathub("convert", fqrn, "docker://"+p.registry+"/"+ref, "--plain-http", "--quiet")
	if err != nil {
		return err
	}
	fmt.Printf("a second tag with one new layer of 1 MiB: %.2f s, peak %.0f MiB\n", c.took.Seconds(), mib(c.peak))
	c, err = p.flathub("convert", fqrn, "docker://"+p.registry+"/"+ref, "--plain-http", "--quiet")
	fmt.Printf("the same again, nothing new: %.2f s\n", c.took.Seconds())
	return err
}
