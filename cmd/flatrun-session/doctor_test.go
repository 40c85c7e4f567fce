package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/probe"
)

// What is wrong with a cache that the configuration names is told with the way out, and what is well without one.
func TestDoctor(t *testing.T) {
	dir, hashes := newCache(t, 3)
	base := t.TempDir()
	archive, cut := filepath.Join(base, "archive"), filepath.Join(base, "cut")
	if _, err := says(t, "cache", "export", archive); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, text[:len(text)-1], 0o644); err != nil {
		t.Fatal(err)
	}
	other, private, empty := filepath.Join(base, "other"), filepath.Join(base, "private"), t.TempDir()
	for _, d := range []string{other, private} {
		if err := os.MkdirAll(filepath.Join(d, "00"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(private, "00", hashes[0][2:]), nil, 0); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ lower, state, says, advice string }{
		{dir, "ok", "directory on", ""},
		{other, "ok", "directory on", ""},
		{archive, "ok", "archive of 3 objects, 300 B", ""},
		{filepath.Join(base, "none"), "warn", "no such file", "flatrun prefetch --into"},
		{empty, "warn", "no directories of objects", "00 to ff"},
		{private, "warn", "permission denied", "chmod"},
		{cut, "warn", "cut short", "flatrun cache export"},
	} {
		if tt.lower == private && os.Getuid() == 0 {
			continue
		}
		t.Setenv("FLATRUN_CACHE_LOWER", tt.lower)
		rows := doctor(t)
		r := rows[len(rows)-1]
		if r.Name != "lower cache" || string(r.State) != tt.state || !strings.Contains(r.Detail+r.Reason, tt.says) || !strings.Contains(r.Detail, tt.lower) {
			t.Errorf("%s: %+v", tt.lower, r)
		}
		if !strings.Contains(r.Advice, tt.advice) || (tt.advice == "") != (r.Advice == "") || tt.advice != "" && !strings.Contains(r.Advice, "FLATRUN_CACHE_LOWER") {
			t.Errorf("%s: the way out is %q", tt.lower, r.Advice)
		}
		if c := rows[len(rows)-2]; c.Name != "cache" || !strings.Contains(c.Detail, dir) {
			t.Errorf("the cache is %+v", c)
		}
	}
	t.Setenv("FLATRUN_CACHE_LOWER", "relative")
	if rows := doctor(t); len(rows) != 1 || !rows[0].Required || rows[0].State != probe.Failed || !strings.Contains(rows[0].Reason, "relative") || rows[0].Advice == "" {
		t.Errorf("a faulty configuration: %+v", rows)
	}
}

func doctor(t *testing.T) (rows []probe.Result) {
	t.Helper()
	text, err := says(t, "doctor")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return rows
}
