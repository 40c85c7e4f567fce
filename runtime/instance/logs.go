package instance

import (
	"errors"
	"io/fs"
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
	out, errs := s.LogPaths(name)
	for try := 0; ; try++ {
		if err := enter.MakeDir(s.Logs); err != nil {
			return nil, nil, err
		}
		stdout, err = openLog(out)
		if !errors.Is(err, fs.ErrNotExist) || try == 100 { // else RemoveLogs has found the directory empty
			break
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if stderr, err = openLog(errs); err != nil {
		stdout.Close()
		return nil, nil, err
	}
	return stdout, stderr, nil
}

func openLog(file string) (*os.File, error) {
	return os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
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
