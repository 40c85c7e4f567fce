package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// fixture is a repository with a Debian image that has Python and numpy, served on loopback, and a configuration of
// flatrun that reads it.
type fixture struct {
	dir     string // everything of this run
	bin     string // bin/ of the module
	repo    string // FQRN
	image   string // path of the image in the repository, without the leading slash
	storage string // the served directory, which holds FQRN/
	host    string
	port    string
	key     string // file of the public key
	server  *http.Server
	meter   *meter
}

// newFixture takes the official repository ../shared/data/bench.example.org.tar where it is, else publishes an image
// made from Debian packages with flathub.
func newFixture() (*fixture, error) {
	dir, err := os.MkdirTemp("", "flatrun-bench.")
	if err != nil {
		return nil, err
	}
	bin, err := filepath.Abs("bin")
	if err != nil {
		return nil, err
	}
	f := &fixture{dir: dir, bin: bin, storage: filepath.Join(dir, "srv")}
	if err := f.fill(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *fixture) fill() error {
	if err := os.MkdirAll(f.storage, 0o755); err != nil {
		return err
	}
	official := "../shared/data/bench.example.org.tar"
	f.key = filepath.Join(f.storage, "bench.example.org.pub")
	f.repo, f.image = "bench.example.org", "registry.example.org/library/python-numpy:latest"
	if _, err := os.Stat(official); err == nil {
		if err := command("tar", "-C", f.storage, "-xf", official).run(); err != nil {
			return fmt.Errorf("unpack %s: %w", official, err)
		}
	} else if err := f.publish(); err != nil {
		return err
	} else {
		f.key = filepath.Join(f.dir, "hub", "keys", f.repo+".pub")
	}
	if err := f.serve(); err != nil {
		return err
	}
	return f.configure()
}

// publish makes the image and the repository.
func (f *fixture) publish() error {
	tar := filepath.Join(f.dir, "rootfs.tar")
	if err := command("mmdebstrap", "--quiet", "--variant=extract", "--skip=output/dev", "--include=python3-numpy,dash,coreutils", "bookworm", tar).run(); err != nil {
		return fmt.Errorf("make an image: %w", err)
	}
	if err := os.Setenv("FLATHUB_CONFIG", filepath.Join(f.dir, "hub")); err != nil {
		return err
	}
	hub := filepath.Join(f.bin, "flathub")
	if err := command(hub, "init", f.repo, "--storage", filepath.Join(f.storage, f.repo)).run(); err != nil {
		return err
	}
	return command(hub, "publish", f.repo, "--from", tar, "--to", "/"+f.image).run()
}

func (f *fixture) serve() error {
	f.host = "127.0.0.1"
	if os.Getenv("BENCH_IN_NETWORK") != "" {
		f.host = "0.0.0.0" // the address that clients see comes with the network
	}
	l, err := net.Listen("tcp", f.host+":0")
	if err != nil {
		return err
	}
	_, f.port, _ = net.SplitHostPort(l.Addr().String())
	if f.host == "0.0.0.0" {
		f.host = serverAddr
	}
	f.meter = &meter{next: http.FileServer(http.Dir(f.storage))}
	f.server = &http.Server{Handler: f.meter}
	go f.server.Serve(l)
	return nil
}

// configText takes repository, host, port, key, repository, cache directory, idle time.
const configText = `repositories:
  %s:
    servers: ["http://%s:%s/@fqrn@"]
    public_keys: [%q]
    proxies: DIRECT
images: {search: [%s]}
cache: {dir: %q, limit: 20GB}
session: {idle: %s}
`

func (f *fixture) configure() error {
	text := fmt.Sprintf(configText, f.repo, f.host, f.port, f.key, f.repo, filepath.Join(f.dir, "cache"), "20s")
	path := filepath.Join(f.dir, "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Setenv("FLATRUN_CONFIG", path)
}

// flatrun is a run of the built program.
func (f *fixture) flatrun(args ...string) variantRun {
	return command(filepath.Join(f.bin, "flatrun"), args...)
}

// mount puts the repository on a directory of the host and gives the way to take it away.
func (f *fixture) mount() (dir string, umount func(), err error) {
	dir = filepath.Join(f.dir, "mnt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	if err := f.flatrun("mount", f.repo, dir).run(); err != nil {
		return "", nil, err
	}
	return dir, func() { exec.Command(filepath.Join(f.bin, "flatrun"), "umount", dir).Run() }, nil
}

// native copies the image out of the mount onto the local file system, once.
func (f *fixture) native() (string, error) {
	dir := filepath.Join(f.dir, "native")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	mnt, umount, err := f.mount()
	if err != nil {
		return "", err
	}
	defer umount()
	root, err := filepath.EvalSymlinks(filepath.Join(mnt, f.image))
	if err != nil {
		return "", err
	}
	// Files without a read bit and device nodes are not an ordinary user's to copy: neither is in the measured image.
	return dir, command("cp", "-a", "--no-preserve=ownership", root, dir).run()
}

func (f *fixture) close() {
	if f.server != nil {
		f.server.Close()
	}
	os.RemoveAll(f.dir)
}
