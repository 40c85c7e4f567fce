package vfs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Tree is a root file system that is ready, but not yet the process's own.
type Tree struct {
	root  Root
	log   *slog.Logger
	stage int // directory in memory that holds all that is built, mounted where only this descriptor reaches it
	over  int // mounts over the old root: 1, and the stage if it had to go there
	base  int // what mount points are looked up in: the image, or the overlay over it
	fd    int // the new root
	names struct {
		count      int
		base, root string
	} // in the stage
	layers   []string // of an overlay that waits for its mount points, by their names in the stage
	upperdir string   // of that
}

// Build makes the root file system. The mount namespace must be the caller's own; its mounts become slaves of the
// host's, so that what is mounted on the host later appears inside, and nothing the other way round.
func Build(root Root, mounts []Mount) (*Tree, error) {
	t := &Tree{root: root, log: root.Log}
	if t.root.Name == "" {
		t.root.Name = root.Image
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	defer unix.Umask(unix.Umask(0))
	propagation := uintptr(unix.MS_SLAVE)
	if root.Private {
		propagation = unix.MS_PRIVATE
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|propagation, ""); err != nil {
		return nil, fmt.Errorf("separate mounts from the host's: %w%s", err, confined(err))
	}
	sources, err := t.open(mounts)
	if err != nil {
		return nil, err
	}
	if err := t.layRoot(); err != nil {
		return nil, err
	}
	return t, t.mountAll(sources)
}

// confined says what may be in the way of one who has all capabilities in his user namespace.
func confined(err error) string {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return ": the container or sandbox around this process forbids mount(2): its seccomp or AppArmor profile has to allow it"
	}
	return ""
}

// layRoot makes the stage and puts the image, and what is laid over it, there.
func (t *Tree) layRoot() (err error) {
	image, err := openTree(unix.AT_FDCWD, t.root.Image, true, 0)
	if err != nil {
		return fmt.Errorf("image %s: %w", t.root.Name, err)
	}
	if dir, err := isDir(image); err != nil || !dir {
		return fmt.Errorf("image %s: %w", t.root.Name, cmp.Or(err, errNotDir))
	}
	attr := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if !t.root.Writable {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	if err := restrict(image, attr); err != nil {
		return fmt.Errorf("image %s: restrict mount: %w", t.root.Name, err)
	}
	data := []string{"mode=755"}
	if t.root.Size > 0 {
		data = append(data, "size="+strconv.FormatInt(t.root.Size, 10))
	}
	if t.stage, err = newFS(cmp.Or(t.root.MemoryFS, "tmpfs"), unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, data); err != nil {
		return err
	}
	// It must be mounted somewhere, as only what is mounted can be cloned. Nothing below the host's /usr is needed any
	// more, all sources being open. Over / it would do too, since the root of a process stays what lies below, but it
	// would take one more unmount, for which the kernel waits.
	t.over = 1
	if err := attach(t.stage, unix.AT_FDCWD, "/usr"); err != nil {
		t.over = 2
		if err := attach(t.stage, unix.AT_FDCWD, "/"); err != nil {
			return fmt.Errorf("mount a directory in memory: %w", err)
		}
	}
	if err := unix.Mkdirat(t.stage, "image", 0o755); err != nil {
		return err
	}
	if err := attach(image, t.stage, "image"); err != nil {
		return fmt.Errorf("image %s: mount: %w", t.root.Name, err)
	}
	t.base, t.fd, t.names.base = image, image, "image"
	if len(t.root.Layers)+len(t.root.Lower) > 0 || t.root.Upper != "" || t.root.Memory {
		return t.layOver()
	}
	return nil
}

// name gives a new name in the stage.
func (t *Tree) name() string {
	t.names.count++
	return strconv.Itoa(t.names.count)
}

// writable reports whether mount points can be made in the root as it is.
func (t *Tree) writable() bool {
	return t.root.Writable || t.root.Upper != "" || t.root.Memory
}

// mountAll finds the places, makes the mount points that are missing and attaches all sources in order.
func (t *Tree) mountAll(sources []source) error {
	wants := make([]Want, len(sources))
	for i, s := range sources {
		if s.m.Kind == Link {
			continue
		}
		wants[i] = Want{Target: s.m.Target, Dir: s.dir, Unique: s.m.Unique, Exists: s.m.Exists, Weak: s.m.Weak, NoFollow: s.m.NoFollow}
	}
	places, farms := Plan(wants, t.lookup())
	hidden := map[string]bool{}
	for i, p := range places {
		hidden[p.Path] = p.Err == nil && sources[i].dir
	}
	dropped, err := t.makePoints(farms, hidden)
	if err != nil {
		return err
	}
	for i, s := range sources {
		p := places[i]
		switch {
		case p.Skip:
			continue
		case p.Err == nil && slices.Contains(dropped, p.Path) && t.root.Writable:
			t.log.Warn(fmt.Sprintf("Skipping mount %s: it does not exist in the image, where it would stay if it was made", s.m.Target))
			continue
		case p.Err == nil && slices.Contains(dropped, p.Path):
			p.Err = errors.New("the image has no such place, and to make one would take many mounts")
		}
		err := p.Err
		if err == nil {
			err = t.mount(sources, places, s, p)
		}
		switch {
		case err == nil:
		case s.m.Weak:
			t.log.Info("not mounted", "target", s.m.Target, "reason", err)
		default:
			return s.m.wrap(err)
		}
	}
	return nil
}

// wrap tells what the failed mount was and who wanted it.
func (m *Mount) wrap(err error) error {
	what := m.Target
	if m.Kind == Bind && m.Source != m.Target {
		what = m.Source + " at " + m.Target
	}
	if m.Origin != "" {
		what += " (" + m.Origin + ")"
	}
	return fmt.Errorf("mount %s: %w", what, err)
}

// lookup returns a Lookup in the base of the root that asks the kernel once per name.
func (t *Tree) lookup() Lookup {
	type answer struct {
		t    Type
		link string
	}
	known := map[string]answer{}
	return func(name string) (Type, string, error) {
		a, ok := known[name]
		if !ok {
			var err error
			if a.t, a.link, err = look(t.base, name[1:]); err != nil {
				return 0, "", fmt.Errorf("look up %s in the image: %w", name, err)
			}
			known[name] = a
		}
		return a.t, a.link, nil
	}
}

// look tells what name, which has no links in its directory part, is.
func look(root int, name string) (Type, string, error) {
	var st unix.Stat_t
	err := unix.Fstatat(root, name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Missing, "", nil
	case err != nil:
		return 0, "", err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return Dir, "", nil
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(root, name, buf)
		return Symlink, string(buf[:max(n, 0)]), err
	}
	return Plain, "", nil
}

// Enter makes the tree the root of the process and its threads, and drops the old one. The working directory is / then.
func (t *Tree) Enter() error {
	if err := unix.Fchdir(t.fd); err != nil {
		return err
	}
	err := unix.PivotRoot(".", ".")
	switch {
	case errors.Is(err, unix.EINVAL):
		// The root of a diskless node may be the initramfs itself, which cannot be pivoted away from.
		return t.cover()
	case err != nil:
		return fmt.Errorf("change root: %w", err)
	}
	// The old root now lies over the new one, at "." (pivot_root(2)).
	for range t.over {
		if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
			return fmt.Errorf("leave the host's root: %w", err)
		}
	}
	return unix.Chdir("/")
}

// cover moves the tree over / and changes the root to it, which the kernel does not count as a chroot.
func (t *Tree) cover() error {
	if err := attach(t.fd, unix.AT_FDCWD, "/"); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return unix.Chdir("/")
}
