// Package cas holds content-addressed objects: their names, the local cache, and verified fetching.
//
// An object is a sequence of bytes named by the hash of its stored form, which is zlib-compressed or plain. A Fetcher
// delivers stored bytes of unknown honesty; a Store opens objects that are verified and decompressed. Remote makes the
// one into the other and keeps the result in a Cache. Bytes get their name in the cache only after hash and size matched.
package cas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrCorrupt marks bytes that are not what their name promises: another hash, another size, or no valid zlib stream.
var ErrCorrupt = errors.New("corrupt object")

// ErrDenied marks what the servers of a repository that is not open to all keep from this user.
var ErrDenied = errors.New("access denied")

// Request names a file below a repository's URL, or a part of it.
type Request struct {
	Name           string // "data/ab/cd…", ".cvmfspublished"; for external data the path in the repository
	Offset, Length int64  // a range of bytes; 0, 0 is the whole file
	NoCache        bool   // proxies are to ask the server again
}

// A Fetcher delivers files of a repository as they are stored. Nothing about the bytes has been verified.
//
// The error matches fs.ErrNotExist when the source says that it has no such file. The reader ends with io.EOF only
// where the source says that the file or range ends; a transfer that was cut gives another error. Close may be called
// before the end. Fetchers are safe for concurrent use.
type Fetcher interface {
	Fetch(ctx context.Context, r Request) (io.ReadCloser, error)
}

// A Body is what a Fetcher may return in order to hear about wrong bytes. Source says where they came from, for messages;
// Reject turns the Fetcher away from there and reports whether another source will be asked from now on.
type Body interface {
	io.ReadCloser
	Source() string
	Reject(reason error) bool
}

// A Store opens verified, decompressed objects. The file is open for reading only and has its own offset; it stays readable
// when the object is evicted. Stores are safe for concurrent use.
type Store interface {
	Open(ctx context.Context, o Object) (*os.File, error)
}

// Dir is a Fetcher over a local directory that holds a repository as a web server would serve it.
type Dir string

// Fetch opens the file.
func (d Dir) Fetch(ctx context.Context, r Request) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("fetch %s: %w", r.Name, err)
	}
	name := filepath.FromSlash(strings.TrimPrefix(r.Name, "/"))
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("fetch %q: %w: not a path below %s", r.Name, fs.ErrInvalid, string(d))
	}
	f, err := os.Open(filepath.Join(string(d), name))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", r.Name, err)
	}
	if r.Offset == 0 && r.Length == 0 {
		return f, nil
	}
	return &section{io.NewSectionReader(f, r.Offset, r.Length), f, r.Length}, nil
}

// section reads a range of a file and insists on all of it.
type section struct {
	r    *io.SectionReader
	f    *os.File
	left int64
}

func (s *section) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.left -= int64(n)
	if err == io.EOF && s.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (s *section) Close() error { return s.f.Close() }
