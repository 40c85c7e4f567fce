package enter

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
)

func subIDs() (uids, gids []IDMap, err error) {
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, nil, fmt.Errorf("no %s on PATH (package uidmap)", tool)
		}
	}
	uid, gid := os.Getuid(), os.Getgid()
	names := []string{strconv.Itoa(uid)}
	if u, err := user.LookupId(names[0]); err == nil {
		names = append(names, u.Username)
	}
	if uids, err = readSubIDs("/etc/subuid", names, uint32(uid)); err != nil {
		return nil, nil, err
	}
	if gids, err = readSubIDs("/etc/subgid", names, uint32(gid)); err != nil {
		return nil, nil, err
	}
	return uids, gids, nil
}

// sessionIDs returns the maps of a session's user namespace: all ids that the user has are themselves, so that containers
// of --fakeroot below it can have them.
func sessionIDs() (uids, gids []IDMap, err error) {
	uids, gids, err = subIDs()
	for _, maps := range [][]IDMap{uids, gids} {
		for i := range maps {
			maps[i].Inside = maps[i].Outside
		}
	}
	return uids, gids, err
}

// readSubIDs maps 0 to id and the user's ranges behind it, one after the other. names are the user's name and uid;
// either may stand in the file, whose lines are name:first:count.
func readSubIDs(path string, names []string, id uint32) ([]IDMap, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s does not exist: the admin can add a range with usermod --add-subuids and --add-subgids", path)
		}
		return nil, err
	}
	defer f.Close()
	maps := []IDMap{{Inside: 0, Outside: id, Count: 1}}
	next := uint32(1)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		firstText, countText, _ := strings.Cut(rest, ":")
		first, err1 := strconv.ParseUint(firstText, 10, 32)
		count, err2 := strconv.ParseUint(countText, 10, 32)
		if err1 != nil || err2 != nil || count == 0 || !contains(names, name) || uint64(next)+count > 1<<32-1 {
			continue
		}
		maps = append(maps, IDMap{Inside: next, Outside: uint32(first), Count: uint32(count)})
		next += uint32(count)
	}
	if len(maps) == 1 {
		return nil, fmt.Errorf("%s has no range for %s: the admin can add one with usermod --add-subuids and --add-subgids", path, names[len(names)-1])
	}
	return maps, nil
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

func mapped() (n uint64) {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 {
			count, _ := strconv.ParseUint(f[2], 10, 32)
			n += count
		}
	}
	return n
}
