package fusefs

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
)

// Noted is the root catalog of the revision that the notes of an earlier server say the kernel was shown, zero where there
// are none.
func Noted(memory *os.File) (root cas.Hash, err error) {
	st, err := memory.Stat()
	if err != nil || st.Size() == 0 {
		return root, err
	}
	_, r, err := openMemory(memory)
	if err != nil || r.root == "" {
		return root, err
	}
	if root, err = cas.ParseHash(r.root); err != nil {
		err = fmt.Errorf("%w: root catalog: %w", errNotes, err)
	}
	return root, err
}

// openMemory reads what is in the file and goes on writing behind it.
func openMemory(file *os.File) (*notebook, *remembered, error) {
	st, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	m := &notebook{file: file, size: st.Size()}
	if m.size == 0 {
		m.size = notesHeader
		return m, &remembered{}, m.begin(notesHeader)
	}
	var start [notesHeader]byte
	if _, err := file.ReadAt(start[:], 0); err != nil {
		return nil, nil, err
	}
	if m.start = int64(binary.NativeEndian.Uint64(start[:])); m.start < notesHeader || m.start > m.size {
		return nil, nil, fmt.Errorf("%w: they begin at byte %d of %d", errNotes, m.start, m.size)
	}
	r, err := m.read()
	if err != nil {
		return nil, nil, err
	}
	m.size = m.start + r.end
	return m, r, nil
}

// recall fills the tables with what the kernel was told by a server before this one, and answers the state that its tables
// are up to. Of the catalogs only those are opened that show the head and what is pinned: in the long life of a mount there
// may have been thousands, and the servers may not have them all any more.
func (fs *FS) recall(ctx context.Context, r *remembered) (*state, error) {
	for _, c := range r.catalogs {
		h, err := cas.ParseHash(c.hash)
		if err != nil || c.number == 0 || c.number > maxNumber {
			return nil, fmt.Errorf("%w: catalog %d %q", errNotes, c.number, c.hash)
		}
		n := &numbered{hash: h, prefix: c.prefix, number: c.number, base: c.base, rows: c.rows}
		n.known.Store(1) // how many of its ids the kernel knows was not noted: never none
		fs.numbers.recall(n)
	}
	for _, l := range r.lineages {
		if n := fs.numbers.all[l.number]; n != nil {
			fs.lineages.add(l.at, n, nil)
		}
	}
	views := map[uint64]*view{fs.head.number: fs.head}
	for _, number := range r.pins {
		v, err := fs.recallPin(ctx, number)
		if err != nil {
			fs.log.Warn("a pinned revision is lost to those who use it", "catalog", number, "error", err)
			continue
		}
		views[number] = v
	}
	fs.dirs.recall(r, views)
	for _, n := range fs.numbers.all {
		if n.hash.String() == r.root {
			if err := fs.load(ctx, n); err != nil {
				return nil, err
			}
			return fs.recallState(fs.head, fs.repo.Head(), n), nil
		}
	}
	return nil, fmt.Errorf("%w: root catalog %q is not among them", errNotes, r.root)
}

// recallState is the revision with the root catalog n.
func (fs *FS) recallState(v *view, rev *repo.Revision, n *numbered) *state {
	e := n.Root()
	t := &tree{cat: n, root: repo.Node{Catalog: n.Catalog, CatalogHash: n.hash, Number: n.opened, Entry: e, Ident: e.Row}}
	t.elders = fs.lineages.add("", n, fs.memory)
	return stateAt(v, rev, 1, t, &e)
}

// recallPin pins a revision again; it had been verified when the server before pinned it.
func (fs *FS) recallPin(ctx context.Context, number uint64) (*view, error) {
	n := fs.numbers.all[number]
	if n == nil {
		return nil, errNotes
	}
	rev, err := fs.repo.At(ctx, n.hash)
	if err == nil {
		err = fs.load(ctx, n)
	}
	if err != nil {
		return nil, err
	}
	v := &view{number: number}
	v.state.Store(fs.recallState(v, rev, n))
	fs.pins.add(PinName(n.hash), v)
	return v, nil
}

// openedAs is the number by which the repository knows the catalog.
func (fs *FS) openedAs(h cas.Hash) uint32 {
	for n := uint32(fs.repo.Catalogs()); n > 0; n-- {
		if _, hash, ok := fs.repo.Numbered(n); ok && hash == h {
			return n
		}
	}
	return 0
}

// recall enters the directories that the kernel knows, of the views that there are. It may know what is in each.
func (t *dirs) recall(r *remembered, views map[uint64]*view) {
	t.serial = r.serial
	for serial, known := range r.dirs {
		v := views[known.view]
		if v == nil {
			continue
		}
		d := &dir{id: dirBit | serial, inode: known.inode, view: v, path: known.path, recalled: true}
		d.entered.Store(true)
		t.byID[d.id], t.byPath[d.key()] = d, d
	}
	t.byID[fuse.FUSE_ROOT_ID].entered.Store(true)
}

// Resumable tells whether another server can go on with the mount when this one dies: it takes a kernel (6.9) that sends the
// requests again which were read and not answered. On an older one those would wait for good.
func (fs *FS) Resumable() bool {
	server := fs.server.Load()
	return fs.memory != nil && server != nil && server.KernelSettings().Flags64()&fuse.CAP_HAS_RESEND != 0
}

// noteInit notes the kernel's INIT request, which it sends once in the life of a mount.
func (fs *FS) noteInit(server *fuse.Server) {
	if fs.memory == nil {
		return
	}
	in := server.KernelSettings()
	b := unsafe.Slice((*byte)(unsafe.Pointer(in)), unsafe.Sizeof(*in))
	fs.memory.note(noteInit, nil, string(b[:min(int(in.Length), len(b))]))
}

// resume goes on with a mount whose server died. The library begins with the kernel's INIT request, and gets the noted one
// from a socket, which then is replaced by the device under the same number.
func (fs *FS) resume(fuseFD int) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	defer unix.Close(pair[1])
	if _, err := unix.Write(pair[1], fs.init); err != nil {
		unix.Close(pair[0])
		return fmt.Errorf("resume: %w", err)
	}
	server, err := fuse.NewServer(fs, "/dev/fd/"+strconv.Itoa(pair[0]), fs.options())
	if err != nil {
		return fmt.Errorf("resume: %w", err) // the library has closed the socket
	}
	if err := unix.Dup3(fuseFD, pair[0], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	// FUSE_NOTIFY_RESEND, in the header of an answer to no request.
	header := fuse.OutHeader{Length: uint32(unsafe.Sizeof(fuse.OutHeader{})), Status: -fuse.NOTIFY_RESEND}
	b := slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&header)), header.Length))
	if _, err := unix.Write(fuseFD, b); err != nil {
		fs.log.Warn("requests that the server before had taken may not be answered", "error", err)
	}
	unix.Close(fuseFD)
	fs.run(server)
	return nil
}
