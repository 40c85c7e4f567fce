package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// realMade is when the files of made-up layers were changed: a time with a fraction.
var realMade = time.Date(2020, 2, 29, 12, 30, 1, 123456789, time.UTC)

// realEntry is a line of a made-up layer.
type realEntry struct {
	name string
	typ  byte
	mode int64
	text string // content, or a link's target
	pax  map[string]string
}

func realTar(t *testing.T, entries ...realEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.typ, Mode: e.mode, ModTime: realMade, PAXRecords: e.pax, Format: tar.FormatPAX}
		if e.typ == 0 {
			h.Typeflag = tar.TypeReg
		}
		text := e.text
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(text))
		} else {
			h.Linkname, text = text, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const realDir, realSym, realHard, realFifo = tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo

// oddFiles are a layer of everything a tar may hold.
func oddFiles() []realEntry {
	long := strings.Repeat("n", 255)
	entries := []realEntry{
		{"opt/", realDir, 0o755, "", nil},
		{"opt/odd/", realDir, 0o755, "", nil},
		{"opt/odd/plain", 0, 0o644, "plain\n", nil},
		{"opt/odd/empty", 0, 0o644, "", nil},
		{"opt/odd/large", 0, 0o644, strings.Repeat("0123456789abcdef", 1<<16) + "end", nil},
		{"opt/odd/suid", 0, 0o4755, "suid\n", nil},
		{"opt/odd/sgid", 0, 0o2755, "sgid\n", nil},
		{"opt/odd/none", 0, 0, "nobody may\n", nil},
		{"opt/odd/mine", 0, 0o400, "mine\n", nil},
		{"opt/odd/setgid/", realDir, 0o2775, "", nil},
		{"opt/odd/sticky/", realDir, 0o1777, "", nil},
		{"opt/odd/closed/", realDir, 0o700, "", nil},
		{"opt/odd/closed/in", 0, 0o600, "in\n", nil},
		{"opt/odd/fifo", realFifo, 0o640, "", nil},
		{"opt/odd/link", realSym, 0o777, "plain", nil},
		{"opt/odd/absolute", realSym, 0o777, "/opt/odd/plain", nil},
		{"opt/odd/dangling", realSym, 0o777, "../../../../../../nowhere", nil},
		{"opt/odd/hard", realHard, 0o644, "opt/odd/plain", nil},
		{"opt/odd/third", realHard, 0o644, "opt/odd/plain", nil},
		{"opt/odd/cap", 0, 0o755, "cap\n", map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}},
		{"opt/odd/note", 0, 0o644, "note\n", map[string]string{"SCHILY.xattr.user.note": "a b\x00c"}},
		{"opt/odd/\xff\xfe", 0, 0o644, "not UTF-8\n", nil},
		{"opt/odd/ünï-文", 0, 0o644, "UTF-8\n", nil},
		{"opt/odd/two\nlines", 0, 0o644, "newline\n", nil},
		{"opt/odd/-rf *", 0, 0o644, "dash\n", nil},
		{"opt/odd/" + long, 0, 0o644, "long\n", nil},
		{"opt/odd/wh.not", 0, 0o644, "no whiteout\n", nil},
		{"opt/gone", 0, 0o644, "x", nil},
		{"opt/gonedir/", realDir, 0o755, "", nil},
		{"opt/gonedir/x", 0, 0o644, "x", nil},
		{"opt/hidden/", realDir, 0o755, "", nil},
		{"opt/hidden/old", 0, 0o644, "x", nil},
		{"opt/emptied/", realDir, 0o2710, "", nil},
		{"opt/emptied/old", 0, 0o644, "x", nil},
		{"opt/turned/", realDir, 0o755, "", nil},
		{"opt/turned/in", 0, 0o644, "x", nil},
		{"opt/turns", 0, 0o644, "x", nil},
		{"opt/both/", realDir, 0o755, "", nil},
		{"opt/both/left", 0, 0o644, "pair", nil},
		{"opt/both/right", realHard, 0o644, "opt/both/left", nil},
		{"usr/share/doc/", realDir, 0o755, "", nil},
		{"usr/share/doc/old", 0, 0o644, "x", nil},
		{"opt/ln", realSym, 0o777, "odd", nil},
	}
	for i := 1; i <= 60; i++ {
		entries = append(entries, realEntry{"opt/odd/" + strings.Repeat("deep/", i), realDir, 0o755, "", nil})
	}
	return append(entries, realEntry{"opt/odd/" + strings.Repeat("deep/", 60) + "file", 0, 0o644, "deep\n", nil})
}

