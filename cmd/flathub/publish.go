package main

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked/layer"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// publishOptions are the flags of publish.
type publishOptions struct {
	place
	commitFlags
	layerFlags
	from, to string
	owner    string
	catalog  bool
}

func publishVerb() verb {
	var o publishOptions
	return verb{
		name: "publish", operands: "FQRN --from DIR|TAR --to /PATH", min: 1, max: 1,
		short: "publish a directory or an archive as the tree at a path",
		long: `
What is at PATH is replaced; directories above it are made. A tar may be plain or compressed
with gzip or zstd; - is standard input. Nothing is unpacked: contents are compressed and
stored as they pass by. Owners, times, hard links, extended attributes and device nodes are
kept. A file .cvmfscatalog in a directory gives it a catalog of its own; large trees are
divided without.`,
		examples: `
flathub publish sw.example.org --from build/root --to /gcc/14.2
zcat rootfs.tar.gz | flathub publish sw.example.org --from - --to /images/base --tag base-1`,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&o.from, "from", "", "directory, tar file or - (standard input)")
			f.StringVar(&o.to, "to", "", "absolute path in the repository; / replaces everything")
			f.StringVar(&o.owner, "owner", "", "UID:GID of all files (default: as they are)")
			f.BoolVar(&o.catalog, "catalog", false, "give the tree a catalog of its own")
			o.layerFlags.add(f)
			o.commitFlags.add(f)
			o.place.addWriter(f)
		},
		run: func(ctx context.Context, a *app, args []string) error {
			if o.from == "" || !strings.HasPrefix(o.to, "/") {
				return usageError{"publish", "publish needs --from DIR|TAR and --to /PATH"}
			}
			if slices.Contains(strings.Split(o.to, "/"), "..") { // what it comes to may be the root, which replaces everything
				return usageError{"publish", fmt.Sprintf("publish --to %s: want a path without ..", o.to)}
			}
			return a.publish(ctx, args[0], o)
		},
	}
}

func (a *app) publish(ctx context.Context, fqrn string, o publishOptions) error {
	r, err := a.find(fqrn, o.place)
	if err != nil {
		return err
	}
	owner, err := parseOwner(o.owner)
	if err != nil {
		return err
	}
	err = a.transact(ctx, r, o.commitFlags.options(), func(tx *publish.Tx) error {
		p := a.progress()
		defer p.wait()
		watch := p.follow("read "+o.from, sourceSize(o.from), func() int64 { return tx.Stats.Bytes.Load() })
		to := catalog.Clean(o.to)
		err := a.stage(ctx, tx, o, to, owner)
		watch.end()
		if err == nil && o.catalog && to != "" {
			err = tx.PutFile(to+"/.cvmfscatalog", 0o644, strings.NewReader(""))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("publish %s: %w", o.from, err)
	}
	return nil
}

// stage reads the source into the transaction.
func (a *app) stage(ctx context.Context, tx *publish.Tx, o publishOptions, to string, owner func(*catalog.Entry)) error {
	st, err := os.Stat(o.from)
	if o.from != "-" && err != nil {
		return err
	}
	if o.from != "-" && st.IsDir() {
		dir, err := filepath.EvalSymlinks(o.from) // "current" is meant to be what it leads to
		if err != nil {
			return err
		}
		return tx.Replace(to, owned(tx.Directory(ctx, dir, to), owner))
	}
	in, err := a.archive(ctx, o.from)
	if err != nil {
		return err
	}
	defer in.Close()
	z, err := layer.Decompress(in, o.max())
	if err != nil {
		return err
	}
	defer z.Close()
	plain := bufio.NewReaderSize(z, 512)
	if _, err := plain.Peek(1); errors.Is(err, io.EOF) { // such as of a pipe whose program failed
		return errors.New("nothing came: what is published stays as it is; an archive of an empty directory is not empty itself")
	}
	seen := &lastBlock{r: plain}
	rows, err := layer.Read(ctx, tx, seen, layer.Options{Scratch: tx.Scratch(), Max: o.max(), Source: z, Warn: func(s string) { a.log().Warn(s) }})
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: cut short, or not a tar archive, plain or compressed with gzip or zstd", err)
	}
	if err != nil {
		return err
	}
	defer rows.Close()
	if !seen.zero() {
		return errors.New("the archive has no end, as if it were cut between two files: what is published stays as it is; " +
			"if nothing is missing, add the end: { cat TAR; head -c 1024 /dev/zero; } | flathub publish --from -")
	}
	return tx.Replace(to, owned(moved(rows.Items(), to), owner))
}

// lastBlock remembers the last block of a tar that was read. A whole one ends in blocks of zeros, but its reader takes the end
// of the file as well: a pipe whose program was killed would publish half a tree. Nothing else tells, as a digest does of a layer.
type lastBlock struct {
	r    io.Reader
	last [512]byte
}

func (b *lastBlock) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if m := len(b.last); n >= m {
		copy(b.last[:], p[n-m:n])
	} else {
		copy(b.last[:], b.last[n:])
		copy(b.last[m-n:], p[:n])
	}
	return n, err
}

func (b *lastBlock) zero() bool { return b.last == [512]byte{} }

// archive opens an archive's file, or standard input for "-".
func (a *app) archive(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == "-" {
		return interruptible(ctx, a.in), nil
	}
	return os.Open(name)
}

// interruptible ends a reader with ctx, even while a Read waits for a pipe that
// nobody writes to.
func interruptible(ctx context.Context, in io.Reader) io.ReadCloser {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(w, in)
		w.CloseWithError(err)
	}()
	return r
}

// moved puts a tree below another path.
func moved(items iter.Seq2[publish.Item, error], to string) iter.Seq2[publish.Item, error] {
	return func(yield func(publish.Item, error) bool) {
		for it, err := range items {
			it.Path = to + it.Path
			if !yield(it, err) {
				return
			}
		}
	}
}

// owned changes the owners of a tree; set is nil to leave them.
func owned(items iter.Seq2[publish.Item, error], set func(*catalog.Entry)) iter.Seq2[publish.Item, error] {
	if set == nil {
		return items
	}
	return func(yield func(publish.Item, error) bool) {
		for it, err := range items {
			set(&it.Entry)
			if !yield(it, err) {
				return
			}
		}
	}
}

func parseOwner(s string) (func(*catalog.Entry), error) {
	if s == "" {
		return nil, nil
	}
	u, g, ok := strings.Cut(s, ":")
	uid, uerr := strconv.ParseUint(u, 10, 32)
	gid, gerr := strconv.ParseUint(g, 10, 32)
	if err := errors.Join(uerr, gerr); !ok || err != nil {
		return nil, usageError{"publish", fmt.Sprintf("owner %q: want UID:GID, two numbers", s)}
	}
	return func(e *catalog.Entry) { e.UID, e.GID = uint32(uid), uint32(gid) }, nil
}

// sourceSize is the size of an archive, by which its progress is measured
// roughly; 0 where that is not known.
func sourceSize(name string) int64 {
	if st, err := os.Stat(name); err == nil && st.Mode().IsRegular() && strings.HasSuffix(name, ".tar") {
		return st.Size()
	}
	return 0
}
