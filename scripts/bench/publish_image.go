package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
			p.registry = m[1]
			go io.Copy(io.Discard, out)
			return stop, nil
		}
	}
	stop()
	return nil, errors.New("docker-registry does not start")
}

// image is the layers' image; own makes a further layer of a mebibyte, "" none.
func (p *publisher) image(own string) (v1.Image, error) {
	layers := slices.Clone(p.layers)
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
