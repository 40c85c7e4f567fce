package fusefs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// helper is the program that mounts for ordinary users.
func helper() (string, error) {
	path, err := exec.LookPath("fusermount3")
	if err != nil {
		path, err = exec.LookPath("fusermount")
	}
	if err != nil {
		return "", fmt.Errorf("%w; install fuse3", err)
	}
	return path, nil
}

// MountHelper mounts the file system at dir, an existing directory, by fusermount3: visible in the caller's mount namespace,
// for the caller only. fuseFD stays the file system's; who keeps a copy of it keeps the mount, see Resumable.
func (fs *FS) MountHelper(dir string) (fuseFD int, err error) {
	if fuseFD, err = mountByHelper(fs.name, dir); err == nil {
		if err = fs.Serve(fuseFD); err != nil {
			unix.Close(fuseFD)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("mount %s at %s: %w", fs.name, dir, err)
	}
	fs.dir = dir
	// The server's WaitMount is not for us: it opens a file of the mount, see MountDirect. INIT has been answered.
	return fuseFD, nil
}

// mountByHelper makes fusermount3 mount and takes the descriptor that it sends over the socket it was given.
func mountByHelper(name, dir string) (fuseFD int, err error) {
	program, err := helper()
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "socket")
	// Read-only, the kernel does not ask anew for a directory's attributes after each listing (its access time).
	options := []string{"ro", "nosuid", "nodev", "default_permissions", "fsname=" + optionValue(name), "subtype=" + subtype,
		"max_read=" + strconv.Itoa(maxRequest)}
	cmd := exec.Command(program, "-o", strings.Join(options, ","), "--", dir)
	cmd.Env, cmd.ExtraFiles = append(os.Environ(), "_FUSE_COMMFD=3"), []*os.File{theirs}
	out, err := cmd.CombinedOutput()
	theirs.Close()
	if err != nil {
		return -1, fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", program, err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("%s sends no descriptor", program)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("%s sends no descriptor", program)
	}
	return fds[0], nil
}

// optionValue hides what separates mount options.
func optionValue(s string) string { return strings.NewReplacer(`\`, `\\`, ",", `\,`).Replace(s) }

// Unmount takes away a mount that MountHelper made; it fails while processes use it. The kernel may go on asking for a while:
// a mount namespace that was made meanwhile has a copy of the mount. Wait tells when the last copy is gone.
func (fs *FS) Unmount() error {
	if fs.dir == "" {
		return nil
	}
	return UnmountHelper(fs.dir)
}

// UnmountHelper is Unmount of what another server's MountHelper made.
func UnmountHelper(dir string) error {
	program, err := helper()
	if err == nil {
		var out []byte
		if out, err = exec.Command(program, "-u", dir).CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
		}
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}
