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

	"github.com/flatrun/flatrun/mount/repotest"
	"github.com/flatrun/flatrun/mount/session"
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
					all, err := session.List()
					return err == nil && len(all) == 1 && all[0].Users == 0 && len(all[0].Mounts) == 1
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

// helper installs an authorization helper that answers so.
func (w *world) helper(name, answer string) {
	w.t.Helper()
	text, err := os.ReadFile(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "cvmfs_dir: ")
	cvmfs, _, _ := strings.Cut(rest, "\n")
	dir := w.t.TempDir()
	message := func(json string) string {
		json = `{"cvmfs_authz_v1":{"revision":0,` + json + "}}"
		size := binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, 1), uint32(len(json)))
		var octal strings.Builder
		for _, b := range size {
			fmt.Fprintf(&octal, `\%03o`, b)
		}
		return fmt.Sprintf("printf '%s%%s' '%s'\n", octal.String(), json)
	}
	// It need not read what it is asked to say what it says.
	script := "#!/bin/sh\n[ \"$CVMFS_AUTHZ_HELPER\" = yes ] || exit 1\n" + message(`"msgid":1`) + message(`"msgid":3,`+answer) + "exec cat >/dev/null\n"
	err = os.WriteFile(filepath.Join(dir, "cvmfs_"+name+"_helper"), []byte(script), 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(cvmfs, "default.local"), []byte("CVMFS_AUTHZ_SEARCH_PATH="+dir+"\n"), 0o644)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
