package convert

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/fusefs"
	"github.com/flatrun/flatrun/mount/probe"
	"github.com/flatrun/flatrun/mount/repotest"
	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/publish"
)

const insideVariable = "FLATHUB_CONVERT_INSIDE"

// TestStackMounted stacks the layers of random images as an ordinary user's session does, with overlayfs over a FUSE mount of
// the repository, and compares what the kernel shows with the flat images. It cannot give a directory of several layers the
// count of its links, which is 1 there; and this client shows the files of all owners as the user's own.
func TestStackMounted(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		runInside(t)
		return
	}
	h := newHub(t)
	tx, err := h.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	c := Converter{Tx: tx, FQRN: fqrn}
	defer c.Close()
	made := map[string]Result{}
	var thins = map[string]*unpacked.Thin{}
	for seed := range uint64(14) {
		img, text := randomImage(t, seed)
		results, err := c.Convert(t.Context(), []Image{img})
		if err != nil { // a link to what went elsewhere, or in a circle
			continue
		}
		if thins[text], err = c.Thin(img); err != nil {
			t.Fatal(err)
		}
		made[text] = results[0]
	}
	if _, err := tx.Commit(t.Context(), publish.CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	dir := mountHub(t, h)
	more := 0
	for text, r := range made {
		thin := thins[text]
		more += len(thin.Layers) - r.Layers
		for _, problem := range differences(treeOf(t, stackUp(t, dir, thin)), treeOf(t, dir+r.Path)) {
			t.Errorf("%s: %s\n%s", r.Path, problem, text)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d images, %d of them with something over their layers", len(made), more)
	if more < 5 {
		t.Error("the generator makes too little to test")
	}
}

// runInside runs this test again in new user and mount namespaces, or skips it where there are none to be had.
func runInside(t *testing.T) {
	t.Helper()
	for _, missing := range []error{probe.UserNamespace(), probe.FUSE(), probe.Overlay()} {
		if missing != nil {
			t.Skip(missing)
		}
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN}, // else lost at the exec, as the uid is not 0
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// randomImage is an image of random layers, and what they are.
func randomImage(t *testing.T, seed uint64) (Image, string) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 2))
	model := overlay{}
	var made [][]publish.Item
	var layers []v1.Layer
	text := ""
	for n := range 1 + r.IntN(5) {
		layer := oddLayer(r, int64(n+1), model)
		if n > 0 && r.IntN(3) == 0 {
			layer = made[r.IntN(n)] // comes again
		}
		model.apply(n, layer)
		made, layers = append(made, layer), append(layers, tarOf(t, layer))
		text += fmt.Sprintf("layer %d: %s\n", n+1, describe(layer))
	}
	name, err := unpacked.ParseReference(fmt.Sprintf("random.example.org/x:%d", seed), "")
	if err != nil {
		t.Fatal(err)
	}
	return Image{Image: image(t, fmt.Sprint(seed), layers...), Name: name, Platform: "linux/amd64"}, text
}

// tarOf is a layer as a tar. Hard links into lower layers come first, as a layer's own file of that name would be meant
// else.
func tarOf(t *testing.T, items []publish.Item) v1.Layer {
	t.Helper()
	var links, others []tar.Header
	first := map[uint32]string{} // names of hard-link groups
	for _, it := range items {
		h := tar.Header{Name: "." + it.Path, Mode: int64(it.Entry.Mode & 0o7777), ModTime: time.Unix(it.Entry.Mtime, 0), Uid: 7, Gid: int(it.Entry.Mtime)}
		dir, base := filepath.Split(h.Name)
		switch {
		case isWhiteout(it.Entry):
			others = append(others, tar.Header{Name: dir + ".wh." + base, Typeflag: tar.TypeReg})
			continue
		case isImplied(it.Entry):
			if isOpaque(it.Entry) {
				others = append(others, tar.Header{Name: h.Name + "/.wh..wh..opq", Typeflag: tar.TypeReg})
			}
			continue
		case it.Entry.IsDir():
			h.Typeflag = tar.TypeDir
			if isOpaque(it.Entry) {
				others = append(others, tar.Header{Name: h.Name + "/.wh..wh..opq", Typeflag: tar.TypeReg})
			}
		case isLowerLink(it.Entry):
			links = append(links, tar.Header{Name: h.Name, Typeflag: tar.TypeLink, Linkname: it.Entry.Symlink})
			continue
		case it.Entry.IsSymlink():
			h.Typeflag, h.Linkname = tar.TypeSymlink, it.Entry.Symlink
		case it.Entry.Mode&unix.S_IFMT == unix.S_IFIFO:
			h.Typeflag = tar.TypeFifo
		case first[it.Entry.LinkGroup] != "":
			h.Typeflag, h.Linkname = tar.TypeLink, first[it.Entry.LinkGroup]
		default:
			first[it.Entry.LinkGroup] = h.Name
			h.Typeflag, h.Size = tar.TypeReg, 2
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.layer": fmt.Sprint(it.Entry.Mtime)}
		}
		others = append(others, h)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range append(links, others...) {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			fmt.Fprintf(w, "%02d", h.Gid)
		}
	}
	return layerOf(t, w, &b)
}

