package instance

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
)

// LogPaths are where an instance's standard output and error go.
func (s *Store) LogPaths(name string) (stdout, stderr string) {
	base := filepath.Join(s.Logs, name)
	return base + ".out", base + ".err"
}

// OpenLogs makes the two files anew.
func (s *Store) OpenLogs(name string) (stdout, stderr *os.File, err error) {
	if err := enter.MakeDir(s.Logs); err != nil {
		return nil, nil, err
	}
	out, errs := s.LogPaths(name)
	const flags = os.O_CREATE | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW
	if stdout, err = os.OpenFile(out, flags, 0o600); err != nil {
		return nil, nil, err
	}
	if stderr, err = os.OpenFile(errs, flags, 0o600); err != nil {
		stdout.Close()
		return nil, nil, err
	}
	return stdout, stderr, nil
}

// RemoveLogs removes what an instance has written.
func (state State) RemoveLogs() { state.removeLogs(true) }

// removeLogs leaves the output of an instance that has ended by itself until the next start of the name, unless there is
// none: somebody will want to know why.
func (state State) removeLogs(all bool) {
	for _, file := range []string{state.LogOut, state.LogErr} {
		if st, err := os.Lstat(file); err == nil && (all || st.Size() == 0) {
			os.Remove(file)
		}
	}
	// The directories, if they are empty now.
	if dir := filepath.Dir(state.LogOut); state.LogOut != "" && os.Remove(dir) == nil {
		os.Remove(filepath.Dir(dir))
	}
}
