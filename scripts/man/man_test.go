package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestEveryKey: each key of the configuration has a text, each text a key, and the example with every key no other.
func TestEveryKey(t *testing.T) {
	list, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, k := range list {
		names = append(names, k.name)
		if texts[k.name] == "" {
			t.Errorf("%s has no text", k.name)
		}
		if sections[sectionOf(k.name)] == "" {
			t.Errorf("%s is in no section", k.name)
		}
	}
	for name := range texts {
		if !slices.Contains(names, name) {
			t.Errorf("%s is no key", name)
		}
	}
	data, err := os.ReadFile("../../mount/config/testdata/every-key.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var example map[string]any
	if err := yaml.Unmarshal(data, &example); err != nil {
		t.Fatal(err)
	}
	for _, name := range flatten("", example) {
		if name = strings.Replace(name, "repositories.bench.example.org.", "repositories.FQRN.", 1); texts[name] == "" {
			t.Errorf("%s of the example has no text", name)
		}
	}
}

func flatten(prefix string, v map[string]any) (names []string) {
	for name, value := range v {
		if deeper, ok := value.(map[string]any); ok {
			names = append(names, flatten(prefix+name+".", deeper)...)
		} else {
			names = append(names, prefix+name)
		}
	}
	return names
}

// TestPages: troff has nothing to say against any page, those of flatrun itself included.
func TestPages(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	for _, program := range []string{"flatrun", "flathub"} {
		if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/"+program).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if out, err := exec.Command(filepath.Join(bin, "flatrun"), "man", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := run([]string{dir, filepath.Join(bin, "flathub")}); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.[15]"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"flatrun.1", "flatrun-exec.1", "flatrun-instance.1", "flatrun-images.1", "flatrun-config.1", "flatrun-config.5", "flathub.1", "flathub-convert.1"} {
		if !slices.Contains(pages, filepath.Join(dir, want)) {
			t.Errorf("there is no %s", want)
		}
	}
	checkPages(t, pages)
}

func checkPages(t *testing.T, pages []string) {
	t.Helper()
	groff, err := exec.LookPath("groff")
	if err != nil {
		groff = "" // then only what can be seen without it
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			if (strings.HasPrefix(line, ".") && (len(line) < 3 || !strings.Contains(".TH .SH .SS .TP .PP .RS .RE .B  .BR .nf .fi", line[:3]))) || strings.HasPrefix(line, "'") {
				t.Errorf("%s:%d: %q", page, n+1, line)
			}
		}
		if groff == "" {
			continue
		}
		cmd := exec.Command(groff, "-man", "-Tutf8", "-ww", page)
		var complaints strings.Builder
		cmd.Stderr = &complaints
		if out, err := cmd.Output(); err != nil || complaints.Len() > 0 || len(out) < 200 {
			t.Errorf("%s: %v: %s", page, err, complaints.String())
		}
	}
}
