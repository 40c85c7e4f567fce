package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/config/site"
	"github.com/flatrun/flatrun/mount/enter"
)

// siteDirectives are the directives of the site, nil if nobody has written any. This program cannot read YAML, and to ask
// flatrun-session costs several starts of a container, so the answer is kept until
// a file changes. Where there is no file, nothing is asked.
func (p *program) siteDirectives() (*site.Runtime, error) {
	key := p.siteKey()
	if key == "" {
		return nil, nil
	}
	file := site.CacheDir(p.getenv, enter.Current().UID) + ".site"
	if text, ok := readKept(file, key); ok {
		if r, err := site.Decode(text); err == nil {
			return &r, nil
		}
	}
	var answer bytes.Buffer
	if err := p.callSession(&answer, "site"); err != nil {
		return nil, err
	}
	keep(file, key, answer.Bytes())
	r, err := site.Decode(answer.Bytes())
	return &r, err
}

// siteKey names the configuration files as they are now, "" if there are none.
func (p *program) siteKey() string {
	files := []string{p.config}
	if p.config == "" {
		files[0] = p.getenv("FLATRUN_CONFIG")
	}
	if files[0] == "" {
		files[0] = "/etc/flatrun/config.yaml"
		// As package config has it; a relative directory is to be ignored.
		if dir := p.getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
			files = append(files, filepath.Join(dir, "flatrun/config.yaml"))
		} else if home := p.getenv("HOME"); filepath.IsAbs(home) {
			files = append(files, filepath.Join(home, ".config/flatrun/config.yaml"))
		}
	}
	var key strings.Builder
	for _, file := range files {
		var st unix.Stat_t
		if unix.Stat(file, &st) == nil {
			fmt.Fprintf(&key, "%s %d %d %d %d.%d\n", file, st.Dev, st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec)
		}
	}
	if key.Len() == 0 {
		return ""
	}
	return version + "\n" + key.String()
}

// kept is the file in which an answer is kept.
type kept struct {
	Key     string
	Runtime json.RawMessage
}

// maxKept bounds it.
const maxKept = 1 << 20

// readKept trusts a file only if nobody else can have written it: it lies in a
// directory that everybody may write.
func readKept(file, key string) (json.RawMessage, bool) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o022 != 0 || int(st.Uid) != os.Getuid() || st.Size > maxKept {
		return nil, false
	}
	text := make([]byte, st.Size)
	if n, err := unix.Read(fd, text); err != nil || n != len(text) {
		return nil, false
	}
	var k kept
	if json.Unmarshal(text, &k) != nil || k.Key != key {
		return nil, false
	}
	return k.Runtime, true
}

// keep writes an answer down. If that fails, the next call asks again.
func keep(file, key string, answer []byte) {
	text, err := json.Marshal(kept{key, answer})
	if err != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if closeErr := f.Close(); err == nil && closeErr == nil {
		os.Rename(f.Name(), file)
	}
}
