package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// handler serves the files of repositories in directories. It looks a
// repository up at each request, so that those made later are found.
type handler struct {
	app   *app
	dir   string
	names []string // empty: all
}

// listing is where clients' tools look for the repositories of a server.
const listing = "/cvmfs/info/v1/repositories.json"

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == listing {
		h.list(w, r)
		return
	}
	fqrn, name, ok := splitURL(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	for _, root := range h.roots(fqrn) {
		if serveFile(w, r, root, name) {
			return
		}
	}
	http.NotFound(w, r)
}

// splitURL takes "/cvmfs/FQRN/FILE" or "/FQRN/FILE" apart; fqrn is "" for a
// file of a repository at the server's root. Files of no repository are not
// served.
func splitURL(url string) (fqrn, name string, ok bool) {
	p := strings.TrimPrefix(path.Clean("/"+url), "/")
	for _, prefix := range []string{"data/", ".cvmfs"} {
		if strings.HasPrefix(p, prefix) {
			return "", p, publicFile(p)
		}
	}
	p = strings.TrimPrefix(p, "cvmfs/")
	fqrn, name, ok = strings.Cut(p, "/")
	return fqrn, name, ok && publish.CheckPublishable(fqrn) == nil && publicFile(name)
}

// publicFile tells the files that clients and replicas ask for.
func publicFile(name string) bool {
	if strings.HasPrefix(name, "data/txn/") {
		return false
	}
	return strings.HasPrefix(name, ".cvmfs") && !strings.Contains(name, "/") ||
		strings.HasPrefix(name, "data/") && strings.Count(name, "/") == 2
}

// roots are the directories that may hold a repository.
func (h *handler) roots(fqrn string) []string {
	var roots []string
	if h.dir != "" {
		if fqrn == "" {
			return []string{h.dir}
		}
		roots = append(roots, filepath.Join(h.dir, "cvmfs", fqrn), filepath.Join(h.dir, fqrn))
		if filepath.Base(h.dir) == fqrn {
			roots = append(roots, h.dir)
		}
	}
	if fqrn != "" && (slices.Contains(h.names, fqrn) || h.dir == "" && len(h.names) == 0) {
		if root, err := h.storage(fqrn); err == nil {
			roots = append(roots, root)
		}
	}
	return roots
}

// storage is the directory of a repository that init noted.
func (h *handler) storage(fqrn string) (string, error) {
	s, err := h.app.loadSettings(fqrn)
	if errors.Is(err, fs.ErrNotExist) {
		return "", h.app.unknown(fqrn)
	}
	if err == nil && strings.Contains(s.Storage, "://") {
		err = fmt.Errorf("serve %s: its storage %s is no directory: clients ask the object store itself", fqrn, s.Storage)
	}
	return s.Storage, err
}

// serveFile answers with a file below root, and false if there is none. Links
// that lead out of root are not followed.
func serveFile(w http.ResponseWriter, r *http.Request, root, name string) bool {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return false
	}
	defer dir.Close()
	f, err := dir.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return false
	}
	// As the official server configures its Apache: data for three days, the
	// head for a minute, and no date by which a cache could think a replaced
	// file unchanged.
	head := w.Header()
	if strings.HasPrefix(name, ".cvmfs") {
		head.Set("Content-Type", "application/x-cvmfs")
		head.Set("Cache-Control", "max-age=61")
	} else {
		head.Set("Content-Type", "application/octet-stream")
		head.Set("Cache-Control", "max-age=259200")
		head.Set("ETag", `"`+strings.ReplaceAll(name, "/", "")+`"`)
	}
	http.ServeContent(w, r, "", time.Time{}, f)
	return true
}

// list answers with the names of the repositories.
func (h *handler) list(w http.ResponseWriter, _ *http.Request) {
	type entry struct {
		Name string `json:"name"`
		URL  string `json:"url"`
	}
	all := []entry{}
	for _, name := range h.known() {
		all = append(all, entry{name, "/cvmfs/" + name})
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=61")
	json.NewEncoder(w).Encode(map[string]any{"schema": 1, "repositories": all, "replicas": []entry{}})
}

func (h *handler) known() []string {
	names := slices.Clone(h.names)
	if h.dir == "" && len(names) == 0 {
		for _, s := range h.app.configured() {
			if _, err := h.storage(s.FQRN); err == nil {
				names = append(names, s.FQRN)
			}
		}
	}
	for _, pattern := range []string{"*", "cvmfs/*"} {
		found, _ := filepath.Glob(filepath.Join(h.dir, pattern, repo.ManifestName))
		for _, f := range found {
			if name := filepath.Base(filepath.Dir(f)); h.dir != "" && publish.CheckPublishable(name) == nil {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
