package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/beside"
	"github.com/flatrun/flatrun/runtime/oci"
)

const (
	// repositoriesVariable is set by flatrun oci --repositories: "NAME=DIR,…", repositories that it shows to this process.
	repositoriesVariable = "FLATRUN_OCI_REPOSITORIES"
	// sessionVariable is the descriptor of its connection to the session, which keeps their revisions until the container has them.
	sessionVariable = "FLATRUN_OCI_SESSION_FD"
)

// takeRepositories reads what flatrun has handed over. Hooks and containers are not to see it.
func (a *app) takeRepositories() {
	text := a.getenv(repositoriesVariable)
	if text == "" {
		return
	}
	a.runtime.Repositories = map[string]string{}
	for field := range strings.SplitSeq(text, ",") {
		if name, dir, ok := strings.Cut(field, "="); ok {
			a.runtime.Repositories[name] = dir
		}
	}
	if fd, err := strconv.Atoi(a.getenv(sessionVariable)); err == nil && fd > 2 {
		unix.CloseOnExec(fd)
	}
	os.Unsetenv(repositoriesVariable)
	os.Unsetenv(sessionVariable)
}

// enterSession becomes this program once more within the user's session, by way of flatrun, if a bundle needs
// repositories that this host has not mounted. The container's user namespace is then one below the session's, which lasts
// as long as it does. Not for root, whose containers may have none. Where it does nothing, the bundle tells what is missing.
func (a *app) enterSession(bundle string) error {
	if os.Geteuid() == 0 || a.runtime.Repositories != nil {
		return nil
	}
	if bundle == "" {
		bundle = "."
	}
	spec, err := oci.ReadBundle(bundle)
	if err != nil {
		return nil
	}
	names := oci.Unmounted(spec)
	file, err := beside.Find("flatrun", ".", "../../bin")
	if len(names) == 0 || err != nil {
		return nil
	}
	words := append([]string{"flatrun", "oci", "--repositories=" + strings.Join(names, ",")}, os.Args[1:]...)
	return syscall.Exec(file, words, os.Environ())
}
