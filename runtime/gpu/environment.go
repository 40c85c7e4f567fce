package gpu

import (
	"slices"
	"strings"
)

// Environment makes the loader of the image in dir find LibraryDir, last of all: where an image's own scripts have put it
// into LD_LIBRARY_PATH that is so already. LD_LIBRARY_PATH goes before the loader's own directories, so these are named
// before LibraryDir where nothing else is.
func Environment(env []string, dir string) []string {
	const name = "LD_LIBRARY_PATH="
	i := slices.IndexFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name) })
	var list []string
	if i >= 0 && env[i] != name {
		list = strings.Split(strings.TrimPrefix(env[i], name), ":")
	}
	if slices.Contains(list, LibraryDir) {
		return env
	}
	if len(list) == 0 {
		list = LibraryDirs(dir)
	}
	value := name + strings.Join(append(list, LibraryDir), ":")
	if i < 0 {
		return append(env, value)
	}
	env = slices.Clone(env)
	env[i] = value
	return env
}
