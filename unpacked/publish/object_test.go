package publish

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
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
