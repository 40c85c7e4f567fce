package convert

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/flatrun/flatrun/unpacked"
)

// FuzzArchive opens what docker save writes and an archived OCI layout, whose documents are somebody else's.
func FuzzArchive(f *testing.F) {
	const config = `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"]}}`
	f.Add([]byte(`[{"Config":"config.json","RepoTags":["a:1"],"Layers":["layer.tar"]}]`), []byte(config))
	f.Add([]byte(`[{"Config":"config.json","Layers":null}]`), []byte(`{}`))
	f.Add([]byte(`[null,{}]`), []byte(`null`))
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":2},"layers":[]}`, unpacked.Sum([]byte("{}")))
	f.Add(fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%d}]}`, unpacked.Sum([]byte(manifest)), len(manifest)), []byte(manifest))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, document, second []byte) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, file := range []struct {
			name    string
			content []byte
		}{
			{"manifest.json", document}, {"config.json", second}, {"layer.tar", []byte("{}")},
			{"index.json", document}, {"blobs/sha256/" + unpacked.Sum(second).Hex(), second},
		} {
			if err := w.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.content))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(file.content); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "archive.tar")
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"docker-archive:", "oci-archive:"} {
			images, err := Source{}.Open(t.Context(), kind+path, "example.org/a:1")
			if err != nil {
				continue
			}
			for _, img := range images {
				// Whatever they answer: none may panic.
				img.ConfigFile()
				img.RawManifest()
				if layers, err := img.Layers(); err == nil {
					for _, l := range layers {
						l.Digest()
						l.Size()
					}
				}
			}
		}
	})
}
