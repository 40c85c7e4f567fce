package publish

import (
	"maps"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPublishIsRead(t *testing.T) {
	r := newTestRepo(t)
	big := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB
	r.o.Chunks = ChunkSizes{Min: 64 << 10, Avg: 128 << 10, Max: 256 << 10}
	tree := map[string]file{
		"/sw":                      dirOf(4),
		"/sw/bin":                  dirOf(2),
		"/sw/bin/a":                {mode: unix.S_IFREG | 0o4755, data: "program", uid: 12, mtime: -5, links: 2, xattrs: "security.capability=\x01\x02;user.x=y;"},
		"/sw/bin/b":                {mode: unix.S_IFREG | 0o4755, data: "program", uid: 12, mtime: -5, links: 2, xattrs: "security.capability=\x01\x02;user.x=y;"},
		"/sw/bin/\xff\xfe":         text("not UTF-8"),
		"/sw/big":                  text(big),
		"/sw/empty":                text(""),
		"/sw/link":                 link("bin/a"),
		"/sw/fifo":                 {mode: unix.S_IFIFO | 0o600, mtime: testTime, links: 1},
		"/sw/nested":               dirOf(2),
		"/sw/nested/.cvmfscatalog": text(""),
		"/sw/nested/file":          text("below"),
	}
	m := r.publish(func(tx *Tx) error { return tx.Replace("/sw", tx.items(t, tree)) })
	if m.Revision != 2 {
		t.Errorf("revision %d, want 2", m.Revision)
	}
	want := maps.Clone(tree)
	root := r.read("")[""]
	want[""] = root
	if root.links != 3 {
		t.Errorf("root has link count %d, want 3", root.links)
	}
	equalTrees(t, r.read(""), want)
	r.check()
}
