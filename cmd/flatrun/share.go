package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/image"
	"github.com/flatrun/flatrun/runtime/instance"
)

const (
	shareVariable = "FLATRUN_SHARE_FD"  // descriptor of the shared container's file, in the process that makes it
	triesVariable = "FLATRUN_SHARE_TRY" // how often the container has ended just before it was entered

	shareTime  = 5 * time.Minute // for the first one to make the container, which may have to fetch the image
	shareTries = 5
)

// sharing is the part of a container that others will enter (--sharens).
type sharing struct {
	*instance.Shared
	member instance.Member // who keeps the namespaces
	mounts uint64
}

// share enters the container that another process of the same launcher has made;
// then it does not return. It returns in the process that has to make it.
func (c *container) share() error {
	if fd, err := strconv.Atoi(c.getenv(shareVariable)); err == nil && enter.Current().Plan != nil {
		c.sharing = &sharing{Shared: instance.InheritShared(fd)}
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), shareTime)
	defer cancel()
	s, err := instance.OpenShared(ctx, enter.Current().Dir, c.shareKey())
	if err != nil {
		return err
	}
	self := os.Getpid()
	if c.options.PID { // its init is who keeps it
		self = 0
	}
	state, ok, err := s.Find(self)
	if err != nil {
		return fatal("shared container: %w", err)
	}
	if ok {
		s.Close()
		return c.handOver(state)
	}
	if _, err := unix.FcntlInt(uintptr(s.FD()), unix.F_SETFD, 0); err != nil {
		return fatal("shared container: %w", err)
	}
	os.Setenv(shareVariable, strconv.Itoa(s.FD()))
	c.sharing = &sharing{Shared: s}
	return nil
}

// shareAgain starts over when the container's last process ended before it could
// be entered.
func (c *container) shareAgain(err error) error {
	tries, _ := strconv.Atoi(c.getenv(triesVariable))
	if tries >= shareTries {
		return fatal("enter the shared container: %w", err)
	}
	os.Unsetenv(joinVariable)
	os.Setenv(triesVariable, strconv.Itoa(tries+1))
	runtime.KeepSignals()
	err = unix.Exec("/proc/self/exe", os.Args, os.Environ())
	return fatal("start %s once more: %w", filepath.Base(os.Args[0]), err)
}

// shareKey is the same for those who share: the processes of one launcher or
// batch step that name the same image.
func (c *container) shareKey() string {
	arg := c.arg
	if abs, err := filepath.Abs(arg); err == nil && c.kind == image.Directory {
		arg = abs
	}
	h := fnv.New128a()
	fmt.Fprintf(h, "%s\n%s\n%t %t %t", c.launcher(), arg, c.options.PID, c.options.Fakeroot, c.options.Follow)
	return hex.EncodeToString(h.Sum(nil))
}

// launcher names who has started the processes of this node, by its own word if
// it gives one, else by the parent process.
func (c *container) launcher() string {
	for _, names := range [][]string{{"PMIX_NAMESPACE"}, {"SLURM_JOB_ID", "SLURM_STEP_ID"}, {"OMPI_MCA_ess_base_jobid"}} {
		words := []string{names[0]}
		for _, name := range names {
			if value := c.getenv(name); value != "" {
				words = append(words, value)
			}
		}
		if len(words) == 1+len(names) {
			return strings.Join(words, " ")
		}
	}
	parent := instance.NewMember(os.Getppid())
	return fmt.Sprintf("parent %d %d", parent.PID, parent.Started)
}

// plan keeps the PID namespace for as long as anybody is in it.
func (s *sharing) plan(plan *enter.Plan) {
	// The session's user namespace is the same even for who comes when all have ended. Root's is entered with the rest.
	plan.Join = plan.Join || !plan.Fakeroot
	if plan.New&enter.PID != 0 {
		plan.Init, plan.Linger = true, true
	}
}

// entered is called when the namespaces are there, while /proc is the caller's.
func (s *sharing) entered(state enter.State) error {
	unix.CloseOnExec(s.FD())
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/mnt", &st); err != nil {
		return fatal("shared container: %w", err)
	}
	s.mounts = st.Ino
	pid := os.Getpid()
	if state.New&enter.PID != 0 {
		var err error
		if pid, err = findInit(); err != nil {
			return fatal("shared container: %w", err)
		}
	}
	s.member = instance.NewMember(pid)
	return nil
}

// findInit finds process 1 of this PID namespace by its number outside.
func findInit() (int, error) {
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return 0, err
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		if ns, err := os.Readlink(dir + "/ns/pid"); err != nil || ns != own {
			continue
		}
		status, _ := os.ReadFile(dir + "/status")
		for line := range strings.Lines(string(status)) {
			numbers, ok := strings.CutPrefix(line, "NSpid:")
			if fields := strings.Fields(numbers); ok && len(fields) > 1 && fields[len(fields)-1] == "1" {
				return strconv.Atoi(filepath.Base(dir))
			}
		}
	}
	return 0, errors.New("its process 1 is not in /proc")
}

// startShared makes the container and becomes the command, which lets the others in.
func (c *container) startShared(spec *specs.Spec) error {
	s := c.sharing
	state := instance.State{Image: c.image.Shown, Spec: rightsOf(spec), Config: c.image.Config, Cgroup: c.cgroup}
	built := func() error {
		if err := s.Store(state, s.member, s.mounts); err != nil {
			return fatal("shared container: %w", err)
		}
		return nil
	}
	return runtime.Start(spec, runtime.Extras{Env: c.environ, Log: c.slog(), Built: built})
}
