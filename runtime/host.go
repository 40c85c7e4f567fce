package runtime

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/runtime/vfs"
)

// ReadHost gathers what Spec needs. Uid and gid are those outside of any user namespace (enter.State); so they are
// given rather than asked for. If there is an error, it is the working directory that cannot be told; everything else
// is filled in, and the container starts in the home directory.
//
// The password database is read as a file: whoever is in another one (LDAP) is known by USER, HOME and SHELL, which
// login and batch systems set; to ask a name service would cost more than the whole start.
func ReadHost(uid, gid int) (Host, error) {
	h := Host{UID: uint32(uid), GID: uint32(gid)}
	if fields := accountLine("/etc/passwd", uid); len(fields) >= 7 {
		h.User = Account{Name: fields[0], Gecos: fields[4], Shell: fields[6]}
		h.Home = fields[5]
	} else {
		h.User = Account{Name: plain(os.Getenv("USER")), Shell: plain(os.Getenv("SHELL"))}
	}
	if home := os.Getenv("HOME"); path.IsAbs(home) && (h.Home == "" || !foreign(home)) {
		h.Home = path.Clean(home)
	}
	if fields := accountLine("/etc/group", gid); len(fields) >= 3 {
		h.Group = fields[0]
	}
	h.TTY = terminal()
	var err error
	if h.Cwd, err = os.Getwd(); err != nil { // $PWD if it is the same directory
		return h, fmt.Errorf("working directory: %w", err)
	}
	return h, nil
}

// foreign reports whether a directory is somebody else's: HOME may be left over from the user who called su or sudo. "/"
// is what accounts without a home have.
func foreign(dir string) bool {
	var st unix.Stat_t
	return dir != "/" && unix.Stat(dir, &st) == nil && st.Uid != uint32(os.Geteuid())
}

// accountLine returns the fields of the first line with this id in third place.
func accountLine(file string, id int) []string {
	// Not os.ReadFile: opening by package os starts the poller, which is four system calls and a thread.
	root, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(root)
	text, err := vfs.ReadFile(root, file)
	if err != nil {
		return nil
	}
	want := strconv.Itoa(id)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(strings.TrimSuffix(line, "\n"), ":"); len(fields) >= 3 && fields[2] == want {
			return fields
		}
	}
	return nil
}

// plain returns s unless it would break a line of the password file.
func plain(s string) string {
	if strings.ContainsAny(s, ":\n") {
		return ""
	}
	return s
}

// terminal returns the path of the terminal on standard input.
func terminal() string {
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err != nil {
		return ""
	}
	name, err := os.Readlink("/proc/self/fd/0")
	if err != nil || !strings.HasPrefix(name, "/dev/") {
		return ""
	}
	return name
}
