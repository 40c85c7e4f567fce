package session_test

import (
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/repotest"
)

// membersOnly puts the property of a repository that is not open to all into its root catalog.
func membersOnly(t *testing.T) func(repotest.Catalog) {
	return func(c repotest.Catalog) {
		if c.Prefix != "" {
			return
		}
		db, err := sqlite.OpenConn(c.File, sqlite.OpenReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := sqlitex.ExecuteTransient(db, "INSERT INTO properties (key, value) VALUES ('voms_authz', 'x509%/some.experiment')", nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMembersOnly(t *testing.T) {
	needFUSE(t)
	r := repotest.Build(t, repotest.Spec{FQRN: "members.example.org", Tree: imageTree(), Patch: membersOnly(t)})
	// The catalogs are for all, files want a token.
	files := http.FileServer(http.Dir(r.Dir))
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		open := !strings.HasPrefix(req.URL.Path, "/data/") || strings.ContainsAny(req.URL.Path[len(req.URL.Path)-1:], "CXHM")
		if !open && req.Header.Get("Authorization") != "Bearer the.right.one" {
			http.Error(w, "", http.StatusForbidden)
			return
		}
		files.ServeHTTP(w, req)
	}))
	t.Cleanup(s.Close)
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"BEARER_TOKEN", "BEARER_TOKEN_FILE", "X509_USER_PROXY"} {
		t.Setenv(name, "")
	}
	setting := repository(s.URL, r.KeyPath) + fmt.Sprintf("\nca_bundle: %q\npatience: 0\nmax_retries: 0", bundle)
	t.Run("without", func(t *testing.T) {
		for _, usual := range []string{"/tmp/bt_u%d", "/tmp/x509up_u%d"} {
			if exists(fmt.Sprintf(usual, os.Getuid())) {
				t.Skip("somebody left a credential in /tmp")
			}
		}
		w := newWorld(t, map[string]string{r.FQRN: setting}, "")
		_, err := w.find("debian:12", "bin/sh")
		if err == nil || !strings.Contains(err.Error(), `members of "/some.experiment" only`) || !strings.Contains(err.Error(), "BEARER_TOKEN_FILE") {
			t.Errorf("%v", err)
		}
	})
	t.Run("token", func(t *testing.T) {
		t.Setenv("BEARER_TOKEN", "the.right.one")
		w := newWorld(t, map[string]string{r.FQRN: setting}, "")
		if f, err := w.find("debian:12", "bin/sh"); err != nil || f.Content != "#!" {
			t.Errorf("%+v, %v", f, err)
		}
	})
	t.Run("helper", func(t *testing.T) {
		for answer, want := range map[string]string{
			`"status":0,"bearer_token":"the.right.one"`: "", `"status":3`: "not a member", `"status":0,"bearer_token":"another"`: "permission denied",
		} {
			w := newWorld(t, map[string]string{r.FQRN: setting}, "")
			w.helper("x509", answer)
			f, err := w.find("debian:12", "bin/sh")
			if want == "" && (err != nil || f.Content != "#!") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %+v, %v", answer, f, err)
			}
			if want == "" {
				eventually(t, "the helper is no user of the session", func() bool {
					s, ok := w.status()
					return ok && s.Users == 0 && len(s.Mounts) == 1
				})
			}
		}
	})
	t.Run("in the clear", func(t *testing.T) {
		t.Setenv("BEARER_TOKEN", "the.right.one")
		w := newWorld(t, map[string]string{r.FQRN: repository(repotest.Serve(t, r.Dir).URL, r.KeyPath)}, "")
		if _, err := w.find("debian:12"); err == nil || !strings.Contains(err.Error(), "in the clear") {
			t.Errorf("%v", err)
		}
	})
}

