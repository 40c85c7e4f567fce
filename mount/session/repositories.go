package session

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/fusefs"
	"github.com/flatrun/flatrun/mount/session/keep"
)

// repositories are those a session has mounted, by name.
type repositories struct {
	settings *config.Config
	caches   caches
	tree     *tree
	keeper   *keep.Keeper // nil for none
	log      *slog.Logger
	errors   *journal
	move     chan struct{} // a repository has a new revision

	mu     sync.Mutex
	slots  map[string]*slot
	broken map[string]time.Time // mounts of the site that did not answer, and when
}

// slot is a repository that is mounted, or being mounted: those who want it meanwhile wait for the first.
type slot struct {
	done   chan struct{}
	served *served
	err    error
}

func openRepositories(settings *config.Config, t *tree, log *slog.Logger, errors *journal) (*repositories, error) {
	c, err := openCaches(settings, log)
	if err != nil {
		return nil, err
	}
	return &repositories{settings: settings, caches: c, tree: t, log: log, errors: errors,
		move: make(chan struct{}, 1), slots: map[string]*slot{}, broken: map[string]time.Time{}}, nil
}

// place tells where the repository is mounted, and mounts it if it is not. The second answer is nil where the site has it
// mounted.
func (r *repositories) place(ctx context.Context, fqrn string) (enter.Resolved, *served, error) {
	settings, err := r.configured(fqrn)
	ours := err == nil && (settings.Tag != "" || !settings.Native)
	if dir := filepath.Join("/cvmfs", fqrn); !ours && r.onHost(fqrn) {
		revision, _ := strconv.ParseUint(attribute(dir, "user.revision"), 10, 64)
		return enter.Resolved{Path: dir, Source: dir, FQRN: fqrn, InRepo: "/", Revision: revision, Host: true}, nil, nil
	}
	if err != nil {
		return enter.Resolved{}, nil, err
	}
	v, err := r.get(ctx, settings)
	if err != nil {
		return enter.Resolved{}, nil, err
	}
	rev, dir, err := leaseOf(ctx).revision(v)
	if err != nil {
		return enter.Resolved{}, nil, err
	}
	return enter.Resolved{Path: dir, Source: dir, FQRN: settings.FQRN, InRepo: "/", Revision: rev.Manifest().Revision}, v, nil
}

// configured is what is configured about the repository. One that is not mounted goes by what our files say now: whoever mended
// them after an error must not have to end the session.
func (r *repositories) configured(fqrn string) (*config.Repository, error) {
	r.mu.Lock()
	s := r.slots[fqrn]
	r.mu.Unlock()
	if s != nil {
		select {
		case <-s.done:
			if s.err == nil {
				return s.served.settings, nil
			}
		default:
		}
	}
	settings, err := r.settings.Fresh()
	if err != nil {
		return nil, err
	}
	return settings.Repository(fqrn)
}

// get returns the mounted repository. The first who asks mounts it; after a failure the next one tries again.
func (r *repositories) get(ctx context.Context, settings *config.Repository) (*served, error) {
	r.mu.Lock()
	s, ok := r.slots[settings.FQRN]
	if !ok {
		s = &slot{done: make(chan struct{})}
		r.slots[settings.FQRN] = s
	}
	r.mu.Unlock()
	if ok {
		<-s.done
		if s.err == nil {
			if err := s.served.usable(ctx); err != nil {
				return nil, err
			}
		}
		return s.served, s.err
	}
	s.served, s.err = r.mount(ctx, settings)
	if s.err != nil {
		r.mu.Lock()
		delete(r.slots, settings.FQRN)
		r.mu.Unlock()
	}
	close(s.done)
	return s.served, s.err
}

func (r *repositories) mount(ctx context.Context, settings *config.Repository) (*served, error) {
	began := time.Now()
	notes, err := makeNotes(r.keeper, settings.FQRN)
	if err != nil {
		return nil, err
	}
	v, err := openServed(ctx, settings, r.caches, notes, r.log)
	if err != nil {
		return nil, err
	}
	if r.tree == nil { // nobody looks, see Prefetch
		return v, nil
	}
	if err := r.show(v, notes); err != nil {
		v.close()
		return nil, fmt.Errorf("repository %s: %w", settings.FQRN, err)
	}
	v.moved = r.moved
	v.follow(v.interval(), r.report)
	r.log.Info("mounted", "repository", settings.FQRN, "revision", v.repo.Head().Manifest().Revision, "took", time.Since(began))
	return v, nil
}

