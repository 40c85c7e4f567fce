package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/probe"
	"github.com/flatrun/flatrun/mount/repotest"
)

// ociConfig is the configuration of the image without scripts.
const ociConfig = `{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/echo","entry"],"Cmd":["default"],` +
	`"Env":["PATH=/oci/bin:/bin","OCIVAR=a b $x"],"WorkingDir":"/opt","Labels":{"maker":"tests"}},"rootfs":{"type":"layers","diff_ids":[]}}`

// serveRepository publishes a repository with two images as DUCC lays them out,
// serves it, and writes the configuration that knows it. The names are:
//
//	registry.example.org/library/box:latest, :1   without scripts, OCI configuration
//	registry.example.org/team/ducc:2              with DUCC's scripts
func serveRepository(t *testing.T, r *rig) {
	t.Helper()
	if err := probe.FUSE(); err != nil {
		r.missing["fuse"] = err.Error()
		return
	}
	busybox, err := os.ReadFile(staticBusybox(t))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(ociConfig))
	box, ducc := hex.EncodeToString(sum[:]), strings.Repeat("ab", 32)
	config := "/podmanStore/overlay-images/" + box + "/=" + base64.StdEncoding.EncodeToString([]byte("sha256:"+box))
	tree := []repotest.File{
		{Path: config, Content: ociConfig},
		link("/registry.example.org/library/box:latest", box), link("/registry.example.org/library/box:1", box),
		link("/registry.example.org/team/ducc:2", ducc),
	}
	tree = append(tree, rootTree(flatRoot(box), busybox, nil)...)
	tree = append(tree, rootTree(flatRoot(ducc), busybox, duccFiles)...)
	repo := repotest.Build(t, repotest.Spec{FQRN: "images.example.org", Tree: tree})
	server := repotest.Serve(t, repo.Dir)
	r.config = filepath.Join(t.TempDir(), "config.yaml")
	write(t, r.config, fmt.Sprintf("repositories:\n  images.example.org:\n    servers: [%q]\n    public_keys: [%q]\n    proxies: DIRECT\n"+
		"cache: {dir: %q}\nsession: {idle: 30s}\nimages: {default_registry: registry.example.org}\n", server.URL, repo.KeyPath, filepath.Join(t.TempDir(), "cache")))
	t.Cleanup(func() {
		cmd := exec.Command(filepath.Join(r.bin, "flatrun"), "umount", "--all", "--force")
		cmd.Env = r.environ(nil)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("end of sessions: %v: %s", err, out)
		}
	})
}

func flatRoot(id string) string { return "/.flat/" + id[:2] + "/" + id }

// link is an image's name.
func link(name, id string) repotest.File {
	return repotest.File{Path: name, Kind: repotest.Link, Content: "../.." + flatRoot(id)}
}

// rootTree is a root file system with busybox and more files.
func rootTree(root string, busybox []byte, files map[string]string) []repotest.File {
	tree := []repotest.File{
		{Path: root, Kind: repotest.Dir, Nested: true},
		{Path: root + "/bin/busybox", Content: string(busybox), Perm: 0o755},
		{Path: root + "/etc/passwd", Content: "root:x:0:0:root:/root:/bin/sh\n"}, {Path: root + "/etc/group", Content: "root:x:0:\n"},
	}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "var/tmp", "root", "home"} {
		tree = append(tree, repotest.File{Path: root + "/" + dir, Kind: repotest.Dir})
	}
	for _, name := range strings.Fields(applets) {
		tree = append(tree, repotest.File{Path: root + "/bin/" + name, Kind: repotest.Link, Content: "busybox"})
	}
	for name, text := range files {
		f := repotest.File{Path: root + "/" + strings.TrimSuffix(name, "/"), Content: text, Perm: 0o755}
		if strings.HasSuffix(name, "/") {
			f.Kind = repotest.Dir
		}
		tree = append(tree, f)
	}
	return tree
}
