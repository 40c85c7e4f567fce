package runtime

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// DefaultPath is searched if the environment has no PATH.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// CommandError says why the command of a container cannot be run. It unwraps to the system's error: fs.ErrNotExist if
// there is no such command, fs.ErrPermission if it is not executable.
type CommandError struct {
	Command string // as it was asked for
	Reason  string
	Err     error
}

func (e *CommandError) Error() string { return e.Command + ": " + e.Reason }
func (e *CommandError) Unwrap() error { return e.Err }

// lookPath finds the file of a command as execvp(3) does, and like a shell goes on after files it may not execute.
func lookPath(command string, env []string) (string, error) {
	if strings.Contains(command, "/") {
		return command, nil
	}
	var denied string
	search := getenv(env, "PATH", DefaultPath)
	for dir := range strings.SplitSeq(search, ":") {
		file := path.Join(cmp.Or(dir, "."), command)
		if !strings.Contains(file, "/") {
			file = "./" + file
		}
		var st unix.Stat_t
		if unix.Stat(file, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		// With the effective rights: what counts is what execve will say.
		if unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS) == nil {
			return file, nil
		}
		denied = file
	}
	if denied != "" {
		return "", &CommandError{command, denied + " in the image is not executable", fs.ErrPermission}
	}
	return "", &CommandError{command, "no such command in the image (PATH is " + search + ")", fs.ErrNotExist}
}

// getenv returns the last value of a variable, as libc's users see it after duplicates were appended.
func getenv(env []string, name, other string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(env[i], name+"="); ok {
			return value
		}
	}
	return other
}

// execute replaces the process by a file.
func execute(file string, args, env []string) error {
	restoreSignals()
	err := syscall.Exec(file, args, env) // sets back the limit of open files, which the Go runtime has raised
	if errors.Is(err, unix.ENOEXEC) && isScript(file) {
		// A script without a first line: sh runs it, as it would if asked to itself.
		err = syscall.Exec("/bin/sh", append([]string{"/bin/sh", file}, args[1:]...), env)
	}
	return &CommandError{args[0], explain(file, err), err}
}

// isScript reports whether a file may be meant for a shell: it has text at its beginning.
func isScript(file string) bool {
	head, err := readHead(file)
	return err == nil && !bytes.HasPrefix(head, []byte(elf.ELFMAG)) && !bytes.Contains(head, []byte{0})
}

func readHead(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], err
}

// explain says what execve means.
func explain(file string, err error) string {
	var st unix.Stat_t
	gone := unix.Stat(file, &st)
	switch {
	case errors.Is(err, unix.ENOENT) && gone != nil:
		return "no such file in the image"
	case errors.Is(err, unix.ENOENT):
		return "its interpreter " + interpreter(file) + " is not in the image"
	case errors.Is(err, unix.EACCES) && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return "is a directory"
	case errors.Is(err, unix.EACCES):
		return "is not executable"
	case errors.Is(err, unix.ENOEXEC):
		return wrongFormat(file)
	case errors.Is(err, unix.E2BIG):
		return "arguments and environment are too long"
	}
	return fmt.Sprintf("cannot be executed: %v", err)
}

// interpreter is the program that a script or a dynamically linked program wants to be run by.
func interpreter(file string) string {
	head, err := readHead(file)
	if line, ok := bytes.CutPrefix(head, []byte("#!")); ok && err == nil {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		if words := bytes.Fields(line); len(words) > 0 {
			return string(words[0])
		}
	}
	f, err := elf.Open(file)
	if err != nil {
		return "or a library"
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < unix.PathMax {
			name, _ := io.ReadAll(p.Open())
			return string(bytes.TrimRight(name, "\x00"))
		}
	}
	return "or a library"
}

// wrongFormat names the processor that a program was built for.
func wrongFormat(file string) string {
	f, err := elf.Open(file)
	if err != nil {
		return "is not a program for this machine"
	}
	defer f.Close()
	return fmt.Sprintf("is built for another processor (%s)", strings.TrimPrefix(f.Machine.String(), "EM_"))
}
