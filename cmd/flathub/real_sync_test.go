package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/unpacked/convert"
)

func realSync(t *testing.T, s *site) {
	for _, tag := range []string{"1.0", "1.1", "2.0"} {
		realSmall(t, s, "wish/app:"+tag, "app "+tag+"\n")
	}
	list := filepath.Join(s.dir, "wishes.yaml")
	wishes := func(lines ...string) {
		text := fmt.Sprintf("version: 1\nuser: nobody\ncvmfs_repo: %s\noutput_format: '$(scheme)://%s/thin/$(image)'\ninput:\n", realFQRN, s.registry)
		for _, l := range lines {
			text += fmt.Sprintf("  - 'http://%s/%s'\n", s.registry, l)
		}
		s.write(t, list, text)
	}
	flathub := filepath.Join(s.bin, "flathub")
	before := s.revision(t)

	wishes("wish/absent:1", "wish/app:1.*", "wish/none:*")
	code, stdout, stderr := s.fails(t, flathub, "sync", list, "--dry-run")
	if code != 1 || !strings.Contains(stdout, "would convert "+s.registry+"/wish/app:1.1") || !strings.Contains(stdout, "2 images would be converted") ||
		!strings.Contains(stdout, s.registry+" knows no such image or tag") {
		t.Errorf("dry run: exit code %d: %s%s", code, stdout, stderr)
	}
	_, stdout, _ = s.fails(t, flathub, "sync", list, "--dry-run", "--json")
	if !strings.Contains(stdout, `"missing":["`+s.registry+`/wish/app:1.`) || strings.Contains(stdout, "null") {
		t.Errorf("dry run for programs: %s", stdout)
	}
	if now := s.revision(t); now != before {
		t.Errorf("a dry run published revision %d", now)
	}
	code, stdout, _ = s.fails(t, flathub, "sync", list, "--json", "--quiet")
	var r convert.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 1 {
		t.Fatalf("exit code %d, %v in %q", code, err, stdout)
	}
	if len(r.Converted) != 2 || len(r.Failures) != 2 || r.Revision != uint64(before+1) {
		t.Errorf("%+v", r)
	}
	_, stdout, _ = s.fails(t, flathub, "sync", list, "--quiet")
	if lines := strings.Split(strings.TrimSpace(stdout), "\n"); len(lines) < 3 || !strings.HasPrefix(lines[0], "failed: ") || !strings.HasPrefix(lines[len(lines)-1], realFQRN) {
		t.Errorf("failures at the end, then the sum: %q", stdout)
	}
	if now := s.revision(t); now != before+1 {
		t.Errorf("nothing new, and revision %d", now)
	}

	wishes("wish/app:1.0", "wish/app:2.0")
	if out := s.flathub(t, "sync", list, "--dry-run", "--grace", "0s"); !strings.Contains(out, "would be removed "+s.registry+"/wish/app:1.1\n") {
		t.Errorf("dry run of another list: %s", out)
	}
	if out := s.flathub(t, "sync", list, "--quiet", "--thin", "--grace", "0s"); !strings.Contains(out, "1 images converted, 1 unchanged") || strings.Count(out, "pushed "+s.registry+"/thin/wish/app") != 2 {
		t.Errorf("another list: %s", out)
	}
	if out := s.run(t, "skopeo", "--insecure-policy", "inspect", "--config", "--tls-verify=false", "docker://"+s.registry+"/thin/wish/app:2.0"); !strings.Contains(out, "CVMFS_IMAGE=true") {
		t.Errorf("the thin image's configuration: %s", out)
	}
	mnt := s.mount(t)
	entries, err := os.ReadDir(filepath.Join(mnt, s.registry, "wish"))
	if err != nil {
		t.Fatal(err)
	}
	var tags []string
	for _, e := range entries {
		if !strings.Contains(e.Name(), "@") {
			tags = append(tags, e.Name())
		}
	}
	if !slices.Equal(tags, []string{"app:1.0", "app:2.0"}) {
		t.Errorf("the repository has %q", tags)
	}
	s.flathub(t, "check", realFQRN)
}