// A helper that says "no" while the repository is mounted: what was not read yet is refused, and so are new containers, until
// it says "yes" again. The mount outlives its server in between.
func TestPermissionWithdrawn(t *testing.T) {
	needFUSE(t)
	tree := append(imageTree(), repotest.File{Path: "/.flat/" + flatID[:2] + "/" + flatID + "/more/unread", Content: "unread\n"})
	r := repotest.Build(t, repotest.Spec{FQRN: "members.example.org", Tree: tree, Patch: membersOnly(t)})
	w := newWorld(t, map[string]string{r.FQRN: repository(repotest.Serve(t, r.Dir).URL, r.KeyPath)}, "")
	answer := w.helper("x509", `"status":0,"ttl":3600`)
	c := w.inside("registry.example.org/library/tool:1.0")
	if got := c.do("exec 3<big; head -c 16 <&3; echo; cat etc/motd"); got != "hello" {
		t.Fatalf("a member reads %q", got)
	}
	refresh := func() error {
		s, err := enter.Dial(w.dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Refresh(r.FQRN)
	}
	refused := func() {
		t.Helper()
		if got := c.do("cat more/unread"); !strings.Contains(got, "Permission denied") && !strings.Contains(got, "permission denied") {
			t.Errorf("without permission: %q", got)
		}
		if got := c.do("cat <&3 | wc -c; exec 3<big; head -c 16 <&3"); !strings.HasPrefix(got, "0123456789abcdef") {
			t.Errorf("the open file reads %q", got)
		}
		if _, err := w.find("registry.example.org/library/tool:1.0"); err == nil || !strings.Contains(err.Error(), "not a member") {
			t.Errorf("a new container: %v", err)
		}
		if m := w.mount(); !strings.Contains(m.Refused, "not a member") {
			t.Errorf("status says %+v", m)
		}
	}
	answer(`"status":3,"ttl":3600`)
	if err := refresh(); err == nil || !strings.Contains(err.Error(), "not a member") {
		t.Fatalf("refresh: %v", err)
	}
	refused()
	if w.resumable() {
		w.killed()
		if got := c.do("cat more/unread"); !strings.Contains(strings.ToLower(got), "permission denied") {
			t.Errorf("after the server was killed: %q", got)
		}
	}
	answer(`"status":0,"ttl":3600`)
	if err := refresh(); err != nil {
		t.Fatal(err)
	}
	if got := c.do("cat more/unread"); got != "unread" {
		t.Errorf("with permission again: %q", got)
	}
	w.mustFind("registry.example.org/library/tool:1.0")
}

// helper installs an authorization helper that answers so each time it is asked. What it answers can be changed.
func (w *world) helper(name, first string) (answer func(string)) {
	w.t.Helper()
	text, err := os.ReadFile(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "cvmfs_dir: ")
	cvmfs, _, _ := strings.Cut(rest, "\n")
	dir := w.t.TempDir()
	message := func(file, fields string) {
		json := `{"cvmfs_authz_v1":{"revision":0,` + fields + "}}"
		b := binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, 1), uint32(len(json)))
		err := os.WriteFile(filepath.Join(dir, "new"), append(b, json...), 0o644)
		if err == nil {
			err = os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, file))
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	answer = func(fields string) { message("answer", `"msgid":3,`+fields) }
	message("ready", `"msgid":1`)
	answer(first)
	// A message is read by its length, which is the second of two numbers.
	const script = `#!/bin/sh
[ "$CVMFS_AUTHZ_HELPER" = yes ] || exit 1
cd "${0%/*}"
asked() { n=$(head -c 8 | od -A n -t u4 | tr -s ' ' | cut -d ' ' -f 3); [ -n "$n" ] && head -c "$n" >/dev/null; }
asked && cat ready
while asked; do cat answer; done
`
	err = os.WriteFile(filepath.Join(dir, "cvmfs_"+name+"_helper"), []byte(script), 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(cvmfs, "default.local"), []byte("CVMFS_AUTHZ_SEARCH_PATH="+dir+"\n"), 0o644)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}