// changedFiles are a layer over oddFiles that removes and changes.
func changedFiles() []realEntry {
	return []realEntry{
		{"opt/", realDir, 0o751, "", nil},
		{"opt/.wh.gone", 0, 0o644, "", nil},
		{"opt/.wh.gonedir", 0, 0o644, "", nil},
		{"opt/hidden/", realDir, 0o750, "", nil},
		{"opt/hidden/.wh..wh..opq", 0, 0o644, "", nil},
		{"opt/hidden/new", 0, 0o644, "new\n", nil},
		{"opt/emptied/.wh..wh..opq", 0, 0o644, "", nil},
		{"opt/turned", 0, 0o644, "a file now\n", nil},
		{"opt/turns/", realDir, 0o755, "", nil},
		{"opt/turns/in", 0, 0o644, "a directory now\n", nil},
		{"opt/both/", realDir, 0o755, "", nil},
		{"opt/both/.wh.left", 0, 0o644, "", nil},
		{"opt/odd/", realDir, 0o755, "", nil},
		{"opt/odd/plain", 0, 0o600, "another\n", nil},
		{"opt/odd/lower", realHard, 0o644, "opt/odd/empty", nil},
		{"opt/lower", realHard, 0o644, "opt/ln/note", nil},
		{"opt/oldplain", realHard, 0o644, "opt/odd/hard", nil},
		{"opt/oldlink", realHard, 0o777, "opt/odd/dangling", nil},
		{"opt/ln/through", 0, 0o644, "through a lower layer's link\n", nil},
		{"usr/share/doc/", realDir, 0o755, "", nil},
		{"usr/share/doc/.wh..wh..opq", 0, 0o644, "", nil},
		{"usr/share/doc/new", 0, 0o644, "new\n", nil},
	}
}

func realLayer(t *testing.T, b []byte, how compression.Compression) v1.Layer {
	t.Helper()
	if how == compression.None {
		return plainLayer(b)
	}
	media := map[compression.Compression]types.MediaType{compression.GZip: types.OCILayer, compression.ZStd: types.OCILayerZStd}[how]
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil },
		tarball.WithCompression(how), tarball.WithMediaType(media), tarball.WithCompressionLevel(1))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// plainLayer is a layer that is not compressed at all.
type plainLayer []byte

func (l plainLayer) Digest() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(l))
	return h, err
}
func (l plainLayer) DiffID() (v1.Hash, error)             { return l.Digest() }
func (l plainLayer) Compressed() (io.ReadCloser, error)   { return io.NopCloser(bytes.NewReader(l)), nil }
func (l plainLayer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }
func (l plainLayer) Size() (int64, error)                 { return int64(len(l)), nil }
func (l plainLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }

// realImage is an image of a platform; name tells it from others of the same layers.
func realImage(t *testing.T, name, arch string, layers ...v1.Layer) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(img, layers...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: realMade}
	config.Config.Cmd = []string{"/bin/sh"}
	config.Config.Env = []string{"PATH=/usr/bin:/bin", "IMAGE_NAME=" + name}
	config.Config.Labels = map[string]string{"name": name}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// push writes the image into an OCI layout and pushes that with skopeo; it answers the layout's name for umoci.
func (s *site) push(t *testing.T, name string, img v1.Image) (ociLayout string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "oci")
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "it"})); err != nil {
		t.Fatal(err)
	}
	s.run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false", "oci:"+dir+":it", "docker://"+s.registry+"/"+name)
	return dir + ":it"
}

// debian is a root file system of Debian's python3 as a tar. Where no mirror can be reached, there is a busybox instead.
func debian(t *testing.T) (tarball []byte, python bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rootfs.tar")
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Log(err)
	} else if out, err := exec.Command("mmdebstrap", "--quiet", "--variant=extract", "--include=python3,dash,coreutils,base-files", "bookworm", file).CombinedOutput(); err != nil {
		t.Logf("mmdebstrap: %v: %s", err, out)
	} else if b, err := os.ReadFile(file); err == nil {
		return b, true
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("neither mmdebstrap nor busybox gives a root file system: see scripts/setup")
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	entries := []realEntry{{"bin/", realDir, 0o755, "", nil}, {"bin/busybox", 0, 0o755, string(b), nil}, {"usr/", realDir, 0o755, "", nil}, {"usr/share/", realDir, 0o755, "", nil}}
	for _, name := range []string{"dash", "cat", "ls", "stat"} {
		entries = append(entries, realEntry{"bin/" + name, realSym, 0o777, "busybox", nil})
	}
	return realTar(t, entries...), false
}
