package session

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/fusefs"
)

// A container that has started has no connection any more, but its mount table tells which revisions it shows: the root of
// such a mount lies in the directory of the pinned revision. So nobody has to count containers, and none is forgotten when
// the session's server is killed.

const (
	// sweepFirst is how long after a new revision the session looks who uses the one before; then it takes twice as long
	// each time, up to sweepLast.
	sweepFirst = 500 * time.Millisecond
	sweepLast  = 30 * time.Second
)

// sweepAll lets go of outdated revisions when their last containers have gone, until done is closed. A server that was
// started in place of another one knows nothing of clients that are just starting a container: it gives them time.
func (s *server) sweepAll(done <-chan struct{}, resumed bool) {
	delay := sweepFirst
	if resumed {
		delay = sweepLast
		s.repos.moved()
	}
	for {
		select {
		case <-done:
			return
		case <-s.repos.move:
		}
		for ; s.repos.behind(); delay = min(2*delay, sweepLast) {
			select {
			case <-done:
				return
			case <-time.After(delay):
			}
			s.sweep()
		}
		delay = sweepFirst
	}
}

// moved is told of a new revision.
func (r *repositories) moved() {
	select {
	case r.move <- struct{}{}:
	default:
	}
}

// behind reports whether there is a revision that will have to go.
func (r *repositories) behind() bool { return slices.ContainsFunc(r.mounted(), (*served).behind) }

func (s *server) sweep() {
	outdated := map[*served][]cas.Hash{} // before the processes are looked at: who has closed his connection by now has made his mounts
	for _, v := range s.repos.mounted() {
		if roots := v.outdated(); len(roots) > 0 {
			outdated[v] = roots
		}
	}
	if len(outdated) == 0 {
		return
	}
	in := s.containers(s.processes())
	for v, roots := range outdated {
		for _, root := range roots {
			if v.settle(root, in.opaque || in.pins[fusefs.PinName(root)] > 0) {
				s.log.Info("revision without users dropped", "repository", v.settings.FQRN, "root", root)
			}
		}
	}
}

// presence is which pinned revisions show in the mount namespaces of the session's containers.
type presence struct {
	pins   map[string]int // how many namespaces, by the name of the revision's directory
	opaque bool           // there is a namespace that does not tell
}

// containers looks at the mount tables of those of the session's users.
func (s *server) containers(users []int) presence {
	p := presence{pins: map[string]int{}}
	seen := map[string]bool{}
	for _, pid := range users {
		dir := "/proc/" + strconv.Itoa(pid)
		ns, err := os.Readlink(dir + "/ns/mnt")
		if err == nil && seen[ns] {
			continue
		}
		var table []byte
		if err == nil {
			table, err = os.ReadFile(dir + "/mountinfo")
		}
		switch {
		case err == nil:
			seen[ns] = true
			p.add(table)
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL): // it has ended
		default:
			s.log.Warn("cannot look at the mounts of a process", "process", pid, "error", err)
			p.opaque = true
		}
	}
	return p
}

// add counts one namespace by its mount table.
func (p *presence) add(table []byte) {
	names := map[string]bool{}
	var told, overlaid bool
	for line := range bytes.Lines(table) {
		// 36 35 98:0 /root/in/the/file/system /mount/point options optional… - type source options
		fields := strings.Fields(string(line))
		separator := slices.Index(fields, "-")
		if len(fields) < 5 || separator < 0 || separator+1 == len(fields) {
			continue
		}
		if rest, ok := strings.CutPrefix(fields[3], "/"+fusefs.PinPrefix); ok {
			hash, _, _ := strings.Cut(rest, "/")
			names[fusefs.PinPrefix+hash] = true
		}
		told = told || fields[separator+1] == fusefs.Type && strings.HasPrefix(fields[4], "/cvmfs/")
		overlaid = overlaid || fields[separator+1] == "overlay" && fields[4] == "/"
	}
	for name := range names {
		p.pins[name]++
	}
	// An overlay does not tell what lies below it. Where /cvmfs is shown as well, that tells.
	p.opaque = p.opaque || overlaid && !told
}

// held describes the pinned revisions of a repository, the oldest first.
func (v *served) held(in presence) (all []enter.HeldRevision) {
	for _, rev := range v.fs.Pinned() {
		root := rev.Root().CatalogHash
		all = append(all, enter.HeldRevision{
			Revision: rev.Manifest().Revision, RootHash: root.String(), Containers: in.pins[fusefs.PinName(root)],
		})
	}
	slices.SortFunc(all, func(a, b enter.HeldRevision) int { return cmp.Compare(a.Revision, b.Revision) })
	return all
}
