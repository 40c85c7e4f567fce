package site

import "fmt"

// CacheDir is where the cache of objects is where no file says otherwise:
// $FLATRUN_CACHE_DIR, else a directory of the user on the local disk. The home
// directory would be the wrong place: it is often small and far away.
func CacheDir(env func(name string) string, uid int) string {
	if dir := env("FLATRUN_CACHE_DIR"); dir != "" {
		return dir
	}
	return fmt.Sprintf("/var/tmp/flatrun-%d", uid)
}
