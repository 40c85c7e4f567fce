package runtime

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/runtime/vfs"
)

// ReadHost gathers what Spec needs. Uid and gid are those outside of any user namespace (enter.State); so they are
// given rather than asked for. If there is an error, it is the working directory that cannot be told; everything else
// is filled in, and the container starts in the home directory.
//
// Home is the account's directory, whatever HOME says, as with Apptainer: HOME may be left over from the user who called
// su or sudo, or be a job's scratch directory, and a batch system that wants it to be the home directory says --home.
func ReadHost(uid, gid int) (Host, error) {
	h := Host{UID: uint32(uid), GID: uint32(gid)}
	if fields := accountOf(uid); fields != nil {
		h.User = Account{Name: fields[0], Gecos: fields[4], Shell: fields[6]}
		h.Home = fields[5]
	} else {
		h.User = Account{Name: plain(os.Getenv("USER")), Shell: plain(os.Getenv("SHELL"))}
		h.Home = os.Getenv("HOME")
	}
	if path.IsAbs(h.Home) {
		h.Home = path.Clean(h.Home)
	} else {
		h.Home = ""
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

// nameService is how long a name service may take to answer.
const nameService = 10 * time.Second

// accountOf returns the fields of an account in the password database, nil if it has none. The database is read as a file;
// only who is not in it (LDAP) is looked up by the name service, which costs a process.
func accountOf(uid int) []string {
	if fields := accountLine("/etc/passwd", uid); len(fields) >= 7 {
		return fields
	}
	ctx, cancel := context.WithTimeout(context.Background(), nameService)
	defer cancel()
	// A caller that ignores its children makes waiting fail; what was said counts.
	out, _ := exec.CommandContext(ctx, "/usr/bin/getent", "passwd", strconv.Itoa(uid)).Output()
	line, _, _ := strings.Cut(string(out), "\n")
	if fields := strings.Split(line, ":"); len(fields) >= 7 && fields[2] == strconv.Itoa(uid) {
		return fields
	}
	return nil
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
