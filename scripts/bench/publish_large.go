package main

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A large image is this machine's own programs and libraries, in as many layers: nothing has to be fetched for it.
const (
	largeLayers = 5
	largeLayer  = 256 << 20 // bytes of content, at least
)

// largeImage compares the same programs with an image of more than a gigabyte.
func (p *publisher) largeImage() error {
	var layers []v1.Layer
	next, stop := iter.Pull(walk("/usr"))
	defer stop()
	var size, files int64
	for i := range largeLayers {
		file := filepath.Join(p.dir, fmt.Sprintf("large%d.tar", i))
		n, bytes, err := pack(file, next, largeLayer)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		l, err := compress(file)
		if err != nil {
			return err
		}
		layers, size, files = append(layers, l), size+bytes, files+n
	}
	fmt.Printf("an image of %d files, %.2f GB, in %d layers\n", files, float64(size)/1e9, len(layers))
	return p.compare("bench/large", layers)
}

// walk yields the paths of a tree, without what is not for everybody's eyes.
func walk(root string) iter.Seq[string] {
	return func(yield func(string) bool) {
		filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
			if err == nil && !yield(p) {
				return fs.SkipAll
			}
			return nil
		})
	}
}

// pack writes the next entries into a tar until it has enough bytes of content.
func pack(file string, next func() (string, bool), enough int64) (files, size int64, err error) {
	out, err := os.Create(file)
	if err != nil {
		return 0, 0, err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	for size < enough {
		p, ok := next()
		if !ok {
			break
		}
		n, err := packFile(w, p)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", p, err)
		}
		files, size = files+1, size+n
	}
	if err := w.Close(); err != nil {
		return 0, 0, err
	}
	return files, size, out.Close()
}

// packFile adds one file; what cannot be read is left out.
func packFile(w *tar.Writer, p string) (int64, error) {
	info, err := os.Lstat(p)
	if err != nil {
		return 0, err
	}
	link := ""
	if info.Mode().Type() == fs.ModeSymlink {
		if link, err = os.Readlink(p); err != nil {
			return 0, err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return 0, nil // a socket
	}
	if h.Name = p[1:]; !info.Mode().IsRegular() {
		return 0, w.WriteHeader(h)
	}
	f, err := os.Open(p)
	if err != nil {
		return 0, nil
	}
	defer f.Close()
	if err := w.WriteHeader(h); err != nil {
		return 0, err
	}
	return io.CopyN(w, f, h.Size)
}