// mountHub mounts the repository.
func mountHub(t *testing.T, h *hub) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(testKeys().Public[0])
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := repotest.Config(t, fqrn, h.dir, key)
	fs, err := fusefs.New(fusefs.Config{Repo: repotest.Open(t, cfg), Store: cfg.Store, UID: uint32(os.Getuid()), GID: uint32(os.Getgid())})
	if err != nil {
		t.Fatal(err)
	}
	dev, mnt, err := fusefs.MountDirect(fqrn)
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Serve(dev); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		t.Fatal(err)
	}
	unix.Close(mnt)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		fs.Close()
	})
	return dir
}

// stackUp mounts a thin image out of the repository's mount.
func stackUp(t *testing.T, mounted string, thin *unpacked.Thin) string {
	t.Helper()
	var dirs []string // the uppermost first
	for _, l := range slices.Backward(thin.Stack()) {
		_, dir, err := l.Location()
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, mounted+dir)
	}
	if len(dirs) == 1 { // the kernel wants two
		dirs = append(dirs, t.TempDir())
	}
	dir := t.TempDir()
	if err := unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "userxattr,lowerdir="+strings.Join(dirs, ":")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// treeOf describes what is seen at and below root. It opens files without package os, which would have the kernel ask the
// mount, served by this very process, about polling.
func treeOf(t *testing.T, root string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%o %d:%d device %x mtime %v attributes %s", st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim, attributesOf(t, p))
		if !d.IsDir() {
			line += fmt.Sprintf(" size %d links %d", st.Size, st.Nlink)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " to " + to
		case unix.S_IFREG:
			line += fmt.Sprintf(" content %q", contentOf(t, p))
		}
		tree[strings.TrimPrefix(p, root)] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func contentOf(t *testing.T, p string) []byte {
	t.Helper()
	fd, err := unix.Open(p, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	b := make([]byte, 100)
	n, err := unix.Read(fd, b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func attributesOf(t *testing.T, p string) (text string) {
	t.Helper()
	list, value := make([]byte, 4096), make([]byte, 4096)
	n, err := unix.Llistxattr(p, list)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Split(string(list[:n]), "\x00")
	slices.Sort(names)
	for _, name := range names[1:] { // the first is empty
		n, err := unix.Lgetxattr(p, name, value)
		text += fmt.Sprintf("%s=%q %v", name, value[:max(n, 0)], err)
	}
	return text
}

// differences tells where a stack is not what the flat image is, which has some files more of its own.
func differences(stack, flat map[string]string) (problems []string) {
	own := map[string]bool{"/" + unpacked.CatalogMarker: true}
	for _, f := range skeleton(&v1.ConfigFile{}) {
		own[f.path] = true
	}
	all := maps.Clone(stack)
	maps.Copy(all, flat)
	for _, p := range slices.Sorted(maps.Keys(all)) {
		if s, f := stack[p], flat[p]; s != f && !own[p] {
			problems = append(problems, fmt.Sprintf("%s\nstack %s\nflat  %s\n", p, s, f))
		}
	}
	return problems
}
