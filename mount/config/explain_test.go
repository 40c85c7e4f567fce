package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file below testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s", file, got)
	}
}

func TestExplain(t *testing.T) {
	c, root := load(t, with(map[string]string{
		"etc/flatrun/config.yaml": `
cache: {limit: 5GiB}
runtime: {no_env: [LD_PRELOAD], bind: ["/scratch::if-exists"]}
repositories:
  atlas.example.org:
    tag: "2026-01-01"
  broken.example.com:
    servers: http://x/y
`}), map[string]string{"FLATRUN_CACHE_DIR": "/scratch/cache", "FLATRUN_HTTP_PROXY": "http://mine:3128"})
	var b strings.Builder
	if err := c.Explain(&b); err != nil {
		t.Fatal(err)
	}
	// Columns are as wide as their texts, so the directory is cut out line by line.
	golden(t, "explain.golden", squeeze(b.String(), root))

	r, err := c.Repository("atlas.example.org")
	if err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if err := r.Explain(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "explain-repository.golden", squeeze(b.String(), root))
}

// squeeze takes out what differs between machines: the width of columns, the
// test's directory, the user's number.
func squeeze(text, root string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.Join(strings.Fields(line), " ")
		line = strings.ReplaceAll(line, root, "ROOT")
		b.WriteString(strings.ReplaceAll(line, fmt.Sprintf("flatrun-%d", os.Getuid()), "flatrun-UID") + "\n")
	}
	return b.String()
}
