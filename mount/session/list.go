package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flatrun/flatrun/mount/enter"
)

// List asks all sessions and host mounts of the user for their state, in the order of their names.
func List() ([]enter.Status, error) {
	bases := []string{fmt.Sprintf("/tmp/flatrun-%d", os.Getuid())}
	base, err := BaseDir()
	if err != nil {
		return nil, err
	}
	if base != bases[0] {
		bases = append(bases, base)
	}
	var dirs []string
	for _, base := range bases {
		entries, err := os.ReadDir(base)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for sessions: %w", err)
		}
		for _, e := range entries {
			dirs = append(dirs, filepath.Join(base, e.Name()))
		}
	}
	answers := make([]*enter.Status, len(dirs))
	var asked sync.WaitGroup
	for i, dir := range dirs {
		asked.Go(func() { answers[i] = ask(dir) })
	}
	asked.Wait()
	var all []enter.Status
	for _, s := range answers {
		if s != nil {
			all = append(all, *s)
		}
	}
	slices.SortFunc(all, func(a, b enter.Status) int { return strings.Compare(a.Dir, b.Dir) })
	return all, nil
}

// listPatience is how long a session may take to tell of itself.
const listPatience = 3 * time.Second

// ask answers nil where no session is, and says of one that hangs no more than that.
func ask(dir string) *enter.Status {
	for range 3 { // a server that is killed while it is asked has a successor
		s, err := enter.Dial(dir)
		if err != nil {
			return nil
		}
		status, err := s.StatusWithin(listPatience)
		s.Close()
		var hung *enter.HungError
		switch name := filepath.Base(dir); {
		case err == nil:
			return &status
		case errors.As(err, &hung):
			return &enter.Status{Key: name, Dir: dir, PID: hung.PID, Host: strings.HasPrefix(name, hostPrefix), Hung: hung.Error()}
		}
	}
	return nil
}
