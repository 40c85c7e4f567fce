package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

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
	var all []enter.Status
	for _, base := range bases {
		entries, err := os.ReadDir(base)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for sessions: %w", err)
		}
		for _, e := range entries {
			s, err := ask(filepath.Join(base, e.Name()))
			if err == nil {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b enter.Status) int {
		if a.Dir < b.Dir {
			return -1
		}
		return 1
	})
	return all, nil
}

func ask(dir string) (enter.Status, error) {
	s, err := enter.Dial(dir)
	if err != nil {
		return enter.Status{}, err
	}
	defer s.Close()
	return s.Status()
}
