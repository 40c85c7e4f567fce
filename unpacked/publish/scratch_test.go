package publish

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestScratchLeft has the directory of a process that is gone removed by the next one, and no other.
func TestScratchLeft(t *testing.T) {
	in := tempDir(t)
	held, remove, err := newScratch(in)
	if err != nil {
		t.Fatal(err)
	}
	left, young := filepath.Join(in, scratchPrefix+"123"), filepath.Join(in, scratchPrefix+"456")
	for _, dir := range []string{left, young, filepath.Join(in, "flathub-123"), filepath.Join(in, scratchPrefix+"mine")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(in)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * leftAge)
	var want []string
	for _, e := range entries {
		dir := filepath.Join(in, e.Name())
		if dir != young {
			if err := os.Chtimes(dir, old, old); err != nil {
				t.Fatal(err)
			}
		}
		if dir != left && dir != held {
			want = append(want, e.Name())
		}
	}
	names := func() (names []string) {
		entries, err := os.ReadDir(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	r := &testRepo{t: t, keys: testKeys(), o: Options{FQRN: testFQRN, Scratch: in}}
	dir, err := OpenDirectory(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	r.dir, r.s = dir, dir
	if _, err := Init(t.Context(), r.s, InitOptions{Options: r.o, Keys: r.keys}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(held); err != nil {
		t.Errorf("one in use: %v", err)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	r.put("/f", "x")
	if got := names(); !slices.Equal(got, want) {
		t.Errorf("left are %s, want %s", strings.Join(got, " "), strings.Join(want, " "))
	}
}
