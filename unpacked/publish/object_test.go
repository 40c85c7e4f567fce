package publish

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/deflate"
)

// TestPackedAgain has the objects that the official replication does not copy but packs again: a replica would not have
// them, were they not what zlib makes of their content.
func TestPackedAgain(t *testing.T) {
	r := newTestRepo(t)
	m := r.publish(func(tx *Tx) error { return tx.PutFile("/a", 0o644, bytes.NewReader([]byte("a"))) })
	for _, o := range []cas.Object{{Hash: m.Certificate, Suffix: cas.CertificateSuffix}, {Hash: m.Metainfo, Suffix: cas.MetainfoSuffix}} {
		stored, err := os.ReadFile(filepath.Join(r.dir.root, o.Name()))
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(deflate.NewReader(bytes.NewReader(stored), deflate.Zlib))
		if err != nil || len(content) == 0 {
			t.Fatalf("%s: %d bytes, %v", o.Name(), len(content), err)
		}
		if !bytes.Equal(deflate.Exact(content), stored) {
			t.Errorf("%s is not what zlib makes of it", o.Name())
		}
	}
}

// TestPackedAnew has a repository whose certificate and metainfo are packed as before: check tells, resign heals.
func TestPackedAnew(t *testing.T) {
	r := newTestRepo(t)
	pack := func(b []byte, suffix cas.Suffix) cas.Hash {
		var packed bytes.Buffer
		z, err := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		z.Write(b)
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		h := cas.Sum(cas.SHA1, packed.Bytes())
		if err := r.s.Put(t.Context(), cas.Object{Hash: h, Suffix: suffix}.Name(), &packed, int64(packed.Len()), Data); err != nil {
			t.Fatal(err)
		}
		return h
	}
	description := defaultMetainfo("what it is, what it is")
	tx := r.begin()
	m := *tx.rev.Manifest()
	m.Certificate, m.Metainfo = pack(r.keys.Certificate, cas.CertificateSuffix), pack(description, cas.MetainfoSuffix)
	var err error
	if m.Reflog, err = tx.head().putReflog(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tx.head().sign(t.Context(), &m), tx.Abort()); err != nil {
		t.Fatal(err)
	}
	report, err := Check(t.Context(), r.s, CheckOptions{ReadOptions: ReadOptions{Options: r.o, Public: r.keys.Public}})
	if err != nil || len(report.Problems) != 2 || !strings.HasSuffix(report.Problems[0], "flathub resign "+testFQRN) {
		t.Errorf("problems %q, %v", report.Problems, err)
	}
	if err := Resign(t.Context(), r.s, r.keys, r.o); err != nil {
		t.Fatal(err)
	}
	r.check()
	b, err := cas.ReadVerified(t.Context(), Fetcher(r.s), cas.Object{Hash: r.open("").Head().Manifest().Metainfo, Suffix: cas.MetainfoSuffix, Size: -1})
	if err != nil || !bytes.Equal(b, description) {
		t.Errorf("the metainfo is %q, %v", b, err)
	}
}
