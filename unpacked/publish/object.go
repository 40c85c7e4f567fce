package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/deflate"
)

// objectStore is a Storage with how new objects are made for it.
type objectStore struct {
	storage     Storage
	algorithm   cas.Algorithm
	compression cas.Compression // of file contents; all else is zlib
}

// object returns the stored form of data and its hash. The form lies in out if
// that has room for deflate.Bound, or is data itself. pieces are of data, or nil.
func (s objectStore) object(data, out []byte, pieces *deflate.Pieces) (stored []byte, h cas.Hash, err error) {
	stored = data
	if s.compression == cas.Zlib {
		if stored, _, err = deflate.Splice(out, data, pieces); err != nil {
			return nil, cas.Hash{}, err
		}
	}
	return stored, cas.Sum(s.algorithm, stored), nil
}

// newPutter is a Storage that knows a better way than Has and Put.
type newPutter interface {
	putNew(ctx context.Context, name string, r io.Reader, size int64) (stored bool, err error)
}

// add stores an object unless it is there and returns the bytes that it stored.
// One of another size is the rest of a power failure and is replaced.
func (s objectStore) add(ctx context.Context, name string, r io.Reader, size int64) (int64, error) {
	if p, ok := s.storage.(newPutter); ok {
		stored, err := p.putNew(ctx, name, r, size)
		if !stored {
			size = 0
		}
		return size, err
	}
	if ok, err := s.has(ctx, name, size); ok || err != nil {
		return 0, err
	}
	return size, s.storage.Put(ctx, name, r, size, Data)
}

// has tells whether an object is there, and of that size.
func (s objectStore) has(ctx context.Context, name string, size int64) (bool, error) {
	have, ok, err := s.storage.Has(ctx, name)
	if err != nil {
		return false, fmt.Errorf("look for object: %w", err)
	}
	return ok && have == size, nil
}

// putFile stores the file f compressed, as a catalog or history is, and returns
// its name. The compressed form passes through a scratch file beside f.
func (s objectStore) putFile(ctx context.Context, f string, suffix cas.Suffix) (h cas.Hash, err error) {
	in, err := os.Open(f)
	if err != nil {
		return cas.Hash{}, err
	}
	defer in.Close()
	out, err := os.Create(f + ".z")
	if err != nil {
		return cas.Hash{}, err
	}
	defer func() { err = errors.Join(err, out.Close(), os.Remove(out.Name())) }()
	sum := s.algorithm.New()
	z := deflate.NewWriter(io.MultiWriter(out, sum))
	if _, err = io.Copy(z, in); err == nil {
		err = z.Close()
	}
	if err != nil {
		return cas.Hash{}, err
	}
	size, err := out.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = out.Seek(0, io.SeekStart)
	}
	if err != nil {
		return cas.Hash{}, err
	}
	if h, err = cas.NewHash(s.algorithm, sum.Sum(nil)); err != nil {
		return cas.Hash{}, err
	}
	_, err = s.add(ctx, cas.Object{Hash: h, Suffix: suffix}.Name(), out, size)
	return h, err
}

// putBytes stores a small object compressed: a certificate, the metainfo. The official replication unpacks these two and
// packs them again under the same name, so they must be what zlib makes of them.
func (s objectStore) putBytes(ctx context.Context, b []byte, suffix cas.Suffix) (h cas.Hash, err error) {
	var stored []byte
	if len(b) <= deflate.MaxExact {
		stored = deflate.Exact(b)
		h = cas.Sum(s.algorithm, stored)
	} else {
		s.compression = cas.Zlib
		if stored, h, err = s.object(b, nil, nil); err != nil {
			return h, err
		}
	}
	_, err = s.add(ctx, cas.Object{Hash: h, Suffix: suffix}.Name(), bytes.NewReader(stored), int64(len(stored)))
	return h, err
}