func (r *repositories) report(err error) {
	r.errors.add(err)
	r.log.Warn("refresh", "error", err)
}

// show serves the file system and hangs it into the tree.
func (r *repositories) show(v *served, notes *os.File) error {
	dev, mount, err := fusefs.MountDirect(v.settings.FQRN)
	if err != nil {
		return err
	}
	defer unix.Close(mount)
	if err := v.fs.Serve(dev); err != nil {
		unix.Close(dev)
		return err
	}
	v.path, err = r.tree.attach(mount, v.settings.FQRN)
	if err == nil {
		err = r.keep(v, dev, notes)
	}
	return err
}

// unmount takes a repository out of the tree. Containers that run in it keep it until they end.
func (r *repositories) unmount(fqrn string) error {
	r.mu.Lock()
	s := r.slots[fqrn]
	delete(r.slots, fqrn)
	r.mu.Unlock()
	if s == nil {
		return fmt.Errorf("repository %s is not mounted in the session", fqrn)
	}
	<-s.done
	if s.err != nil {
		return s.err
	}
	err := r.tree.detach(fqrn)
	go func() {
		<-s.served.fs.Gone()
		s.served.close()
		r.drop(fqrn)
	}()
	return err
}

// close detaches all. The file systems end with the process, so that what is left inside gets errors instead of waiting.
func (r *repositories) close() {
	for _, v := range r.mounted() {
		if err := r.tree.detach(v.settings.FQRN); err != nil {
			r.log.Warn("repository stays mounted", "error", err)
		}
		v.close()
	}
}

// mounted lists the mounted repositories by name.
func (r *repositories) mounted() []*served {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*served
	for _, s := range r.slots {
		select {
		case <-s.done:
			if s.err == nil {
				all = append(all, s.served)
			}
		default:
		}
	}
	slices.SortFunc(all, func(a, b *served) int { return strings.Compare(a.settings.FQRN, b.settings.FQRN) })
	return all
}

func (r *repositories) status(in presence) []enter.MountStatus {
	var all []enter.MountStatus
	for _, v := range r.mounted() {
		s := v.status()
		s.Held = v.held(in)
		all = append(all, s)
	}
	return all
}

const (
	// hostPatience is how long a mount of the site's own client may take to answer before it counts as broken.
	hostPatience = 5 * time.Second
	// hostRest is how long a broken one is left alone.
	hostRest = time.Minute
)

// hostMounted reports whether the site has the repository mounted and alive.
func hostMounted(fqrn string) bool {
	mounted, _ := askHost(fqrn)
	return mounted
}

// askHost tells as well whether there was an answer. A dead mount may block whoever touches it for good, so that is done
// by somebody who need not come back.
func askHost(fqrn string) (mounted, answered bool) {
	answer := make(chan bool, 1)
	go func() { answer <- mountedBelow("/cvmfs", fqrn) }()
	select {
	case mounted = <-answer:
		return mounted, true
	case <-time.After(hostPatience):
		return false, false
	}
}

// onHost is hostMounted with a memory: it leaves a mount alone that did not answer lately.
func (r *repositories) onHost(fqrn string) bool {
	r.mu.Lock()
	since, broken := r.broken[fqrn]
	r.mu.Unlock()
	if broken && time.Since(since) < hostRest {
		return false
	}
	mounted, answered := askHost(fqrn)
	if answered {
		return mounted
	}
	r.mu.Lock()
	r.broken[fqrn] = time.Now()
	r.mu.Unlock()
	r.errors.add(fmt.Errorf("/cvmfs/%s does not answer for %s; it is not used for %s", fqrn, hostPatience, hostRest))
	return false
}

// mountedBelow reports whether name is a mount point in dir and can be read. The final dot makes an automounter act.
func mountedBelow(dir, name string) bool {
	var above, here unix.Stat_t
	if strings.ContainsRune(name, '/') || unix.Stat(dir, &above) != nil || unix.Stat(filepath.Join(dir, name)+"/.", &here) != nil {
		return false
	}
	return above.Dev != here.Dev
}

// attribute reads a short extended attribute, "" if there is none.
func attribute(path, name string) string {
	var value [256]byte
	n, err := unix.Getxattr(path, name, value[:])
	if err != nil || n <= 0 {
		return ""
	}
	return string(value[:n])
}
